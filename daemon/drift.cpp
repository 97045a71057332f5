#include "daemon/drift.h"

#include "daemon/scoring.h"
#include "model/score.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

namespace reformer::daemon {

std::vector<Alarm> drift_alarms(std::span<const storage::AccuracyRow> rows,
                                const std::string& champion,
                                const DriftRule& rule) {
  std::vector<model::Score> scores;
  for (const auto& row : rows) {
    if (row.variant == champion) {
      scores.push_back(score_of(row));
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

}  // namespace reformer::daemon
