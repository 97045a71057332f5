#pragma once

#include "daemon/supervisor.h"

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>

// What the supervisor knows of a worker. Private to daemon/supervisor*.cpp.
namespace reformer::daemon {

inline constexpr std::chrono::milliseconds kFirstBackOff{200};
inline constexpr std::chrono::milliseconds kBusyPause{500};  // twice that each time, to a limit

struct Supervisor::Worker {
  std::string library;
  int gpu = 0;
  std::uint32_t uid = 0;
  bool trusted = false;  // `library` is root's
  std::unique_ptr<WorkerProcess> process;
  bool greeted = false;
  std::string timer;
  std::optional<core::Context> context;  // that it measures, if it said so
  std::optional<VerificationQueue::Pick> pick;
  std::uint64_t id = 0;
  std::chrono::steady_clock::time_point deadline;  // of the hello or the reply
  std::chrono::steady_clock::time_point started_job;
  std::chrono::steady_clock::time_point idle_since;
  std::chrono::steady_clock::time_point not_before;  // back-off, budget or a busy GPU
  std::chrono::milliseconds back_off = kFirstBackOff;
  std::chrono::milliseconds busy_pause = kBusyPause;
  std::uint64_t done = 0;
  std::uint64_t failed = 0;
  std::uint64_t restarts = 0;
  std::uint32_t failed_starts = 0;  // in a row: it ended before it greeted
  // Problems during which the GPU was gone, with `done` at that time.
  std::unordered_map<core::KeyHash, std::uint64_t, core::KeyHasher> gone_at;
  bool ending = false;      // idle: its input is closed
  bool leaving = false;     // it ends or is killed after a failure: gets no more work
  bool giving_way = false;  // it has been told to
  bool started_before = false;
};

}  // namespace reformer::daemon
