#pragma once

#include "core/record.h"
#include "core/result.h"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

// Which candidate gets how many launches. Pure policy: the GPU is behind Launcher, so that tests
// race recorded times.
namespace reformer::cudnn {

class Launcher {
 public:
  virtual ~Launcher() = default;
  // GPU time of one launch, microseconds, launch overhead included. The first launch of a kernel in
  // a process also loads it.
  virtual core::Result<float> single(std::size_t candidate) = 0;
  // GPU time of one execution, microseconds, from one launch of a graph of `repeats` executions.
  virtual core::Result<float> graph(std::size_t candidate, int repeats) = 0;
};

struct RaceOptions {
  float hopeless = 10;      // this many times the best on a first launch: no second
  float contender = 1.15f;  // within this of the best: sampled again
  float finalist = 1.04f;   // still within this after three samples: sampled seven times
  float graph_us = 60;      // GPU time that one graph should take, at least
  int max_repeats = 50;
  bool exhaustive = false;  // all candidates get seven graphs: what the race is compared with
};

struct RaceResult {
  core::Timing timing = core::Timing::kNone;
  float time_us = core::kNoTime;
  float spread = core::kNoTime;
  std::uint16_t samples = 0;
  std::string status;  // why there is no time
};

struct RaceOutcome {
  std::vector<RaceResult> results;
  double gpu_us = 0;     // all launches together
  bool stopped = false;  // `stop` said so: the results are not complete
};

// Times `count` candidates. `stop` is asked between launches. Errors: kInternal where the GPU
// faulted; a candidate that merely fails gets a status. Zero, negative and non-finite times are
// failures.
[[nodiscard]] core::Result<RaceOutcome> race(Launcher& launcher,
                                             std::size_t count,
                                             const RaceOptions& options,
                                             const std::function<bool()>& stop);

}  // namespace reformer::cudnn
