#include "daemon/accuracy_log.h"

#include "daemon/scoring.h"

#include <algorithm>

namespace reformer::daemon {
namespace {

constexpr std::uint16_t kAbsent = 65535;

}  // namespace

void AccuracyLog::add(const storage::AccuracyRow& row) {
  if (row.view != static_cast<std::uint8_t>(view_)) {
    return;
  }
  const auto [at, is_new] =
      numbers_.try_emplace(row.key, static_cast<std::uint32_t>(problems_.size()));
  if (is_new) {
    auto device = std::find(devices_.begin(), devices_.end(), row.device);
    if (device == devices_.end() && devices_.size() < kAbsent) {
      device = devices_.insert(device, row.device);
    }
    problems_.push_back({.key = row.key,
                         .probability = row.selection_probability,
                         .pool = row.pool,
                         .operation = row.operation,
                         .type = row.type,
                         .layout = row.layout,
                         .device = static_cast<std::uint16_t>(device - devices_.begin())});
  }
  Problem& problem = problems_[at->second];
  problem.time_s = row.time_s;
  problem.uses = row.uses;
  std::vector<Entry>& entries = entries_[row.variant];
  if (entries.size() <= at->second) {
    entries.resize(at->second + 1);
  }
  entries[at->second] = {
      .time_us = row.time_us,
      .best_us = row.best_us,
      .confidence = row.confidence,
      .inference_ns = row.inference_ns,
      .rank_of_best = row.rank_of_best == kAbsent ? -1 : std::int32_t{row.rank_of_best},
      .present = true,
      .covered = row.covered,
      .top1 = row.top1,
      .top3 = row.top3,
      .within_5pct = row.within_5pct,
      .abstained = row.abstained};
}

core::Status AccuracyLog::read(storage::Database& database, const Stop& stop) {
  return read(database, std::span(this, 1), stop);
}

core::Status AccuracyLog::read(storage::Database& database,
                               std::span<AccuracyLog> logs,
                               const Stop& stop) {
  bool stopped = false;
  const auto status = database.for_each_accuracy(0, [&](const storage::AccuracyRow& row) {
    for (AccuracyLog& log : logs) {
      log.add(row);
    }
    stopped = stop && stop();
    return !stopped;
  });
  for (AccuracyLog& log : logs) {
    log.complete();
  }
  return stopped ? core::make_error(core::ErrorCode::kUnavailable, "the daemon is stopping")
                 : status;
}

void AccuracyLog::complete() {
  for (auto& [name, entries] : entries_) {
    entries.resize(problems_.size());
  }
}

std::optional<std::size_t> AccuracyLog::find(const core::KeyHash& key) const {
  const auto found = numbers_.find(key);
  return found != numbers_.end() ? std::optional<std::size_t>(found->second) : std::nullopt;
}

std::vector<std::string> AccuracyLog::variants() const {
  std::vector<std::string> names;
  for (const auto& [name, entries] : entries_) {
    names.push_back(name);
  }
  return names;
}

std::span<const AccuracyLog::Entry> AccuracyLog::of(const std::string& variant) const {
  const auto found = entries_.find(variant);
  return found != entries_.end() ? std::span<const Entry>(found->second) : std::span<const Entry>();
}

AccuracyLog::Entry AccuracyLog::served(std::span<const Entry> variant, std::size_t problem) const {
  const Entry own = problem < variant.size() ? variant[problem] : Entry{};
  if (!own.present || (own.covered && !own.abstained)) {
    return own;
  }
  const auto heuristic = of(std::string(kHeuristicA));
  Entry served = problem < heuristic.size() ? heuristic[problem] : Entry{};
  served.present = true;
  served.abstained = own.abstained;
  served.confidence = own.confidence;
  served.inference_ns = own.inference_ns;
  return served;
}

model::Score score_of(const AccuracyLog::Entry& entry) {
  model::Score score;
  score.covered = entry.covered;
  score.top1 = entry.top1;
  score.top3 = entry.top3;
  score.within_5pct = entry.within_5pct;
  score.time_us = entry.time_us;
  score.best_us = entry.best_us;
  score.slowdown = entry.covered ? score.time_us / score.best_us : 0;
  score.rank_of_best = entry.rank_of_best;
  score.abstained = entry.abstained;
  score.confidence = entry.confidence;
  return score;
}

std::vector<double> selection_weights(std::span<const AccuracyLog::Problem> problems,
                                      std::uint64_t waiting) {
  std::vector<double> weights(problems.size(), 1);
  const auto unknown = static_cast<double>(waiting);
  const double all = static_cast<double>(problems.size()) + unknown;
  for (std::size_t i = 0; waiting > 0 && i < problems.size(); ++i) {
    const double expected = static_cast<double>(problems[i].probability) * problems[i].pool;
    if (expected > 0) {
      const double left = all - static_cast<double>(i + 1);  // after this pick, at least `waiting`
      weights[i] = 1 + unknown / left * (1 / expected - 1);
    }
  }
  return weights;
}

core::Result<std::uint64_t> unmeasured_problems(storage::Database& database,
                                                const AccuracyLog& log) {
  const auto jobs = database.jobs();
  if (!jobs) {
    return jobs.error();
  }
  const auto waits = [&log](const storage::QueuedJob& job) {
    return !job.quarantined && !log.find(core::hash_key(job.key));
  };
  return static_cast<std::uint64_t>(std::ranges::count_if(*jobs, waits));
}

std::vector<double> weights_in(const AccuracyLog& view,
                               const AccuracyLog& all,
                               std::span<const double> weights) {
  std::vector<double> result;
  for (const AccuracyLog::Problem& problem : view.problems()) {
    const auto place = all.find(problem.key);
    result.push_back(place ? weights[*place] : 0);
  }
  return result;
}

}  // namespace reformer::daemon
