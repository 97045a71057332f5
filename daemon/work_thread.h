#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <stop_token>
#include <string>
#include <thread>

namespace reformer::daemon {

// A named thread that runs jobs in order from a bounded queue. Jobs must not throw.
// Threads: submit() and size() from any thread. The destructor runs what is queued, then joins.
class WorkThread {
 public:
  using Job = std::function<void()>;
  // `nice`: of the thread alone, which Linux has.
  WorkThread(const std::string& name, std::size_t bound, int nice = 0);
  ~WorkThread();
  WorkThread(const WorkThread&) = delete;
  WorkThread& operator=(const WorkThread&) = delete;

  // False, and the job is dropped, when the queue is full or the thread is ending. Never blocks.
  [[nodiscard]] bool try_submit(Job job);
  // Waits for room: for threads other than the loop (and other than this one). False only when
  // ending.
  bool submit(Job job);
  [[nodiscard]] std::size_t size() const;
  // Takes no more jobs, runs those it has, joins. Idempotent.
  void finish();

 private:
  void run();
  const std::size_t bound_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Job> jobs_;  // guarded by mutex_
  bool ending_ = false;   // guarded by mutex_
  std::jthread thread_;   // last: it uses the others
};

}  // namespace reformer::daemon
