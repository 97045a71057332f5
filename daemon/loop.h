#pragma once

#include "core/result.h"

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

struct uv_loop_s;
struct uv_async_s;
struct uv_idle_s;

namespace reformer::daemon {

// The daemon's one event loop. Threads: run() and everything else on the thread that constructed
// it; post() from any thread (it wakes the loop).
class Loop {
 public:
  using Job = std::function<void()>;
  Loop();
  ~Loop();  // closes what is left open; every handle's close callback has run when it returns
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  [[nodiscard]] uv_loop_s* get() { return loop_.get(); }
  void post(Job job);
  // The time at which its present turn began, from any beginning.
  [[nodiscard]] std::uint64_t turn_ms() const;
  void run();
  void stop();  // on the loop; what is posted from then on never runs

  // Looks for events without sleeping from now on for so long: who is expected to ask again soon is
  // answered without a wake-up of an idle processor, which costs 50 to 100 us. Costs as much
  // processor time.
  void stay_awake(std::chrono::microseconds duration);
  [[nodiscard]] bool awake() const;

  // Calls `job` every `interval_ms` until the loop ends.
  void every(unsigned interval_ms, Job job);
  // Calls `job` at each such signal.
  void on_signal(int number, Job job);

 private:
  void run_posted();
  void spend_time_awake();
  std::unique_ptr<uv_loop_s> loop_;
  bool stopped_ = false;
  // Both are owned by the loop: closed and freed in the destructor.
  uv_async_s* wake_ = nullptr;
  uv_idle_s* idle_ = nullptr;
  std::chrono::steady_clock::time_point awake_until_;
  std::mutex mutex_;
  std::vector<Job> posted_;  // guarded by mutex_
};

}  // namespace reformer::daemon
