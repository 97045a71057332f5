#include "daemon/scoring.h"

#include <algorithm>
#include <chrono>
#include <string>

namespace reformer::daemon {
namespace {

constexpr std::uint16_t kAbsent = 65535;

storage::AccuracyRow row_of(const model::Score& score,
                            const core::Record& record,
                            std::string_view variant,
                            const ScoredProblem& problem) {
  storage::AccuracyRow row;
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
  row.slowdown = static_cast<float>(score.slowdown);
  row.served_slowdown = static_cast<float>(model::score_served(record, score).slowdown);
  row.best_us = static_cast<float>(score.best_us);
  row.confidence = score.confidence;
  row.selection_probability = problem.selection_probability;
  row.operation = record.key.problem.operation;
  row.type = record.key.problem.x.type;
  row.layout = core::layout_of(record.key.problem.x);
  row.uses = problem.uses;
  row.device = core::format_device(record.key.context.device);
  return row;
}

// Ranks once for the answer, then again for the clock.
float timed_rank(const model::Predictor& predictor,
                 const core::Problem& problem,
                 int repeats,
                 model::Ranking& ranking) {
  using Clock = std::chrono::steady_clock;
  model::Predictor::Scratch scratch(predictor);
  std::vector<std::int64_t> times;
  for (int i = 0; i < repeats; ++i) {
    const auto start = Clock::now();
    predictor.rank(problem, model::kMaxRanked, scratch, ranking);
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
                                                 int repeats) {
  std::vector<storage::AccuracyRow> rows;
  for (const LoadedModel& loaded : models.models) {
    model::Ranking ranking;
    const float ns = timed_rank(*loaded.predictor, record.key.problem, repeats, ranking);
    const auto score = model::score_ranking(record, ranking, loaded.predictor->classes());
    rows.push_back(row_of(score, record, loaded.predictor->info().name, problem));
    rows.back().inference_ns = ns;
  }
  rows.push_back(row_of(model::score_heuristic_a(record), record, kHeuristicA, problem));
  rows.push_back(row_of(model::score_heuristic_b(record), record, kHeuristicB, problem));
  rows.push_back(row_of(model::score_a_first_10(record), record, kFirstTenOfA, problem));
  rows.push_back(row_of(model::score_oracle(record), record, kOracle, problem));
  return rows;
}

model::Score score_of(const storage::AccuracyRow& row) {
  model::Score score;
  score.covered = row.covered;
  score.predicted = row.predicted;
  score.top1 = row.top1;
  score.top3 = row.top3;
  score.within_5pct = row.within_5pct;
  score.slowdown = row.slowdown;
  score.best_us = row.best_us;
  score.time_us = score.slowdown * score.best_us;
  score.rank_of_best = row.rank_of_best == kAbsent ? -1 : row.rank_of_best;
  score.abstained = row.abstained;
  score.confidence = row.confidence;
  return score;
}

}  // namespace reformer::daemon
