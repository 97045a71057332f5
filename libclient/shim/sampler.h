#pragma once

#include "libclient/client.h"
#include "libclient/shim/device.h"

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>

namespace reformer::shim {

// GPU times of executions in the application: two events around one execution in a few, asked later
// whether they are done. Never waits, never synchronises, touches no stream that is being captured,
// and makes no call that another thread's capture forbids.
//
// Threads: any; one that finds another at work does without. Costs an execution that is not sampled
// one comparison.
class Sampler {
 public:
  // An execution under way. Empty: it is not sampled.
  struct Sample {
    CuEvent start = nullptr;
    CuEvent end = nullptr;
    CuStream stream = nullptr;
    explicit operator bool() const { return start != nullptr; }
  };

  // Whether the plan's execution of this number, from 1, is worth a sample: the 4th, 8th, 16th, ...
  // and from then on every 1 024th. The first ones load kernels.
  [[nodiscard]] static bool is_due(std::uint64_t execution);

  // Before the execution in `stream`.
  [[nodiscard]] Sample begin(CuStream stream);
  // After it; `succeeded` is false if cuDNN refused.
  void end(const Sample& sample, client::UseCounter* counter, bool succeeded);
  // Hands finished samples to their counters.
  void collect();

  // Around a fork.
  void lock() { mutex_.lock(); }
  void unlock() { mutex_.unlock(); }

 private:
  static constexpr std::size_t kPending = 32;
  static constexpr std::size_t kPool = 2 * kPending;
  struct Pending {
    CuEvent start = nullptr;
    CuEvent end = nullptr;
    client::UseCounter* counter = nullptr;
  };
  [[nodiscard]] CuEvent take_event(const Driver& driver);
  void give_back(CuEvent event);
  void collect_locked(const Driver& driver);

  std::mutex mutex_;
  CuContext context_ = nullptr;  // of the events; executions in another are not sampled
  bool broken_ = false;          // an event failed: the context is gone, or the GPU is
  std::array<CuEvent, kPool> pool_{};
  std::size_t pooled_ = 0;
  std::array<Pending, kPending> pending_{};
  std::size_t pending_count_ = 0;
};

}  // namespace reformer::shim
