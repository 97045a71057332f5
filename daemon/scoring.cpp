#include "daemon/scoring.h"

#include <algorithm>
#include <chrono>
#include <span>
#include <string>
#include <utility>

namespace reformer::daemon {
namespace {

constexpr std::uint16_t kAbsent = 65535;

// A record as the applications of one view see it.
struct Seen {
  model::View view = model::View::kAll;
  core::Record record;
};

// The whole record, and of f32 problems each further view of it that has a timed candidate.
std::vector<Seen> views_of(const core::Record& record) {
  std::vector<Seen> views{{model::View::kAll, record}};
  if (record.key.problem.x.type == core::DataType::kF32) {
    for (const model::View view : std::span(model::kApplicationViews).subspan(1)) {
      Seen seen{view, core::without_notes(record, model::refused_notes(view))};
      if (core::fastest(seen.record) != nullptr) {
        views.push_back(std::move(seen));
      }
    }
  }
  return views;
}

storage::AccuracyRow row_of(const model::Score& score,
                            const Seen& seen,
                            std::string_view variant,
                            const ScoredProblem& problem) {
  const core::Record& record = seen.record;
  storage::AccuracyRow row;
  row.view = static_cast<std::uint8_t>(seen.view);
  row.time_s = problem.time_s;
  row.key = core::hash_key(record.key);
  row.variant = variant;
  row.predicted = score.predicted;
  row.rank_of_best =
      score.rank_of_best < 0 ? kAbsent : static_cast<std::uint16_t>(score.rank_of_best);
  row.top1 = score.top1;
  row.top3 = score.top3;
  row.within_5pct = score.within_5pct;
  row.abstained = score.abstained;
  row.covered = score.covered;
  const core::Candidate* const best = core::fastest(record);
  row.time_us = static_cast<float>(score.time_us);  // a float to begin with
  row.served_time_us = static_cast<float>(model::score_served(record, score).time_us);
  row.best_us = best != nullptr ? best->time_us : 0;
  row.confidence = score.confidence;
  row.selection_probability = problem.selection_probability;
  row.pool = problem.pool;
  row.operation = record.key.problem.operation;
  row.type = record.key.problem.x.type;
  row.layout = core::layout_of(record.key.problem.x);
  row.uses = problem.uses;
  row.device = core::format_device(record.key.context.device);
  return row;
}

// The median of the answers' times, nanoseconds.
float time_answers(const model::Predictor& predictor,
                   const core::Key& key,
                   const Answers::Limits& limits,
                   int repeats,
                   model::Predictor::Scratch& scratch) {
  using Clock = std::chrono::steady_clock;
  std::vector<std::int64_t> times;
  for (int i = 0; i < repeats; ++i) {
    const auto start = Clock::now();
    const core::Decision decision = predictor.decide(key.context,
                                                     key.problem,
                                                     {},
                                                     limits.build_policy,
                                                     core::kMaxDecisionEntries,
                                                     limits.max_engines,
                                                     scratch);
    times.push_back(
        std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - start).count());
  }
  const auto middle = times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2);
  std::nth_element(times.begin(), middle, times.end());
  return static_cast<float>(*middle);
}

}  // namespace

std::vector<storage::AccuracyRow> score_variants(const core::Record& record,
                                                 const ModelSet& models,
                                                 const ScoredProblem& problem,
                                                 const Answers::Limits& limits,
                                                 int repeats) {
  const std::vector<Seen> views = views_of(record);
  std::vector<storage::AccuracyRow> rows;
  const auto add = [&](const Seen& seen, const model::Score& score, std::string_view variant) {
    rows.push_back(row_of(score, seen, variant, problem));
  };
  for (const LoadedModel& loaded : models.models) {
    const model::Predictor& predictor = *loaded.predictor;
    model::Predictor::Scratch scratch(predictor);
    const float inference_ns = time_answers(predictor, record.key, limits, repeats, scratch);
    for (const Seen& seen : views) {
      model::Ranking ranking;
      if (predictor.knows(record.key.context)) {
        predictor.rank(record.key.problem, model::kMaxRanked, scratch, ranking, seen.view);
      }
      add(seen,
          model::score_ranking(seen.record, ranking, predictor.classes()),
          predictor.info().name);
      rows.back().inference_ns = inference_ns;
    }
  }
  for (const Seen& seen : views) {
    add(seen, model::score_heuristic_a(seen.record), kHeuristicA);
    add(seen, model::score_heuristic_b(seen.record), kHeuristicB);
    add(seen, model::score_a_first_10(seen.record), kFirstTenOfA);
    add(seen, model::score_oracle(seen.record), kOracle);
  }
  return rows;
}

}  // namespace reformer::daemon
