// From a measured record to the answer that later processes get, and to the accuracy log.
#include "daemon/daemon.h"
#include "daemon/drift.h"
#include "daemon/scoring.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <ctime>
#include <span>
#include <utility>
#include <vector>

namespace reformer::daemon {
namespace {

constexpr std::uint64_t kReviewEvery = 20;    // verified problems ...
constexpr std::uint64_t kReviewShare = 1000;  // ... and rows of the log / this: it is read whole
constexpr std::size_t kMaxUnstored = 256;     // those beyond it are measured again

}  // namespace

core::Decision Daemon::table_decision(const core::Record& record) const {
  const Config& fixed = line_.config;
  return decide_with_plans(plans_.get(),
                           record,
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

// What the worker brought, and all that is needed to write it, now or later.
struct Daemon::Measured {
  core::Record record;
  core::KeyHash hash;
  VerificationQueue::Pick pick;
  storage::Database::Merge merge = storage::Database::Merge::kBetterFounded;
  std::vector<core::Context> older;  // versions to compare with, newest first
  double slower = 0;                 // than theirs by so much: worth an alarm
};

// Ahead of their record, so that the answer which is published knows of them.
void Daemon::on_plans(std::vector<core::StoredPlan> plans) {
  if (plans_ == nullptr || plans.empty()) {
    return;
  }
  const bool taken = storage_->try_submit([this, plans = std::move(plans)] {
    for (const core::StoredPlan& plan : plans) {
      if (const auto kept = plans_->put(plan); !kept) {
        spdlog::warn("a compiled plan is not kept: {}", kept.error().message);
      }
    }
  });
  if (!taken) {
    spdlog::warn("compiled plans are not kept: the disk is behind");
  }
}

void Daemon::on_record(core::Record record, const VerificationQueue::Pick& pick) {
  auto measured = std::make_shared<Measured>();
  measured->hash = core::hash_key(record.key);
  measured->pick = pick;
  measured->slower = config_.drift_slowdown;
  if (forced_.erase(measured->hash) > 0) {
    measured->merge = storage::Database::Merge::kForce;
  }
  for (const auto& [known, unused] : known_contexts_) {
    if (known.device == record.key.context.device &&
        known.cudnn_version < record.key.context.cudnn_version) {
      measured->older.push_back(known);
    }
  }
  measured->record = std::move(record);
  store(measured);
}

void Daemon::store(const std::shared_ptr<const Measured>& measured) {
  const bool taken = storage_->try_submit([this, measured] {
    loop_.post([this, measured, stored = put_measured(measured)] { on_stored(measured, stored); });
  });
  if (!taken) {
    keep_for_later(measured);  // until the disk has caught up
  }
}

core::Status Daemon::put_measured(const std::shared_ptr<const Measured>& measured) {
  const core::Record& record = measured->record;
  const auto before = database_->find_record(measured->hash);
  const auto stored = database_->put_record(record, measured->merge, storage::Durability::kSynced);
  if (!stored) {
    return stored.error();
  }
  publish(measured->hash);
  records_ += before && !*before ? 1 : 0;
  look_for_slower_winner(
      record, before ? *before : std::nullopt, measured->older, measured->slower);
  (void)scorer_->submit([this, measured] {
    score(measured->record, measured->pick.probability, measured->pick.pool);
  });
  return core::ok_status();
}

void Daemon::on_stored(const std::shared_ptr<const Measured>& measured,
                       const core::Status& stored) {
  const core::KeyHash& hash = measured->hash;
  if (stored) {
    note_context(measured->record.key.context);
    const core::Provenance& taken = measured->record.provenance;
    const bool again = taken.disturbed && taken.source != "recorded";  // a replay says the same
    if (!again || !queue_->repeat_later(hash, std::time(nullptr))) {
      queue_->finish(hash);
    }
    ++counters_.verified;
    tell_waiting(hash, "");
    retry_store();
  } else if (stored.error().code == core::ErrorCode::kInvalidArgument) {  // the record's own fault
    spdlog::error("a measurement could not be stored: {}", stored.error().message);
    queue_->fail(hash, stored.error().message);
    on_failure(hash, stored.error().message);
  } else {
    if (supervisor_->can_store()) {
      spdlog::error("a measurement could not be stored: {}; no more until that works",
                    stored.error().message);
    }
    tell_waiting(hash, "measured, but not stored yet: " + stored.error().message);
    keep_for_later(measured);
  }
}

// The job stays marked as running, so that it is not measured twice.
void Daemon::keep_for_later(const std::shared_ptr<const Measured>& measured) {
  supervisor_->set_can_store(false);
  next_store_ = std::chrono::steady_clock::now() + kStoreAgain;
  if (unstored_.size() < kMaxUnstored) {
    unstored_.push_back(measured);
    return;
  }
  if (measured->merge == storage::Database::Merge::kForce) {
    forced_.insert(measured->hash);
  }
  queue_->put_back(measured->hash);
}

void Daemon::retry_store() {
  if (unstored_.empty()) {
    if (!supervisor_->can_store()) {
      spdlog::info("measurements can be stored again");
      supervisor_->set_can_store(true);
    }
    return;
  }
  const auto first = unstored_.front();
  unstored_.pop_front();
  store(first);
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

// Against what was measured of the same problem before, else with the newest older cuDNN.
void Daemon::look_for_slower_winner(const core::Record& record,
                                    const std::optional<core::Record>& before,
                                    const std::vector<core::Context>& older,
                                    double factor) {
  std::optional<core::Record> reference = before;
  for (std::size_t i = 0; !reference && i < older.size(); ++i) {
    const auto found = database_->find_record(core::Key{older[i], record.key.problem});
    reference = found ? *found : std::nullopt;
  }
  if (reference && slower_winners_.compare(*reference, record, factor)) {
    (void)database_->put_meta(kSlowerWinnersEntry, slower_winners_.to_text());
    for (const Alarm& alarm : slower_winners_.alarms()) {
      spdlog::warn("alarm: {}", alarm.text);
    }
  }
}

void Daemon::score(const core::Record& record, float probability, std::uint32_t pool) {
  const auto uses = database_->find_uses(core::hash_key(record.key));
  const ScoredProblem problem{
      std::time(nullptr), uses && *uses ? (*uses)->executions : 1, probability, pool};
  const Config& fixed = line_.config;
  const auto rows =
      score_variants(record,
                     *models(),
                     problem,
                     {fixed.build_policy, static_cast<std::size_t>(fixed.max_engines)});
  if (const auto status = database_->append_accuracy(rows); !status) {
    spdlog::error("accuracy log: {}", status.error().message);
  }
  const auto counts = database_->counts();
  const std::uint64_t log = counts ? counts->accuracy_rows : 0;
  if (++verified_since_review_ >= std::max(kReviewEvery, log / kReviewShare)) {
    verified_since_review_ = 0;
    (void)background_->try_submit([this] { review(); });
  }
}

// Looks at the whole log: its own bounds, alarms, the promotion rule.
void Daemon::review() {
  const auto set = models();
  const auto config = ask_loop([this] { return config_; });
  if (!config) {
    return;
  }
  (void)database_->trim_accuracy(std::time(nullptr) - config->accuracy_days * 86400,
                                 static_cast<std::uint64_t>(config->accuracy_rows));
  std::vector<AccuracyLog> logs(model::kApplicationViews.begin(), model::kViews.end());
  if (const auto read = AccuracyLog::read(*database_, logs, [this] { return is_stopping(); });
      !read) {
    spdlog::error("accuracy log: {}", read.error().message);
    return;
  }
  nlohmann::json alarms = nlohmann::json::array();
  for (const Alarm& alarm :
       drift_alarms(logs.front(),
                    set->champion,
                    {static_cast<std::size_t>(config->drift_window), config->drift_slowdown})) {
    alarms.push_back({{"kind", alarm.kind}, {"text", alarm.text}});
  }
  const auto raised = [](const nlohmann::json& all, const nlohmann::json& alarm) {
    return std::ranges::any_of(all, [&](const auto& one) { return one["kind"] == alarm["kind"]; });
  };
  {
    const std::lock_guard lock(alarms_mutex_);
    for (const auto& alarm : alarms) {
      if (!raised(alarms_, alarm)) {
        spdlog::warn("alarm: {}", alarm["text"].get<std::string>());
      }
    }
    for (const auto& alarm : alarms_) {
      if (!raised(alarms, alarm)) {
        spdlog::info("alarm is over: {}", alarm["kind"].get<std::string>());
      }
    }
    alarms_ = std::move(alarms);
  }
  if (config->auto_promote && !set->champion.empty()) {
    promote_by_rule(logs, *set, *config);
  }
}

void Daemon::promote_by_rule(std::span<const AccuracyLog> logs,
                             const ModelSet& set,
                             const Config& config) {
  const auto history = PromotionHistory::load(*database_);
  const auto waiting = unmeasured_problems(*database_, logs.front());
  if (!history || !waiting) {
    spdlog::error("promotion rule: {}",
                  !history ? history.error().message : waiting.error().message);
    return;
  }
  std::vector<std::string> candidates;
  for (const LoadedModel& loaded : set.models) {
    const std::string& name = loaded.predictor->info().name;
    if (name != set.champion && !history->barred(name)) {
      candidates.push_back(name);
    }
  }
  const auto better = challenger_to_promote(
      logs.front(),
      logs.subspan(1),
      selection_weights(logs.front().problems(), *waiting),
      set.champion,
      candidates,
      {static_cast<std::size_t>(config.promote_min_problems), config.promote_confidence});
  if (!better) {
    return;
  }
  const nlohmann::ordered_json why{{"problems", better->problems},
                                   {"ratio", better->ratio},
                                   {"ratio_bound", better->ratio_bound},
                                   {"confidence", config.promote_confidence}};
  if (const auto status = promote(better->name, "rule", why); !status) {
    spdlog::error("promotion of \"{}\" by rule: {}", better->name, status.error().message);
  }
}

}  // namespace reformer::daemon
