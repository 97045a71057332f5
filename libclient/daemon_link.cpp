#include "libclient/daemon_link.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <utility>
#include <variant>

namespace reformer::client {
namespace {

using core::Error;
using core::ErrorCode;
using core::Status;
namespace wire = core::wire;

// Failures that came at once, as those of a daemon that is not running do, add up to less.
constexpr std::chrono::milliseconds kNothingLost{1};
constexpr int kMaxStrayFrames = 64;  // late answers to requests that were given up

}  // namespace

std::string program_name() {
  std::string name(256, '\0');
  const int fd = ::open("/proc/self/comm", O_RDONLY | O_CLOEXEC);
  const ssize_t length = fd < 0 ? 0 : ::read(fd, name.data(), name.size());
  if (fd >= 0) {
    ::close(fd);
  }
  name.resize(length > 0 ? static_cast<std::size_t>(length) : 0);
  while (!name.empty() && name.back() == '\n') {
    name.pop_back();
  }
  return name;
}

DaemonLink::DaemonLink(std::string socket_path,
                       std::string client_name,
                       std::chrono::microseconds deadline)
    : socket_path_(std::move(socket_path)),
      client_name_(std::move(client_name)),
      deadline_(deadline) {
  remote_ids_.fill(kUnknownContext);
}

void DaemonLink::forget_connection() {
  stream_.close();
  greeted_ = false;
  remote_ids_.fill(kUnknownContext);
}

void DaemonLink::note_success() {
  suspended_ = false;
  failures_in_a_row_ = 0;
  back_off_ = kFirstBackOff;
  vain_wait_ = {};
}

Error DaemonLink::note_failure(const Error& error, Clock::time_point started) {
  const Clock::time_point now = Clock::now();
  vain_wait_ += now - started;
  suspended_ = true;
  ++failures_in_a_row_;
  retry_at_ = now + back_off_;
  back_off_ = std::min<Clock::duration>(back_off_ * 2, kLastBackOff);
  if (!stream_.is_open()) {
    forget_connection();
  }
  return error;
}

Status DaemonLink::send(const wire::Message& message, std::uint32_t id, Deadline deadline) {
  std::vector<std::byte> frame;
  wire::encode(message, id, frame);
  return stream_.send(frame, deadline);
}

core::Result<wire::Message> DaemonLink::reply_to(std::uint32_t request_id, Deadline deadline) {
  for (int i = 0; i < kMaxStrayFrames; ++i) {
    core::Result<Frame> frame = stream_.receive(deadline);
    if (!frame) {
      return frame.error();
    }
    note_welcome(frame->message);
    if (frame->header.request_id != request_id) {
      continue;
    }
    if (const auto* refusal = std::get_if<wire::ErrorMessage>(&frame->message)) {
      return core::make_error(refusal->code, "the daemon refuses: " + refusal->message);
    }
    return std::move(frame->message);
  }
  stream_.close();
  return core::make_error(ErrorCode::kCorrupt, "the daemon answers what was not asked");
}

Status DaemonLink::greet(Deadline deadline) {
  const std::uint32_t id = next_request_++;
  const wire::Hello hello{static_cast<std::uint32_t>(::getpid()), client_name_, program_name()};
  if (const Status sent = send(hello, id, deadline); !sent) {
    return sent;
  }
  const core::Result<wire::Message> reply = reply_to(id, deadline);
  if (!reply) {
    return reply.error();
  }
  if (!std::holds_alternative<wire::Welcome>(*reply)) {
    stream_.close();
    return core::make_error(ErrorCode::kCorrupt, "the daemon does not greet");
  }
  return core::ok_status();
}

// Whether a reply has come that nobody waits for any more, on a connection that is good for more.
bool DaemonLink::hears_late_reply() {
  bool heard = false;
  for (int i = 0; i < kMaxStrayFrames && stream_.is_open(); ++i) {
    core::Result<Frame> frame = stream_.receive_now();
    if (!frame) {
      break;
    }
    heard = heard || !greeted_ || !std::holds_alternative<wire::Welcome>(frame->message);
    note_welcome(frame->message);
  }
  return heard && stream_.is_open() && greeted_;
}

void DaemonLink::note_welcome(const wire::Message& message) {
  if (const auto* welcome = std::get_if<wire::Welcome>(&message)) {
    greeted_ = true;
    table_path_ = welcome->table_path;
  }
}

// Looks, without waiting, whether the daemon has come back; if not, asks it for a sign of life.
Status DaemonLink::probe() {
  const Error silent = core::make_error(ErrorCode::kUnavailable, "the daemon does not answer");
  if (Clock::now() < retry_at_) {
    return silent;
  }
  // A sign of life: worth one more try. What was lost, and for how long to stay away after the next
  // failure, is forgotten only after an answer.
  if (hears_late_reply()) {
    suspended_ = false;
    return core::ok_status();
  }
  forget_connection();
  const Clock::time_point started = Clock::now();
  if (const Status opened = stream_.open(socket_path_); !opened) {
    return note_failure(opened.error(), started);
  }
  const wire::Hello hello{static_cast<std::uint32_t>(::getpid()), client_name_, program_name()};
  (void)send(hello, next_request_++, Deadline::min());
  return note_failure(silent, started);
}

Status DaemonLink::ready(Deadline deadline) {
  // On a busy machine a daemon that is well is late now and then, mostly while an application
  // starts and asks for most of its problems. Its late reply is worth another try at once.
  if (suspended_ && failures_in_a_row_ <= kMaxLateInARow && hears_late_reply()) {
    suspended_ = false;
    back_off_ = kFirstBackOff;
  }
  if (suspended_) {
    const bool may_wait = vain_wait_ < kNothingLost || vain_wait_ + deadline_ <= kMaxVainWait;
    if (!may_wait) {
      return probe();
    }
    if (Clock::now() < retry_at_) {
      return core::make_error(ErrorCode::kUnavailable, "the daemon is left alone for a while");
    }
  }
  if (stream_.is_open() && greeted_) {
    return core::ok_status();
  }
  forget_connection();
  if (const Status opened = stream_.open(socket_path_); !opened) {
    return opened;
  }
  return greet(deadline);
}

Status DaemonLink::declare(const ContextInfo& info, std::size_t index, Deadline deadline) {
  if (remote_ids_.at(index) != kUnknownContext) {
    return core::ok_status();
  }
  const std::uint32_t id = next_request_++;
  const wire::ContextMessage message{info.context, info.library, info.gpu};
  if (const Status sent = send(message, id, deadline); !sent) {
    return sent;
  }
  const core::Result<wire::Message> reply = reply_to(id, deadline);
  if (!reply) {
    return reply.error();
  }
  const auto* remote = std::get_if<wire::ContextId>(&*reply);
  if (remote == nullptr || remote->id == kUnknownContext) {
    stream_.close();
    return core::make_error(ErrorCode::kCorrupt, "the daemon gives no context number");
  }
  remote_ids_[index] = remote->id;
  return core::ok_status();
}

core::Result<wire::Answer> DaemonLink::ask(const ContextInfo& info,
                                           std::size_t index,
                                           wire::Query query,
                                           Deadline deadline) {
  const Clock::time_point started = Clock::now();
  const bool was_suspended = suspended_;
  Status status = ready(deadline);
  if (!status) {
    // While the daemon is left alone nothing has been tried, and nothing has failed anew.
    const bool untried = was_suspended && suspended_ && started < retry_at_;
    return untried ? status.error() : note_failure(status.error(), started);
  }
  status = declare(info, index, deadline);
  if (!status) {
    return note_failure(status.error(), started);
  }
  const std::size_t count = query.problems.size();
  query.context_id = remote_ids_[index];
  const std::uint32_t id = next_request_++;
  status = send(std::move(query), id, deadline);
  if (!status) {
    return note_failure(status.error(), started);
  }
  core::Result<wire::Message> reply = reply_to(id, deadline);
  if (!reply) {
    return note_failure(reply.error(), started);
  }
  auto* answer = std::get_if<wire::Answer>(&*reply);
  if (answer == nullptr || answer->decisions.size() != count) {
    stream_.close();
    return note_failure(core::make_error(ErrorCode::kCorrupt, "the daemon answers something else"),
                        started);
  }
  note_success();
  return std::move(*answer);
}

Status DaemonLink::ready_to_tell(const ContextInfo& info,
                                 std::size_t index,
                                 Clock::time_point started) {
  if (suspended_ || !stream_.is_open() || !greeted_) {
    if (const Status status = ready(started + deadline_); !status) {
      return suspended_ ? status : Status(note_failure(status.error(), started));
    }
  }
  if (const Status declared = declare(info, index, started + deadline_); !declared) {
    return note_failure(declared.error(), started);
  }
  return core::ok_status();
}

Status DaemonLink::tell(const ContextInfo& info, std::size_t index, wire::Report report) {
  const Clock::time_point started = Clock::now();
  if (Status ready = ready_to_tell(info, index, started); !ready) {
    return ready;
  }
  report.context_id = remote_ids_[index];
  if (const Status sent = send(std::move(report), next_request_++, Deadline::min()); !sent) {
    return note_failure(sent.error(), started);
  }
  return core::ok_status();
}

// Not by way of ready_to_tell: a daemon that was too slow once is the very case, and nothing waits.
Status DaemonLink::mention(std::size_t index, wire::Query query) {
  if (!connected() || remote_ids_.at(index) == kUnknownContext) {
    return core::make_error(ErrorCode::kUnavailable, "no connection");
  }
  query.context_id = remote_ids_[index];
  return send(std::move(query), next_request_++, Deadline::min());
}

}  // namespace reformer::client
