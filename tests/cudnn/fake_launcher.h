#pragma once

#include "cudnn/race.h"

#include <map>
#include <random>
#include <string>
#include <vector>

namespace reformer::testing {

// A GPU that is a table of times. Without noise unless told.
class FakeLauncher final : public cudnn::Launcher {
 public:
  struct Kernel {
    float us = 1;
    float load_us = 0;       // of the first launch, on the host
    float upload_us = 0;     // of the first launch, behind the call
    std::string fails = {};  // every launch, with this message
    bool fails_in_graphs = false;
    bool faults = false;     // takes the GPU down
    float stuck_us = 0;      // of every launch, on the host
    float single_reads = 0;  // what single() says instead, if not 0
  };
  struct Noise {
    float overhead_us = 0;  // of a single launch: this to twice this
    float gap_us = 0;       // between two graphs
    float relative = 0;     // standard deviation
    // A host whose processors are busy: so many of the launches and graphs are held up by 20 to
    // 3000 us.
    float held_up = 0;
    // Other processes load kernels: so many of the launches and graphs wait on the GPU for as long.
    float interrupted = 0;
  };
  explicit FakeLauncher(std::vector<Kernel> kernels) : FakeLauncher(std::move(kernels), {}, 1) {}
  FakeLauncher(std::vector<Kernel> kernels, Noise noise, unsigned seed)
      : kernels_(std::move(kernels)), noise_(noise), counts_(kernels_.size()), random_(seed) {}

  core::Result<cudnn::Launch> single(std::size_t candidate) override;
  core::Status prepare(std::size_t candidate, int repeats) override;
  core::Result<std::vector<cudnn::GraphTime>> run(std::span<const cudnn::Heat> lineup) override;

  struct Counts {
    int singles = 0;
    int graphs = 0;  // timed ones
    int repeats = 0;
  };
  [[nodiscard]] const Counts& counts(std::size_t candidate) const { return counts_[candidate]; }
  [[nodiscard]] double longest_batch_us() const { return longest_batch_us_; }

 private:
  float noisy(float us);
  float hold_up_us(float share);

  std::vector<Kernel> kernels_;
  Noise noise_;
  std::vector<Counts> counts_;
  std::mt19937 random_;
  double longest_batch_us_ = 0;
};

}  // namespace reformer::testing
