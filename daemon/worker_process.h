#pragma once

#include "core/result.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

struct uv_loop_s;

namespace reformer::daemon {

// A child process that speaks JSON lines on its standard input and output. Knows nothing of their
// meaning. Threads: the loop.
class WorkerProcess {
 public:
  struct Command {
    std::string program;
    std::vector<std::string> arguments;  // without the program
    // Run as this user; only root can. Negative: as the daemon.
    std::int64_t uid = -1;
    std::int64_t gid = -1;
    // One that ends by itself closes its output first, as everybody does. A worker that does is
    // killed.
    bool ends_by_itself = false;
  };
  // All on the loop. `on_exit` comes exactly once, last, with why the process ended, and never from
  // inside start() or write().
  struct Events {
    std::function<void(std::string_view line)> on_line;
    std::function<void(const std::string& why)> on_exit;
  };
  static constexpr std::size_t kMaxLineBytes = 8 << 20;

  // Errors: kUnavailable if it cannot be run.
  static core::Result<std::unique_ptr<WorkerProcess>> start(uv_loop_s* loop,
                                                            const Command& command,
                                                            Events events);
  // Meant for the end of the loop. Kills the process if it still runs, and leaves it to be reaped
  // by whoever adopts it; no event comes any more.
  ~WorkerProcess();
  WorkerProcess(const WorkerProcess&) = delete;
  WorkerProcess& operator=(const WorkerProcess&) = delete;

  void write(std::string line);       // a newline is added
  void close_input();                 // asks it to end
  void kill(const std::string& why);  // `why` becomes on_exit's
  [[nodiscard]] int pid() const;

  struct State;  // outlives this until libuv has closed its handles

 private:
  explicit WorkerProcess(State* state) : state_(state) {}
  State* state_;  // frees itself
};

}  // namespace reformer::daemon
