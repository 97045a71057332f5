#pragma once

#include "core/wire.h"
#include "libclient/frame_stream.h"

#include <array>
#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

namespace reformer::client {

inline constexpr std::size_t kMaxContexts = 64;

// Where problems run, as the daemon is told.
struct ContextInfo {
  core::Context context;
  std::string library;
  std::int32_t gpu = -1;
  std::uint64_t hash = 0;  // core::hash_context(context)
};

// The way to the daemon with a circuit breaker, so that a daemon that is away, hung or insane costs
// an application next to nothing:
//   - a request waits until its deadline at most;
//   - after a failure the daemon is left alone for 100 ms, doubling to 30 s; if it was only late,
//     as its reply shows, it is asked again at once, up to kMaxLateInARow times in a row;
//   - once kMaxVainWait has been waited for nothing, the link only probes: it sends without waiting
//     and looks at a later request whether anything sane came back.
//
// Threads: one at a time.
class DaemonLink {
 public:
  static constexpr std::chrono::milliseconds kFirstBackOff{100};
  static constexpr std::chrono::milliseconds kLastBackOff{30'000};
  static constexpr std::chrono::milliseconds kMaxVainWait{3};
  static constexpr int kMaxLateInARow = 4;

  DaemonLink(std::string socket_path, std::string client_name, std::chrono::microseconds deadline);

  // One answer for each problem. `contexts[index]` is what the query's context_id refers to.
  // Errors: as FrameStream; kUnavailable while the daemon is left alone; whatever code the daemon
  // refuses with; kCorrupt if it answers something else.
  core::Result<core::wire::Answer> ask(const ContextInfo& info,
                                       std::size_t index,
                                       core::wire::Query query,
                                       Deadline deadline);
  // Sends a report if that is possible without waiting. Errors: as ask.
  core::Status tell(const ContextInfo& info, std::size_t index, core::wire::Report report);
  // Asks without waiting, for the daemon to know of problems that it did not answer in time; the
  // reply is passed over when it comes. Errors: as ask.
  core::Status mention(std::size_t index, core::wire::Query query);

  [[nodiscard]] bool connected() const { return stream_.is_open() && greeted_; }
  // What the last Welcome said; empty before.
  [[nodiscard]] const std::string& table_path() const { return table_path_; }

 private:
  static constexpr std::uint32_t kUnknownContext = 0xffffffff;

  core::Status ready_to_tell(const ContextInfo& info, std::size_t index, Clock::time_point started);
  core::Status ready(Deadline deadline);  // the breaker's verdict; opens the connection
  core::Status greet(Deadline deadline);
  core::Status declare(const ContextInfo& info, std::size_t index, Deadline deadline);
  core::Result<core::wire::Message> reply_to(std::uint32_t request_id, Deadline deadline);
  core::Status send(const core::wire::Message& message, std::uint32_t id, Deadline deadline);
  bool hears_late_reply();
  void note_welcome(const core::wire::Message& message);
  core::Status probe();
  void forget_connection();
  void note_success();
  core::Error note_failure(const core::Error& error, Clock::time_point started);

  const std::string socket_path_;
  const std::string client_name_;
  const std::chrono::microseconds deadline_;

  FrameStream stream_;
  std::array<std::uint32_t, kMaxContexts> remote_ids_{};  // valid on this connection
  std::string table_path_;
  std::uint32_t next_request_ = 1;
  bool greeted_ = false;    // Welcome received on this connection
  bool suspended_ = false;  // after a failure
  int failures_in_a_row_ = 0;
  Clock::duration back_off_ = kFirstBackOff;
  Clock::time_point retry_at_{};
  Clock::duration vain_wait_{};
};

// "python3": the name of the running program.
[[nodiscard]] std::string program_name();

}  // namespace reformer::client
