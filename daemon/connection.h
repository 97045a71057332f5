#pragma once

#include "daemon/server.h"

#include <uv.h>

#include <cstddef>
#include <cstdint>
#include <vector>

// What server.cpp (sockets, and what is written to them) and server_requests.cpp (what is read)
// share.
namespace reformer::daemon {

// Lifecycle: accept() makes it; drop() takes it out of connections_ and closes the handle, whose
// close callback frees it. Between the two, `server` is null and write callbacks only free memory.
struct Server::Connection {
  uv_pipe_t pipe{};
  Server* server = nullptr;
  Client client;
  std::vector<std::byte> input;  // an incomplete frame, or what waits for the next turn
  std::size_t unread_bytes = 0;  // handed to the kernel or waiting to be
  bool closing_after_write = false;
  bool paused = false;
  enum class Wait {
    kNothing,
    kAnswer,
    kRoom,
    kTurn
  } wait = Wait::kNothing;        // what its requests wait for
  std::size_t context_bytes = 0;  // of names
  bool counted = false;           // in by_uid_
  std::uint64_t turn_ms = 0;      // the loop's time when its turn began
  std::uint64_t turn_began_ns = 0;
};

// Runs those that are paused in the next turn of the loop.
struct Server::Pauser {
  uv_idle_t idle{};
};

}  // namespace reformer::daemon
