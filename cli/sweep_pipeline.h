#pragma once

#include "cli/sweep_team.h"
#include "core/problem.h"
#include "core/record.h"
#include "core/result.h"
#include "cudnn/gpu_watch.h"
#include "cudnn/measurer.h"
#include "cudnn/planner.h"
#include "model/predictor.h"

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

// Plans are built on all cores and timed on one thread.
namespace reformer::cli {

// What measuring needs.
struct Equipment {
  std::shared_ptr<const cudnn::Library> library;
  std::shared_ptr<const cudnn::Gpu> gpu;      // null: enumerate only
  std::unique_ptr<cudnn::Measurer> measurer;  // null: enumerate only
  std::unique_ptr<cudnn::GpuWatch> watch;     // null: no NVML
  std::shared_ptr<const model::Predictor>
      predictor;           // its first choices are candidates, too; or null
  std::string properties;  // without a GPU
  core::DeviceFingerprint device;

  // `gpu` < 0: no GPU, but the one that the file `properties_file` describes. The members of a team
  // open the GPU together.
  static core::Result<Equipment> get(const std::string& cudnn_library,
                                     int gpu,
                                     const std::string& properties_file,
                                     Team& team,
                                     const std::atomic<bool>& interrupted);
  [[nodiscard]] core::Result<std::unique_ptr<cudnn::Planner>> make_planner() const;
};

// A problem with its plans, on its way from a builder to the GPU.
struct Prepared {
  core::Problem problem;
  std::vector<core::EngineConfig> chosen;  // by the model: candidates beside cuDNN's
  core::Result<cudnn::Enumeration> candidates;
};

// Owns the builders. Not more than `bound` prepared problems wait, because plans of run-time
// compiled engines hold memory. Threads: take() and retire() from one thread.
class Pipeline {
 public:
  // Both references must outlive it. `interrupted` ends it from anywhere.
  Pipeline(const Equipment& equipment,
           const std::vector<core::Problem>& problems,
           unsigned threads,
           const std::atomic<bool>& interrupted);
  ~Pipeline();
  Pipeline(const Pipeline&) = delete;
  Pipeline& operator=(const Pipeline&) = delete;

  // Blocks; empty at the end, or when interrupted.
  std::optional<Prepared> take();
  // Plans take their time to go: a builder does it.
  void retire(cudnn::Enumeration used);
  // One line for people: waiting for plans in take(), and what the builders did.
  [[nodiscard]] std::string profile() const;

 private:
  // What the model would choose first, if there is one.
  [[nodiscard]] std::vector<core::EngineConfig> chosen_by_model(
      const core::Problem& problem, std::optional<model::Predictor::Scratch>& scratch) const;
  const core::Problem* next_problem(std::vector<cudnn::Enumeration>& used);
  void put(Prepared prepared);
  void build();
  void builder_ends();

  const Equipment& equipment_;
  const std::vector<core::Problem>& problems_;
  const std::size_t bound_;
  const std::atomic<bool>& interrupted_;
  double waited_s_ = 0;
  std::atomic<double> built_s_ = 0;    // all builders together
  std::atomic<double> dropped_s_ = 0;  // plans destroyed
  std::atomic<double> blocked_s_ = 0;  // for room
  std::mutex mutex_;                   // guards what follows
  std::condition_variable room_;
  std::condition_variable arrived_;
  std::deque<Prepared> ready_;
  std::vector<cudnn::Enumeration> used_;
  std::size_t next_ = 0;
  std::size_t builders_ = 0;
  bool stopped_ = false;
  std::vector<std::jthread> threads_;
};

}  // namespace reformer::cli
