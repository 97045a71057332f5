#pragma once

#include "cli/command.h"
#include "core/record.h"

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

// What train, eval and ablate share: reading measurement files, threads, and Ctrl-C.
namespace reformer::cli {

// What was in the files, said aloud by report_reading().
struct Reading {
  std::uint64_t records = 0;
  std::uint64_t rejected = 0;  // lines that are no sane record
};

// Visits every record of the files in order, with a progress line. Bad lines are reported and
// counted; throws Failure where a file cannot be opened or breaks off.
Reading read_measurements(Session& session,
                          const std::vector<std::string>& files,
                          const std::function<void(const core::Record&)>& visit);

// Threads that share out numbered pieces of work. Threads: one caller at a time.
class Workers {
 public:
  // The calling thread is one of `threads`; at least one.
  explicit Workers(std::size_t threads);
  ~Workers();
  Workers(const Workers&) = delete;
  Workers& operator=(const Workers&) = delete;

  [[nodiscard]] std::size_t threads() const { return threads_.size() + 1; }
  // Calls body(0) ... body(count - 1), each once, and returns when all have. Where one throws, no
  // further ones are begun, and what the first threw is thrown here when those under way have
  // ended.
  void run(std::size_t count, const std::function<void(std::size_t)>& body);

 private:
  void work(const std::stop_token& stop);
  // Takes pieces until none is left; `lock` is held on entry and exit.
  void take_pieces(std::unique_lock<std::mutex>& lock);

  std::mutex mutex_;
  std::condition_variable_any wake_;
  std::condition_variable done_;
  const std::function<void(std::size_t)>* body_ = nullptr;  // guarded by mutex_, as what follows
  std::size_t next_ = 0;
  std::size_t count_ = 0;
  std::size_t unfinished_ = 0;
  std::exception_ptr failure_;
  std::vector<std::jthread> threads_;
};

// As many as the machine has, at most 8.
[[nodiscard]] std::size_t default_threads();

// While it lives the first Ctrl-C sets a flag; the second ends the program as usual.
class InterruptGuard {
 public:
  InterruptGuard();
  ~InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;
  [[nodiscard]] static bool interrupted();
};

}  // namespace reformer::cli
