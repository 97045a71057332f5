#include "daemon/ablation.h"

#include "daemon/scoring.h"
#include "model/score.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <map>
#include <utility>

namespace reformer::daemon {
namespace {

using Json = nlohmann::ordered_json;
Json pair_of(const model::Interval& interval) {
  return Json::array({interval.low, interval.high});
}

// Two-sided sign test, normal limit with continuity correction.
double sign_test(std::size_t better, std::size_t worse) {
  const double n = static_cast<double>(better + worse);
  if (n == 0) {
    return 1;
  }
  const double difference = std::abs(static_cast<double>(better) - static_cast<double>(worse)) - 1;
  return std::erfc(std::max(0.0, difference) / std::sqrt(n) / std::sqrt(2.0));
}

double percentile(std::vector<double> values, double share) {
  if (values.empty()) {
    return 0;
  }
  std::sort(values.begin(), values.end());
  return values[static_cast<std::size_t>(share * static_cast<double>(values.size() - 1))];
}

using RowsByKey = std::map<core::KeyHash, storage::AccuracyRow>;

Json variant_json(const std::string& name, const RowsByKey& rows) {
  std::vector<model::Score> scores;
  std::vector<double> inference;
  for (const auto& [key, row] : rows) {
    scores.push_back(score_of(row));
    if (row.inference_ns > 0) {
      inference.push_back(static_cast<double>(row.inference_ns) / 1000);
    }
  }
  const model::Summary summary = model::summarise(scores);
  return {
      {"name", name},
      {"n", summary.problems},
      {"uncovered", summary.uncovered},
      {"abstained", summary.abstained},
      {"top1", summary.top1},
      {"top3", summary.top3},
      {"within_5pct", summary.within_5pct},
      {"geomean_slowdown", summary.geomean_slowdown},
      {"p90_slowdown", summary.p90_slowdown},
      {"p99_slowdown", summary.p99_slowdown},
      {"max_slowdown", summary.max_slowdown},
      {"total_time_ratio", summary.total_time_ratio},
      {"inference_us", {{"p50", percentile(inference, 0.5)}, {"p99", percentile(inference, 0.99)}}},
      {"interval",
       {{"top1", pair_of(summary.top1_95)},
        {"top3", pair_of(summary.top3_95)},
        {"within_5pct", pair_of(summary.within_5pct_95)},
        {"geomean_slowdown", pair_of(summary.geomean_slowdown_95)},
        {"p90_slowdown", pair_of(summary.p90_slowdown_95)}}}};
}

Json paired_json(const RowsByKey& challenger, const RowsByKey& champion, double& p_value) {
  std::vector<model::Score> ours;
  std::vector<model::Score> theirs;
  for (const auto& [key, row] : challenger) {
    const auto found = champion.find(key);
    if (found != champion.end()) {
      ours.push_back(score_of(row));
      theirs.push_back(score_of(found->second));
    }
  }
  const model::PairedComparison paired = model::compare_paired(ours, theirs);
  p_value = sign_test(paired.better, paired.worse);
  return {{"difference", paired.slowdown_ratio - 1},
          {"interval",
           Json::array({paired.slowdown_ratio_95.low - 1, paired.slowdown_ratio_95.high - 1})},
          {"pairs", paired.pairs},
          {"better", paired.better},
          {"worse", paired.worse},
          {"p_value", p_value},
          {"p_adjusted", p_value}};
}

// Holm's correction, in place: `p` by variant.
void adjust(std::vector<std::pair<double, Json*>>& tests) {
  std::sort(tests.begin(), tests.end(), [](const auto& one, const auto& other) {
    return one.first < other.first;
  });
  double largest = 0;
  for (std::size_t i = 0; i < tests.size(); ++i) {
    largest =
        std::max(largest, std::min(1.0, tests[i].first * static_cast<double>(tests.size() - i)));
    (*tests[i].second)["paired"]["p_adjusted"] = largest;
  }
}

}  // namespace

Json ablation_report(const std::vector<storage::AccuracyRow>& rows, const std::string& champion) {
  std::map<std::string, RowsByKey> variants;
  std::map<core::KeyHash, bool> problems;
  for (const storage::AccuracyRow& row : rows) {
    variants[row.variant][row.key] = row;  // oldest first: the newest stays
    problems[row.key] = true;
    // What applications got from the champion: heuristic A's choice where it abstained.
    if (row.variant == champion) {
      storage::AccuracyRow served = row;
      served.covered = row.served_slowdown > 0;
      served.slowdown = row.served_slowdown;
      variants[champion + " as served"][row.key] = served;
    }
  }
  Json list = Json::array();
  for (const auto& [name, by_key] : variants) {
    list.push_back(variant_json(name, by_key));
  }
  const auto reference = variants.find(champion);
  if (reference != variants.end()) {
    std::vector<std::pair<double, Json*>> tests;
    for (Json& variant : list) {
      const std::string name = variant["name"];
      if (name != champion) {
        double p_value = 1;
        variant["paired"] = paired_json(variants[name], reference->second, p_value);
        tests.emplace_back(p_value, &variant);
      }
    }
    adjust(tests);
  }
  return {{"problems", problems.size()}, {"champion", champion}, {"variants", std::move(list)}};
}

std::optional<std::string> challenger_to_promote(const std::vector<storage::AccuracyRow>& rows,
                                                 const std::string& champion,
                                                 const PromotionRule& rule) {
  std::map<std::string, RowsByKey> variants;
  for (const storage::AccuracyRow& row : rows) {
    const bool baseline = row.variant == kHeuristicA || row.variant == kHeuristicB ||
                          row.variant == kFirstTenOfA || row.variant == kOracle;
    if (!baseline) {
      variants[row.variant][row.key] = row;
    }
  }
  const auto reference = variants.find(champion);
  if (reference == variants.end() || variants.size() < 2) {
    return std::nullopt;
  }
  const double tests = static_cast<double>(variants.size() - 1);
  std::optional<std::string> best;
  double best_ratio = 1;
  for (const auto& [name, by_key] : variants) {
    std::vector<model::Score> ours;
    std::vector<model::Score> theirs;
    std::map<std::pair<core::Operation, core::DataType>, std::pair<double, std::size_t>> parts;
    for (const auto& [key, row] : by_key) {
      const auto found = reference->second.find(key);
      if (name == champion || found == reference->second.end()) {
        continue;
      }
      ours.push_back(score_of(row));
      theirs.push_back(score_of(found->second));
      if (row.covered && found->second.covered) {
        auto& [sum, count] = parts[{row.operation, row.type}];
        sum += std::log(static_cast<double>(row.slowdown) /
                        static_cast<double>(found->second.slowdown));
        ++count;
      }
    }
    const model::PairedComparison paired = model::compare_paired(ours, theirs);
    const bool regresses = std::any_of(parts.begin(), parts.end(), [](const auto& part) {
      const auto& [sum, count] = part.second;
      return sum / static_cast<double>(count) > 0.005;
    });
    if (paired.pairs >= rule.min_problems && paired.slowdown_ratio_95.high < 1 && !regresses &&
        sign_test(paired.better, paired.worse) * tests < 1 - rule.confidence &&
        paired.better > paired.worse && paired.slowdown_ratio < best_ratio) {
      best = name;
      best_ratio = paired.slowdown_ratio;
    }
  }
  return best;
}

}  // namespace reformer::daemon
