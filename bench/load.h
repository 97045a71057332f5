#pragma once

#include "core/wire.h"

#include <sched.h>
#include <sys/types.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

// What a load generator needs: raw connections to a server of any kind, times and their
// percentiles, and what the server itself used.
namespace reformer::bench {

using Clock = std::chrono::steady_clock;

inline double us_since(Clock::time_point start) {
  return std::chrono::duration<double, std::micro>(Clock::now() - start).count();
}

// Sorts `times`. `share` in [0, 1].
double percentile(std::vector<double>& times, double share);

// A blocking Unix socket. Every failure ends the program: a benchmark has nothing to save.
class RawConnection {
 public:
  explicit RawConnection(const std::string& path);
  ~RawConnection();
  RawConnection(RawConnection&& other) noexcept;
  RawConnection& operator=(RawConnection&&) = delete;
  RawConnection(const RawConnection&) = delete;
  RawConnection& operator=(const RawConnection&) = delete;

  void send(const std::vector<std::byte>& bytes) const;
  void receive(std::size_t bytes) const;  // and drops them
  // The next frame of our protocol, whole.
  [[nodiscard]] std::vector<std::byte> receive_frame() const;
  [[nodiscard]] int fd() const { return fd_; }

 private:
  int fd_ = -1;
};

// Hello and context; the context's number is 0.
RawConnection greet(const std::string& socket);
// A whole Query frame.
std::vector<std::byte> query_frame(const std::vector<core::Problem>& problems,
                                   std::uint32_t id = 1);

// Of a process, its threads together.
double cpu_seconds(pid_t pid);

// The processors that this process may use.
std::vector<int> processors();

// Keeps every thread that a process has now (0: the calling thread) on one processor, and lets it
// go where it might before at the end.
class Pinned {
 public:
  Pinned(pid_t pid, int processor);
  ~Pinned();
  Pinned(const Pinned&) = delete;
  Pinned& operator=(const Pinned&) = delete;

 private:
  std::vector<std::pair<pid_t, cpu_set_t>> before_;
};

// Times of `count` calls.
std::vector<double> times_of(int count, const std::function<void(int)>& call);

// Requests at a fixed rate over all `connections` in turn, whether earlier ones are answered or
// not: each is due at its own moment, and its time counts from then. frame(i) is the i-th request.
std::vector<double> open_loop(const std::vector<RawConnection>& connections,
                              double per_second,
                              int count,
                              const std::function<const std::vector<std::byte>&(int)>& frame);

// A redis-server in `folder`, without persistence; ended by the destructor.
class Redis {
 public:
  explicit Redis(const std::string& folder);
  ~Redis();
  Redis(const Redis&) = delete;
  Redis& operator=(const Redis&) = delete;
  [[nodiscard]] bool runs() const { return pid_ > 0; }
  [[nodiscard]] pid_t pid() const { return pid_; }
  [[nodiscard]] const std::string& socket() const { return socket_; }

 private:
  pid_t pid_ = -1;
  std::string socket_;
};

}  // namespace reformer::bench
