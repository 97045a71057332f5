#include "daemon/drift.h"

#include "core/problem_text.h"
#include "model/score.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

namespace reformer::daemon {

using nlohmann::json;

std::vector<Alarm> drift_alarms(const AccuracyLog& log,
                                const std::string& champion,
                                const DriftRule& rule) {
  std::vector<model::Score> scores;
  const auto entries = log.of(champion);
  for (std::size_t i = 0; i < entries.size(); ++i) {
    if (entries[i].present) {
      scores.push_back(score_of(log.served(entries, i)));
    }
  }
  if (scores.size() < rule.window * 2) {
    return {};
  }
  const auto all = std::span<const model::Score>(scores);
  const auto before = model::summarise(all.first(all.size() - rule.window));
  const auto recent = model::summarise(all.last(rule.window));
  std::vector<Alarm> alarms;
  if (recent.geomean_slowdown > before.geomean_slowdown * rule.slowdown &&
      recent.geomean_slowdown_95.low > before.geomean_slowdown_95.high) {
    alarms.push_back({"slowdown",
                      fmt::format("the champion's slowdown on the last {} verified problems is "
                                  "{:.3f}, it was {:.3f} before",
                                  rule.window,
                                  recent.geomean_slowdown,
                                  before.geomean_slowdown)});
  }
  const auto share = [](const model::Summary& summary) {
    return static_cast<double>(summary.abstained) / static_cast<double>(summary.problems);
  };
  const double was = share(before);
  const double is = share(recent);
  const double error =
      std::sqrt(std::max(was * (1 - was), 0.01) / static_cast<double>(rule.window));
  if (is > was + 0.1 && is > was + 3 * error) {
    alarms.push_back({"abstention",
                      fmt::format("the champion abstained on {:.0f} % of the last {} verified "
                                  "problems, on {:.0f} % before",
                                  is * 100,
                                  rule.window,
                                  was * 100)});
  }
  return alarms;
}

bool SlowerWinners::compare(const core::Record& before, const core::Record& now, double factor) {
  const core::Candidate* const was = core::fastest(before);
  const core::Candidate* const is = core::fastest(now);
  if (was == nullptr || is == nullptr || was->timing != core::Timing::kGraphMedian ||
      is->timing != core::Timing::kGraphMedian || before.provenance.disturbed ||
      now.provenance.disturbed) {
    return false;
  }
  const double grown = static_cast<double>(is->time_us) / static_cast<double>(was->time_us);
  const std::string key = core::format_hash(core::hash_key(now.key));
  const std::lock_guard lock(mutex_);
  if (grown > factor && slower_.size() < kMost) {
    slower_[key] = {core::format_problem(now.key.problem),
                    before.key.context.cudnn_version,
                    now.key.context.cudnn_version,
                    grown};
    return true;
  }
  return grown <= factor && slower_.erase(key) > 0;
}

void SlowerWinners::clear() {
  const std::lock_guard lock(mutex_);
  slower_.clear();
}

std::vector<Alarm> SlowerWinners::alarms() const {
  const std::lock_guard lock(mutex_);
  std::map<std::pair<std::int64_t, std::int64_t>, std::vector<const Slower*>> upgrades;
  for (const auto& [key, slower] : slower_) {
    upgrades[{slower.from_version, slower.to_version}].push_back(&slower);
  }
  std::vector<Alarm> alarms;
  for (const auto& [versions, all] : upgrades) {
    const Slower& worst =
        **std::ranges::max_element(all, {}, [](const Slower* slower) { return slower->factor; });
    const auto [from, to] = versions;
    const std::string where = from == to
                                  ? fmt::format("measured again with cuDNN {}", to)
                                  : fmt::format("with cuDNN {}, measured with {} before", to, from);
    alarms.push_back({"upgrade",
                      fmt::format("{} problem{} slower {}; worst: {:.2f}x, {}",
                                  all.size(),
                                  all.size() == 1 ? " is" : "s are",
                                  where,
                                  worst.factor,
                                  worst.problem)});
  }
  return alarms;
}

std::string SlowerWinners::to_text() const {
  const std::lock_guard lock(mutex_);
  json list = json::array();
  for (const auto& [key, slower] : slower_) {
    list.push_back({key, slower.problem, slower.from_version, slower.to_version, slower.factor});
  }
  return list.dump();
}

void SlowerWinners::from_text(const std::string& text) {
  const json list = json::parse(text, nullptr, false);
  const std::lock_guard lock(mutex_);
  for (const json& row : list.is_array() ? list : json::array()) {
    if (row.is_array() && row.size() == 5 && row[0].is_string() && row[1].is_string() &&
        row[2].is_number_integer() && row[3].is_number_integer() && row[4].is_number()) {
      slower_[row[0]] = {row[1], row[2], row[3], row[4]};
    }
  }
}

}  // namespace reformer::daemon
