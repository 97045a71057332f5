#pragma once

#include "core/key.h"
#include "core/record.h"
#include "core/result.h"

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

// The daemon's durable state in RocksDB, one column family for each kind of thing:
//
//   records    key hash -> record            the truth, one a problem
//   uses       key hash -> use statistics    how often applications ran it
//   accuracy   time, sequence -> row         one row a variant and verified problem
//   queue      key hash -> verification job  survives restarts
//   meta       name -> bytes                 schema version, champion, configuration dictionary
//
// docs/storage.md has the encoding of each and the schema's history.
namespace reformer::storage {

enum class OpenMode {
  kReadWrite,  // creates it where there is none; upgrades an older schema
  kReadOnly,   // for `--offline`; also while no daemon runs
};

enum class Durability {
  kSynced,    // on disk when the call returns: what is acknowledged survives kill -9 and power loss
  kBuffered,  // in the write-ahead log: survives kill -9, not power loss
};

struct OpenReport {
  // Where an unreadable or foreign database was moved; empty if it was fine. Nothing is ever
  // deleted.
  std::filesystem::path set_aside;
  std::string reason;
};

struct UseStatistics {
  std::uint64_t executions = 0;
  std::int64_t last_used_s = 0;             // Unix time
  float in_application_us = core::kNoTime;  // median GPU time that applications saw, if any
};

struct QueuedJob {
  core::Key key;
  std::string library;  // cuDNN library to measure with; empty: any of that version
  std::int32_t gpu = 0;
  std::uint32_t uid = 0;  // of the client that asked; UINT32_MAX: nobody's, the library is root's
  std::int64_t queued_at_s = 0;
  std::uint32_t attempts = 0;
  float predicted_gain_us = 0;  // per execution
  bool quarantined = false;
  std::string last_error;
};

// A row of the accuracy log: how one variant did on one verified problem.
struct AccuracyRow {
  std::int64_t time_s = 0;
  core::KeyHash key;
  std::string variant;  // model name, or "heuristic_a", "heuristic_b", "a_first_10", "oracle"
  core::EngineConfig predicted;
  std::uint16_t rank_of_best =
      0;  // position of the true best in the variant's order, from 0; 65535 absent
  bool top1 = false;
  bool top3 = false;
  bool within_5pct = false;
  bool abstained = false;
  bool covered = true;       // false: the variant had no candidate to offer
  float time_us = 0;         // of the predicted configuration; exact, so that sums over rows are
  float served_time_us = 0;  // with heuristic A's choice where the variant abstained; 0: neither
  float best_us = 0;         // of the fastest
  float confidence = 0;
  float inference_ns = 0;
  float selection_probability = 1;  // with which this problem was chosen for verification
  std::uint32_t pool = 1;           // from among so many that waited
  // For the report's filters and weights.
  core::Operation operation = core::Operation::kForward;
  core::DataType type = core::DataType::kF32;
  core::Layout layout = core::Layout::kNchw;
  // Whose choice it was: of an application that refuses core::kF32Refusals[view]. 0 for types other
  // than f32.
  std::uint8_t view = 0;
  std::uint64_t uses = 0;
  std::string device;

  // Time over the fastest's; 0 where there is none.
  [[nodiscard]] double slowdown() const { return over_best(time_us); }
  [[nodiscard]] double served_slowdown() const { return over_best(served_time_us); }

 private:
  [[nodiscard]] double over_best(float us) const {
    return best_us > 0 ? static_cast<double>(us) / static_cast<double>(best_us) : 0;
  }
};

struct Counts {
  std::uint64_t records = 0;  // exact for up to a million, RocksDB's estimate above
  std::uint64_t queued = 0;   // jobs of the work list, also those in quarantine
  std::uint64_t accuracy_rows = 0;
  std::uint64_t disk_bytes = 0;
};

// Threads: all calls from any thread; each is atomic. Calls block on disk: never from the loop.
class Database {
 public:
  // A database that is corrupt, foreign or of a newer schema is moved to `<directory>.set-aside-N`
  // and an empty one is made, with the reason in `report` (kReadWrite only; kReadOnly fails).
  // A database that another process has open is kUnavailable and not touched, a full or read-only
  // disk kExhausted or kUnavailable.
  static core::Result<std::unique_ptr<Database>> open(const std::filesystem::path& directory,
                                                      OpenMode mode,
                                                      OpenReport* report);
  virtual ~Database() = default;

  // Stores the record if it is better founded than the one that is there; `force` replaces it.
  // Returns whether it was stored.
  enum class Merge { kBetterFounded, kForce };
  virtual core::Result<bool> put_record(const core::Record& record,
                                        Merge merge,
                                        Durability durability) = 0;
  // A key whose stored hash collides with another key is absent.
  virtual core::Lookup<core::Record> find_record(const core::Key& key) = 0;
  virtual core::Lookup<core::Record> find_record(const core::KeyHash& hash) = 0;
  virtual core::Result<bool> forget_record(const core::KeyHash& hash) = 0;
  // In key order until `visit` returns false, from a snapshot. A record that does not decode is
  // reported to `damaged` and skipped.
  virtual core::Status for_each_record(
      const std::function<bool(const core::Record&)>& visit,
      const std::function<void(const core::KeyHash&, const core::Error&)>& damaged) = 0;

  virtual core::Status add_uses(const core::KeyHash& hash, const UseStatistics& more) = 0;
  virtual core::Lookup<UseStatistics> find_uses(const core::KeyHash& hash) = 0;

  virtual core::Status append_accuracy(const std::vector<AccuracyRow>& rows) = 0;
  // Rows with time_s >= since_s, oldest first, until `visit` returns false.
  virtual core::Status for_each_accuracy(std::int64_t since_s,
                                         const std::function<bool(const AccuracyRow&)>& visit) = 0;
  // Drops rows older than before_s, and the oldest beyond max_rows.
  virtual core::Status trim_accuracy(std::int64_t before_s, std::uint64_t max_rows) = 0;

  virtual core::Status put_job(const QueuedJob& job) = 0;
  virtual core::Status remove_job(const core::KeyHash& hash) = 0;
  virtual core::Result<std::vector<QueuedJob>> jobs() = 0;

  virtual core::Status put_meta(std::string_view name, std::string_view bytes) = 0;
  virtual core::Lookup<std::string> find_meta(std::string_view name) = 0;

  virtual core::Result<Counts> counts() = 0;
  virtual core::Status compact() = 0;
};

}  // namespace reformer::storage
