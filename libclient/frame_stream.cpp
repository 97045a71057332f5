#include "libclient/frame_stream.h"

#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <ctime>
#include <utility>

namespace reformer::client {
namespace {

using core::Error;
using core::ErrorCode;
using core::Status;

constexpr std::size_t kReadBytes = std::size_t{16} * 1024;
// An answer mostly comes sooner than a sleeping thread wakes up: so long it is asked for again.
constexpr std::chrono::microseconds kAskAgain{100};

// Waits for `events`; false when the deadline passes first.
bool wait_for(int fd, short events, Deadline deadline) {
  while (true) {
    const auto left = std::chrono::duration_cast<std::chrono::nanoseconds>(
        deadline == Deadline::min() ? Clock::duration::zero() : deadline - Clock::now());
    if (left <= std::chrono::nanoseconds::zero()) {
      return false;
    }
    pollfd watched{fd, events, 0};
    timespec timeout{};
    timeout.tv_sec = static_cast<time_t>(left.count() / 1'000'000'000);
    timeout.tv_nsec = static_cast<long>(left.count() % 1'000'000'000);
    const int ready = ppoll(&watched, 1, &timeout, nullptr);
    if (ready > 0) {
      return true;  // errors and hang-ups show at the next read or write
    }
    if (ready < 0 && errno != EINTR) {
      return false;
    }
  }
}

std::string reason(int error) {
  switch (error) {
    case ENOENT:
    case ECONNREFUSED:
      return "no daemon listens there";
    case EACCES:
      return "permission denied";
    case EAGAIN:
      return "the daemon does not accept connections";
    default:
      return "system error " + std::to_string(error);
  }
}

}  // namespace

Error FrameStream::fail(ErrorCode code, std::string message) {
  close();
  return core::make_error(code, std::move(message));
}

void FrameStream::close() {
  if (fd_ >= 0) {
    ::close(fd_);
  }
  fd_ = -1;
  received_.clear();
  consumed_ = 0;
}

Status FrameStream::open(const std::string& path) {
  close();
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path) {
    return core::make_error(ErrorCode::kInvalidArgument, "socket path is empty or too long");
  }
  std::memcpy(address.sun_path, path.c_str(), path.size());
  fd_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd_ < 0) {
    return fail(ErrorCode::kUnavailable, "socket: " + reason(errno));
  }
  // A Unix socket connects at once or, when the daemon's backlog is full, not at all.
  if (::connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    const int error = errno;
    return fail(error == EACCES ? ErrorCode::kDenied : ErrorCode::kUnavailable,
                path + ": " + reason(error));
  }
  return core::ok_status();
}

Status FrameStream::send(std::span<const std::byte> frames, Deadline deadline) {
  if (!is_open()) {
    return core::make_error(ErrorCode::kUnavailable, "not connected");
  }
  bool partial = false;
  while (!frames.empty()) {
    const ssize_t sent = ::send(fd_, frames.data(), frames.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent > 0) {
      frames = frames.subspan(static_cast<std::size_t>(sent));
      partial = true;
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      if (!wait_for(fd_, POLLOUT, deadline)) {
        if (partial) {
          close();
        }
        return core::make_error(ErrorCode::kTimeout, "the daemon takes no more requests");
      }
    } else if (errno != EINTR) {
      return fail(ErrorCode::kUnavailable, "the daemon closed the connection");
    }
  }
  return core::ok_status();
}

core::Lookup<Frame> FrameStream::next_frame() {
  const std::span<const std::byte> bytes = std::span(received_).subspan(consumed_);
  const core::Lookup<core::wire::Header> header = core::wire::decode_header(bytes);
  if (!header) {
    return fail(header.error().code, header.error().message);
  }
  if (!header->has_value() || bytes.size() < core::wire::kHeaderBytes + (*header)->payload_bytes) {
    return std::optional<Frame>();
  }
  if ((*header)->version != core::wire::kProtocolVersion) {
    return fail(ErrorCode::kUnsupported,
                "the daemon speaks protocol version " + std::to_string((*header)->version));
  }
  core::Result<core::wire::Message> message = core::wire::decode(
      **header, bytes.subspan(core::wire::kHeaderBytes, (*header)->payload_bytes));
  if (!message) {
    return fail(message.error().code, message.error().message);
  }
  consumed_ += core::wire::kHeaderBytes + (*header)->payload_bytes;
  if (consumed_ == received_.size()) {
    received_.clear();
    consumed_ = 0;
  }
  return std::optional(Frame{**header, std::move(*message)});
}

Status FrameStream::read_some(Deadline deadline) {
  if (consumed_ > 0) {
    received_.erase(received_.begin(), received_.begin() + static_cast<std::ptrdiff_t>(consumed_));
    consumed_ = 0;
  }
  const std::size_t before = received_.size();
  received_.resize(before + kReadBytes);
  const Deadline sleep_from = std::min(Clock::now() + kAskAgain, deadline);
  while (true) {
    const ssize_t got = ::recv(fd_, received_.data() + before, kReadBytes, MSG_DONTWAIT);
    if (got > 0) {
      received_.resize(before + static_cast<std::size_t>(got));
      return core::ok_status();
    }
    if (got == 0) {
      return fail(ErrorCode::kUnavailable, "the daemon closed the connection");
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK) {
      if (Clock::now() < sleep_from) {
        ::sched_yield();  // lets the daemon run where there is one processor
      } else if (!wait_for(fd_, POLLIN, deadline)) {
        received_.resize(before);
        return core::make_error(ErrorCode::kTimeout, "the daemon did not answer in time");
      }
    } else if (errno != EINTR) {
      return fail(ErrorCode::kUnavailable, "the daemon closed the connection");
    }
  }
}

core::Result<Frame> FrameStream::receive(Deadline deadline) {
  bool late = false;
  while (is_open()) {
    core::Lookup<Frame> frame = next_frame();
    if (!frame) {
      return frame.error();
    }
    if (frame->has_value()) {
      return std::move(**frame);
    }
    // A peer that trickles bytes is held to the deadline as well. What is here whole is not late,
    // however long this thread had to wait for a processor.
    if (late) {
      return core::make_error(ErrorCode::kTimeout, "the daemon did not answer in time");
    }
    if (const Status read = read_some(deadline); !read) {
      return read.error();
    }
    late = deadline != Deadline::min() && Clock::now() >= deadline;
  }
  return core::make_error(ErrorCode::kUnavailable, "not connected");
}

}  // namespace reformer::client
