#include "cli/eval_scores.h"

#include "cli/table.h"
#include "cli/units.h"

#include <fmt/format.h>

#include <algorithm>
#include <type_traits>

namespace reformer::cli {
namespace {

constexpr std::array<const char*, ChooserScores::kChoosers> kTitles = {
    "model", "served", "applied", "heuristic A", "heuristic B", "best of A's first 10", "oracle"};

}  // namespace

ChooserScores::ChooserScores(const model::Predictor& predictor,
                             const core::BuildPolicy& policy,
                             model::View view)
    : predictor_(predictor), policy_(policy), view_(view), scratch_(predictor) {}

void ChooserScores::add(const core::Record& record) {
  model::Ranking ranking;
  if (predictor_.knows(record.key.context)) {
    predictor_.rank(record.key.problem, model::kMaxRanked, scratch_, ranking, view_);
  }
  const model::Score chosen = model::score_ranking(record, ranking, predictor_.classes());
  scores_[kModel].push_back(chosen);
  scores_[kServed].push_back(model::score_served(record, chosen));
  core::Constraints constraints;
  constraints.forbidden_numerical_notes = model::refused_notes(view_);
  const core::Decision decision = predictor_.decide(record.key.context,
                                                    record.key.problem,
                                                    constraints,
                                                    policy_,
                                                    core::kMaxDecisionEntries,
                                                    core::kMaxDecisionEntries,
                                                    scratch_);
  scores_[kApplied].push_back(model::score_decision(record, decision));
  scores_[kHeuristicA].push_back(model::score_heuristic_a(record));
  scores_[kHeuristicB].push_back(model::score_heuristic_b(record));
  scores_[kFirstTen].push_back(model::score_a_first_10(record));
  scores_[kOracle].push_back(model::score_oracle(record));
}

std::vector<std::size_t> ChooserScores::worst(std::size_t most) const {
  const std::vector<model::Score>& served = scores_[kServed];
  const auto lost = [&served](std::size_t i) { return served[i].time_us - served[i].best_us; };
  std::vector<std::size_t> order;
  for (std::size_t i = 0; i < served.size(); ++i) {
    if (served[i].covered && lost(i) > 0) {
      order.push_back(i);
    }
  }
  std::stable_sort(order.begin(), order.end(), [&](std::size_t one, std::size_t other) {
    return lost(one) > lost(other);
  });
  order.resize(std::min(order.size(), most));
  return order;
}

Json summary_to_json(const model::Summary& summary) {
  Json json;
  model::visit_figures(summary, [&json](const char* name, const auto& value) {
    if constexpr (std::is_same_v<decltype(value), const model::Interval&>) {
      json[name] = Json::array({value.low, value.high});
    } else {
      json[name] = value;
    }
  });
  return json;
}

double ChooserScores::build_ms(Chooser chooser) const {
  double sum_us = 0;
  std::size_t covered = 0;
  for (const model::Score& score : scores_[chooser]) {
    sum_us += score.build_us;
    covered += score.covered ? 1 : 0;
  }
  return covered > 0 ? sum_us / 1000 / static_cast<double>(covered) : 0;
}

std::size_t ChooserScores::first_missing() const {
  return static_cast<std::size_t>(std::ranges::count_if(
      scores_[kModel],
      [](const model::Score& score) { return !score.abstained && !score.first_exists; }));
}

Json ChooserScores::to_json() const {
  const auto of_chooser = [this](Chooser chooser) {
    return summary_to_json(model::summarise(scores_[chooser]));
  };
  return {{"problems", problems()},
          {"model", of_chooser(kModel)},
          {"served", of_chooser(kServed)},
          {"applied", of_chooser(kApplied)},
          {"first_missing", first_missing()},
          {"build_ms",
           {{"served", build_ms(kServed)},
            {"applied", build_ms(kApplied)},
            {"heuristic_a", build_ms(kHeuristicA)}}},
          {"baselines",
           {{"heuristic_a", of_chooser(kHeuristicA)},
            {"heuristic_b", of_chooser(kHeuristicB)},
            {"a_first_10", of_chooser(kFirstTen)},
            {"oracle", of_chooser(kOracle)}}}};
}

void ChooserScores::print(std::ostream& out, bool colour) const {
  Table table({{"chooser"},
               {"fastest", Align::kRight},
               {"top 3", Align::kRight},
               {"within 5 %", Align::kRight},
               {"mean", Align::kRight},
               {"p90", Align::kRight},
               {"p99", Align::kRight},
               {"worst", Align::kRight},
               {"time", Align::kRight},
               {"building", Align::kRight},
               {"not covered", Align::kRight},
               {"abstained", Align::kRight}});
  for (std::size_t i = 0; i < kChoosers; ++i) {
    const model::Summary s = model::summarise(scores_[i]);
    table.add({kTitles[i],
               human_share(s.top1),
               human_share(s.top3),
               human_share(s.within_5pct),
               human_factor(s.geomean_slowdown),
               human_factor(s.p90_slowdown),
               fmt::format("{:.2f}x", s.p99_slowdown),
               fmt::format("{:.1f}x", s.max_slowdown),
               human_factor(s.total_time_ratio),
               human_us(build_ms(static_cast<Chooser>(i)) * 1000),
               human_count(s.uncovered),
               human_count(s.abstained)});
  }
  table.print(out, colour);
  const model::Summary served = model::summarise(scores_[kServed]);
  const model::PairedComparison pair =
      model::compare_paired(scores_[kServed], scores_[kHeuristicA]);
  out << fmt::format(
      "\nserved: mean {:.4f}x, 95 % interval {:.4f} to {:.4f}; against heuristic A {:.4f}x ({:.4f} "
      "to "
      "{:.4f})\n",
      served.geomean_slowdown,
      served.geomean_slowdown_95.low,
      served.geomean_slowdown_95.high,
      pair.slowdown_ratio,
      pair.slowdown_ratio_95.low,
      pair.slowdown_ratio_95.high);
  out << fmt::format(
      "The model's first choice is no timed candidate of {} of {} problems: cuDNN does not list it "
      "there, or it has no time.\n",
      first_missing(),
      problems());
}

}  // namespace reformer::cli
