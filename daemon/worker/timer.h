#pragma once

#include "core/engine_config.h"
#include "core/key.h"
#include "core/plan_file.h"
#include "core/record.h"
#include "core/result.h"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace reformer::worker {

// One request to measure.
struct Job {
  std::uint64_t id = 0;
  core::Problem problem;
  std::optional<core::Context> context;       // where it must hold; empty: whatever this worker has
  std::vector<core::EngineConfig> extra;      // candidates beside cuDNN's own
  bool explore = false;                       // also the knob space of the best engines
  bool only_when_idle = false;                // give way to other processes on the GPU
  std::chrono::milliseconds max_time{10000};  // of GPU work
  std::int64_t max_memory_bytes = std::int64_t{16} << 30;
};

// Where measurements come from. Threads: measure() from one thread; the flag from any.
class Timer {
 public:
  virtual ~Timer() = default;
  // "gpu" or "recorded".
  [[nodiscard]] virtual std::string kind() const = 0;
  // GPU and cuDNN that it measures; empty if several (recorded).
  [[nodiscard]] virtual std::optional<core::Context> context() const = 0;
  [[nodiscard]] virtual std::string library() const = 0;
  // Every candidate of the problem, timed. Errors: kUnsupported (cuDNN cannot do it), kUnavailable
  // (not recorded; else the GPU is gone: this process must end), kExhausted (memory), kTimeout
  // (longer than max_time), kDenied (gave way: cancelled, or others use the GPU), kInternal (the
  // GPU faulted: this process must end).
  virtual core::Result<core::Record> measure(const Job& job,
                                             const std::atomic<bool>& cancelled) = 0;
  // Of the last measure(): compiled plans that are worth keeping (cudnn::plans_to_keep). Once.
  virtual std::vector<core::StoredPlan> take_plans() { return {}; }
};

}  // namespace reformer::worker
