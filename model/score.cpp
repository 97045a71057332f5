#include "model/score.h"

#include <algorithm>
#include <cmath>

namespace reformer::model {
namespace {

constexpr double kZ95 = 1.959963984540054;
constexpr double kWithin = 1.05;

const core::Candidate* find_timed(const core::Record& record, const core::EngineConfig& config) {
  for (const core::Candidate& candidate : record.candidates) {
    if (candidate.config == config && candidate.timed()) {
      return &candidate;
    }
  }
  return nullptr;
}

void fill_choice(const core::Candidate& choice, double best_us, Score& score) {
  score.covered = true;
  score.predicted = choice.config;
  score.time_us = choice.time_us;
  score.build_us = choice.build_us > 0 ? choice.build_us : 0;
  score.best_us = best_us;
  score.slowdown = score.time_us / score.best_us;
  score.top1 = score.time_us <= score.best_us;
  score.within_5pct = score.slowdown <= kWithin;
}

// `existing` names the chooser's order without what does not exist.
Score score_existing(const core::Record& record, std::span<const core::Candidate* const> existing) {
  Score score;
  const core::Candidate* best = core::fastest(record);
  if (best == nullptr || existing.empty()) {
    return score;
  }
  fill_choice(*existing.front(), best->time_us, score);
  for (std::size_t i = 0; i < existing.size(); ++i) {
    if (existing[i]->time_us <= best->time_us) {
      score.rank_of_best = static_cast<std::int32_t>(i);
      break;
    }
  }
  score.top3 = score.rank_of_best >= 0 && score.rank_of_best < 3;
  return score;
}

Score score_heuristic(const core::Record& record, std::int16_t core::Candidate::*rank) {
  std::vector<const core::Candidate*> listed;
  for (const core::Candidate& candidate : record.candidates) {
    if (candidate.*rank != core::kNoRank && candidate.timed()) {
      listed.push_back(&candidate);
    }
  }
  std::ranges::stable_sort(listed, {}, [rank](const auto* c) { return c->*rank; });
  return score_existing(record, listed);
}

// The chooser that measured and therefore knows the order of what it looked at.
Score score_measured(const core::Record& record, const core::Candidate* choice) {
  if (choice == nullptr) {
    return {};
  }
  return score_existing(record, std::span(&choice, 1));
}

double percentile(const std::vector<double>& sorted, double share) {
  const auto n = static_cast<double>(sorted.size());
  const auto index = static_cast<std::size_t>(std::max(0.0, std::ceil(share * n) - 1));
  return sorted[std::min(index, sorted.size() - 1)];
}

Interval percentile_interval(const std::vector<double>& sorted, double share) {
  const auto n = static_cast<double>(sorted.size());
  const double half = kZ95 * std::sqrt(share * (1 - share) / n);
  return {percentile(sorted, std::max(0.0, share - half)),
          percentile(sorted, std::min(1.0, share + half))};
}

double sorted_sum(std::vector<double>& values) {
  std::ranges::sort(values);
  double sum = 0;
  for (const double value : values) {
    sum += value;
  }
  return sum;
}

std::vector<double> logarithms(std::span<const double> values) {
  std::vector<double> logs;
  logs.reserve(values.size());
  for (const double value : values) {
    logs.push_back(std::log(value));
  }
  return logs;
}

}  // namespace

Interval wilson_interval(double share, double n) {
  const double z2 = kZ95 * kZ95;
  const double centre = (share + z2 / (2 * n)) / (1 + z2 / n);
  const double half = kZ95 / (1 + z2 / n) * std::sqrt(share * (1 - share) / n + z2 / (4 * n * n));
  // Exact where rounding would leave the share itself out.
  return {share > 0 ? std::max(0.0, centre - half) : 0,
          share < 1 ? std::min(1.0, centre + half) : 1};
}

Score score_order(const core::Record& record, std::span<const core::EngineConfig> order) {
  std::vector<const core::Candidate*> existing;
  for (const core::EngineConfig& config : order) {
    if (const core::Candidate* candidate = find_timed(record, config)) {
      existing.push_back(candidate);
    }
  }
  Score score = score_existing(record, existing);
  score.first_exists = !existing.empty() && existing.front()->config == order.front();
  return score;
}

Score score_ranking(const core::Record& record,
                    const Ranking& ranking,
                    std::span<const core::EngineConfig> classes) {
  std::vector<core::EngineConfig> order;
  for (std::uint32_t i = 0; i < ranking.count; ++i) {
    order.push_back(classes[static_cast<std::size_t>(ranking.classes[i].class_index)]);
  }
  Score score = score_order(record, order);
  score.abstained = ranking.abstained;
  score.confidence = ranking.confidence;
  return score;
}

Score score_served(const core::Record& record, const Score& model) {
  if (model.covered && !model.abstained) {
    return model;
  }
  Score served = score_heuristic_a(record);
  served.abstained = model.abstained;
  served.confidence = model.confidence;
  return served;
}

Score score_decision(const core::Record& record, const core::Decision& decision) {
  std::vector<core::EngineConfig> order;
  for (const core::DecisionEntry& entry : decision.entries) {
    if ((entry.behavior_notes & core::behavior_note::kFarBehind) == 0) {
      order.push_back(entry.config);
    }
  }
  Score score = score_order(record, order);
  score.abstained = order.empty();
  score.confidence = decision.confidence;
  return score_served(record, score);
}

Score score_heuristic_a(const core::Record& record) {
  return score_heuristic(record, &core::Candidate::rank_a);
}

Score score_heuristic_b(const core::Record& record) {
  return score_heuristic(record, &core::Candidate::rank_b);
}

Score score_a_first_10(const core::Record& record) {
  return score_measured(record, core::fastest_of_first_a(record, 10));
}

Score score_oracle(const core::Record& record) {
  return score_measured(record, core::fastest(record));
}

MeanInterval mean_interval(std::vector<double> sample) {
  if (sample.empty()) {
    return {};
  }
  const auto n = static_cast<double>(sample.size());
  const double mean = sorted_sum(sample) / n;
  if (sample.size() == 1) {
    return {mean, {mean, mean}};
  }
  for (double& value : sample) {
    value = (value - mean) * (value - mean);
  }
  const double half = kZ95 * std::sqrt(sorted_sum(sample) / (n - 1) / n);
  return {mean, {mean - half, mean + half}};
}

Summary summarise(std::span<const Score> scores) {
  Summary summary;
  summary.problems = scores.size();
  if (scores.empty()) {
    return summary;
  }
  std::vector<double> slowdowns;
  std::vector<double> times;
  std::vector<double> best_times;
  double top1 = 0;
  double top3 = 0;
  double within = 0;
  for (const Score& score : scores) {
    summary.abstained += score.abstained ? 1 : 0;
    if (!score.covered) {
      ++summary.uncovered;
      continue;
    }
    top1 += score.top1 ? 1 : 0;
    top3 += score.top3 ? 1 : 0;
    within += score.within_5pct ? 1 : 0;
    slowdowns.push_back(score.slowdown);
    times.push_back(score.time_us);
    best_times.push_back(score.best_us);
  }
  const auto n = static_cast<double>(scores.size());
  summary.top1 = top1 / n;
  summary.top3 = top3 / n;
  summary.within_5pct = within / n;
  summary.top1_95 = wilson_interval(summary.top1, n);
  summary.top3_95 = wilson_interval(summary.top3, n);
  summary.within_5pct_95 = wilson_interval(summary.within_5pct, n);
  if (slowdowns.empty()) {
    return summary;
  }
  const MeanInterval log_mean = mean_interval(logarithms(slowdowns));
  summary.geomean_slowdown = std::exp(log_mean.mean);
  summary.geomean_slowdown_95 = {std::exp(log_mean.interval.low), std::exp(log_mean.interval.high)};
  std::ranges::sort(slowdowns);
  summary.p90_slowdown = percentile(slowdowns, 0.90);
  summary.p90_slowdown_95 = percentile_interval(slowdowns, 0.90);
  summary.p99_slowdown = percentile(slowdowns, 0.99);
  summary.max_slowdown = slowdowns.back();
  summary.total_time_ratio = sorted_sum(times) / sorted_sum(best_times);
  return summary;
}

PairedComparison compare_paired(std::span<const Score> challenger,
                                std::span<const Score> champion) {
  PairedComparison comparison;
  std::vector<double> differences;
  for (std::size_t i = 0; i < challenger.size(); ++i) {
    if (!challenger[i].covered || !champion[i].covered) {
      ++comparison.left_out;
      continue;
    }
    differences.push_back(std::log(challenger[i].slowdown) - std::log(champion[i].slowdown));
    comparison.better += challenger[i].slowdown < champion[i].slowdown ? 1 : 0;
    comparison.worse += challenger[i].slowdown > champion[i].slowdown ? 1 : 0;
  }
  comparison.pairs = differences.size();
  if (!differences.empty()) {
    const MeanInterval mean = mean_interval(std::move(differences));
    comparison.slowdown_ratio = std::exp(mean.mean);
    comparison.slowdown_ratio_95 = {std::exp(mean.interval.low), std::exp(mean.interval.high)};
  }
  return comparison;
}

}  // namespace reformer::model
