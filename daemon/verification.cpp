// From a measured record to the answer that later processes get, and to the accuracy log.
#include "daemon/ablation.h"
#include "daemon/daemon.h"
#include "daemon/drift.h"
#include "daemon/scoring.h"

#include <spdlog/spdlog.h>

#include <ctime>
#include <utility>

namespace reformer::daemon {
namespace {

constexpr std::uint64_t kReviewEvery = 20;  // verified problems

}  // namespace

core::Decision Daemon::table_decision(const core::Record& record) const {
  const Config& fixed = line_.config;
  return core::decide_measured(record,
                               {},
                               fixed.build_policy,
                               static_cast<std::size_t>(fixed.max_entries),
                               static_cast<std::size_t>(fixed.max_engines));
}

// Reads the record again, so that whoever wrote last is who is published.
void Daemon::publish(const core::KeyHash& hash) {
  const auto record = database_->find_record(hash);
  if (!record) {
    spdlog::error("record {}: {}", core::format_hash(hash), record.error().message);
    return;
  }
  if (!*record) {
    table_->remove(hash);
  } else if (const auto status = table_->put(hash, table_decision(**record)); !status) {
    spdlog::error("shared table: {}", status.error().message);
    table_->remove(hash);  // rather nothing than something older
    loop_.post([this] { table_complete_ = false; });
  }
  table_entries_ = table_->entries();
  table_bytes_ = table_->bytes();
}

void Daemon::on_record(core::Record record, const VerificationQueue::Pick& pick) {
  const core::KeyHash hash = core::hash_key(record.key);
  const auto merge = forced_.erase(hash) > 0 ? storage::Database::Merge::kForce
                                             : storage::Database::Merge::kBetterFounded;
  const auto shared = std::make_shared<const core::Record>(std::move(record));
  const bool taken = storage_->try_submit([this, shared, hash, merge, p = pick.probability] {
    const auto stored = database_->put_record(*shared, merge, storage::Durability::kSynced);
    if (stored) {
      publish(hash);
      (void)scorer_->submit([this, shared, p] { score(*shared, p); });
    }
    loop_.post([this, shared, hash, error = stored ? "" : stored.error().message] {
      if (error.empty()) {
        note_context(shared->key.context);
        if (!shared->provenance.disturbed || !queue_->repeat_later(hash, std::time(nullptr))) {
          queue_->finish(hash);
        }
        ++counters_.verified;
        tell_waiting(hash, "");
      } else {
        spdlog::error("a measurement could not be stored: {}", error);
        queue_->fail(hash, error);
        on_failure(hash, error);
      }
    });
  });
  if (!taken) {
    queue_->put_back(hash);  // measured again when the disk has caught up
  }
}

void Daemon::on_failure(const core::KeyHash& hash, const std::string& why) {
  ++counters_.verify_failed;
  forced_.erase(hash);
  tell_waiting(hash, why);
}

void Daemon::tell_waiting(const core::KeyHash& hash, const std::string& error) {
  const auto [first, last] = waiting_.equal_range(hash);
  for (auto at = first; at != last; ++at) {
    // The reply reads the record: not the loop's work.
    (void)background_->try_submit([done = at->second, error] { done(error); });
  }
  waiting_.erase(first, last);
}

void Daemon::score(const core::Record& record, float probability) {
  const auto uses = database_->find_uses(core::hash_key(record.key));
  const ScoredProblem problem{
      std::time(nullptr), uses && *uses ? (*uses)->executions : 1, probability};
  const auto status = database_->append_accuracy(score_variants(record, *models(), problem));
  if (!status) {
    spdlog::error("accuracy log: {}", status.error().message);
  }
  if (++verified_since_review_ % kReviewEvery == 0) {
    (void)background_->try_submit([this] { review(); });
  }
}

// Looks at the whole log: alarms, the promotion rule, the log's own bounds.
void Daemon::review() {
  const auto set = models();
  const auto config = ask_loop([this] { return config_; });
  if (!config) {
    return;
  }
  const std::int64_t now = std::time(nullptr);
  (void)database_->trim_accuracy(now - config->accuracy_days * 86400,
                                 static_cast<std::uint64_t>(config->accuracy_rows));
  std::vector<storage::AccuracyRow> rows;
  const auto read = database_->for_each_accuracy(0, [&](const storage::AccuracyRow& row) {
    rows.push_back(row);
    return true;
  });
  if (!read) {
    spdlog::error("accuracy log: {}", read.error().message);
    return;
  }
  const auto found =
      drift_alarms(rows,
                   set->champion,
                   {static_cast<std::size_t>(config->drift_window), config->drift_slowdown});
  nlohmann::json alarms = nlohmann::json::array();
  for (const Alarm& alarm : found) {
    spdlog::warn("alarm: {}", alarm.text);
    alarms.push_back({{"kind", alarm.kind}, {"text", alarm.text}});
  }
  {
    const std::lock_guard lock(alarms_mutex_);
    alarms_ = std::move(alarms);
  }
  if (!config->auto_promote) {
    return;
  }
  const auto better = challenger_to_promote(
      rows,
      set->champion,
      {static_cast<std::size_t>(config->promote_min_problems), config->promote_confidence});
  if (better && set->find(*better) != nullptr) {
    const auto status = set_champion(*better);
    spdlog::warn("promotion by rule: \"{}\" instead of \"{}\"{}",
                 *better,
                 set->champion,
                 status ? "" : ": " + status.error().message);
  }
}

}  // namespace reformer::daemon
