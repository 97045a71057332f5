#pragma once

#include "core/key.h"
#include "storage/database.h"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <unordered_map>
#include <vector>

namespace reformer::daemon {

// What is waiting to be measured, and in which order: use count x predicted gain, growing with age
// so that nothing waits for ever, except that a share of the picks is uniformly random. Every pick
// says how likely it was: estimates of accuracy are corrected by that.
//
// Plain data structure. Threads: one (the loop). Persistence is the owner's, through `Changes`.
class VerificationQueue {
 public:
  struct Options {
    std::size_t bound = 10000;  // of the waiting ones, and of the quarantined ones
    double random_share = 0.1;
    std::uint32_t max_attempts = 2;  // then quarantined
  };
  // Called after each change that must survive a restart.
  struct Changes {
    std::function<void(const storage::QueuedJob&)> put;
    std::function<void(const core::KeyHash&)> remove;
  };
  VerificationQueue(Options options, Changes changes, std::uint64_t seed);

  // A job kept from an earlier run; not reported to `changes`.
  void restore(const storage::QueuedJob& job);
  enum class Added { kQueued, kAlready, kQuarantined, kRefused };
  // When full, the least useful hundredth is dropped and counted, or the new one if it is worth
  // less than all others (kRefused).
  Added add(const storage::QueuedJob& job, std::int64_t now_s);
  void add_uses(const core::KeyHash& hash, std::uint64_t uses);
  // Asked for by an administrator: goes first, whatever became of it before. When full, the least
  // useful of the others is dropped and counted; false if there is none, and nothing has changed.
  bool add_first(const storage::QueuedJob& job);

  struct Pick {
    storage::QueuedJob job;
    float probability = 1;   // of this pick ...
    std::uint32_t pool = 1;  // ... among so many. 1 and 1 where nothing else could have been picked
  };
  // The next job; it stays in the queue, marked as running, until finish() or fail(). `eligible`
  // says whether there is a worker for it now.
  std::optional<Pick> pick(std::int64_t now_s,
                           const std::function<bool(const storage::QueuedJob&)>& eligible);
  void finish(const core::KeyHash& hash);
  // The problem failed for good, or did something to its worker: once more, then quarantine. When
  // that is full, the oldest hundredth of it is forgotten.
  void fail(const core::KeyHash& hash, const std::string& why);
  // Not the problem's fault (worker busy, shutting down): waits again, no attempt counted.
  // `not_before_s`: not picked until then, so that others get their turn.
  void put_back(const core::KeyHash& hash, std::int64_t not_before_s = 0);

  // It was measured, but on a GPU that was disturbed: once more when some time has passed. False if
  // it has been repeated often enough; then it is still running.
  bool repeat_later(const core::KeyHash& hash, std::int64_t now_s);

  [[nodiscard]] std::size_t waiting() const { return entries_.size(); }  // and running
  [[nodiscard]] std::size_t quarantined() const { return quarantined_.size(); }
  // Rises when there may be something to pick that was not there before.
  [[nodiscard]] std::uint64_t arrivals() const { return arrivals_; }
  [[nodiscard]] std::uint64_t dropped() const { return dropped_; }
  [[nodiscard]] std::size_t position(const core::KeyHash& hash, std::int64_t now_s) const;
  void set_options(Options options) { options_ = options; }

  // Value of measuring a job now; units of GPU microseconds saved.
  [[nodiscard]] static double value(const storage::QueuedJob& job,
                                    std::uint64_t uses,
                                    std::int64_t now_s);

 private:
  struct Entry {
    storage::QueuedJob job;
    std::uint64_t uses = 1;
    bool running = false;
    bool first = false;
    std::uint32_t repeats = 0;
    std::int64_t not_before_s = 0;
  };
  [[nodiscard]] double value_of(const Entry& entry, std::int64_t now_s) const;
  void arrived();
  bool make_room(double worth, std::int64_t now_s);
  void quarantine(const core::KeyHash& hash, const storage::QueuedJob& job);
  double next_random();  // in [0, 1)

  Options options_;
  Changes changes_;
  std::uint64_t random_state_;
  std::unordered_map<core::KeyHash, Entry, core::KeyHasher> entries_;
  std::unordered_map<core::KeyHash, storage::QueuedJob, core::KeyHasher> quarantined_;
  double floor_ = 0;  // nothing that may be dropped is worth less
  std::uint64_t arrivals_ = 0;
  std::uint64_t dropped_ = 0;
};

}  // namespace reformer::daemon
