#pragma once

#include "core/result.h"
#include "core/wire.h"

#include <chrono>
#include <cstddef>
#include <span>
#include <string>
#include <vector>

namespace reformer::client {

using Clock = std::chrono::steady_clock;
using Deadline = Clock::time_point;

// A message and the header it came with.
struct Frame {
  core::wire::Header header;
  core::wire::Message message;
};

// Frames of the protocol over one Unix stream socket. No call waits past its deadline; what is here
// by then is taken, also by a thread that got its processor back only after it.
//
// Threads: one at a time. Ownership: the descriptor, which is close-on-exec and non-blocking.
// Errors: kUnavailable (nobody there, or gone), kTimeout, kCorrupt (not the protocol), kExhausted
// (frame too long), kUnsupported (another protocol version). After kUnavailable, kCorrupt,
// kExhausted and kUnsupported the stream is closed; after kTimeout it can be used further.
class FrameStream {
 public:
  FrameStream() = default;
  ~FrameStream() { close(); }
  FrameStream(const FrameStream&) = delete;
  FrameStream& operator=(const FrameStream&) = delete;

  // Connects; an open stream is closed first.
  core::Status open(const std::string& path);
  void close();
  [[nodiscard]] bool is_open() const { return fd_ >= 0; }

  // All or nothing, as far as the peer can tell: a frame that was sent in part closes the stream.
  core::Status send(std::span<const std::byte> frames, Deadline deadline);
  // The next frame.
  core::Result<Frame> receive(Deadline deadline);
  // The next frame if it is there already, without waiting; kTimeout if it is not.
  core::Result<Frame> receive_now() { return receive(Deadline::min()); }

 private:
  // A whole frame out of what was read so far; absent if more is needed.
  core::Lookup<Frame> next_frame();
  core::Status read_some(Deadline deadline);
  core::Error fail(core::ErrorCode code, std::string message);

  int fd_ = -1;
  std::vector<std::byte> received_;
  std::size_t consumed_ = 0;  // bytes of received_ already handed out
};

}  // namespace reformer::client
