#pragma once

#include "core/result.h"

#include <functional>
#include <memory>
#include <string_view>

namespace reformer::cli {

// Someone who answers administrative requests (docs/admin.md): a running daemon, a stopped daemon's
// database, or a test's fake. Threads: one at a time.
class AdminChannel {
 public:
  // Gets each piece of a reply, in order; false stops.
  using OnPiece = std::function<bool(std::string_view json)>;

  virtual ~AdminChannel() = default;

  // Sends one request (a JSON object) and hands over the pieces of its reply. Exceptions that
  // on_piece throws come out of ask(). Errors: what the other side refused and why, kUnavailable or
  // kTimeout where it does not answer.
  virtual core::Status ask(std::string_view request, const OnPiece& on_piece) = 0;
};

// How a session gets its channel; chosen by program.cpp, replaced in tests.
using OpenChannel = std::function<core::Result<std::unique_ptr<AdminChannel>>()>;

}  // namespace reformer::cli
