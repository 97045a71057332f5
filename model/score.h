#pragma once

#include "core/decision.h"
#include "core/engine_config.h"
#include "core/record.h"
#include "model/predictor.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

// How right a choice was, once the truth is known. `reformerctl eval` and the daemon's online
// report both use exactly this code, so that their figures agree to the last digit.
//
// Only timed candidates count as existing (core::Candidate::timed). Slowdown is the time of the
// choice over the time of the fastest timed candidate of the same problem; 1 is perfect.
// Threads: pure functions and values.
namespace reformer::model {

// One chooser's choice for one problem.
struct Score {
  // False: the chooser named no candidate that the record has a time for (or the record has no
  // timed candidate at all). Nothing below but `first_exists` (false), `abstained` and `confidence`
  // means anything then.
  bool covered = false;
  bool first_exists = false;     // the first of its order is a timed candidate
  core::EngineConfig predicted;  // the first of its order that exists
  bool top1 = false;             // ... is the fastest (or as fast)
  bool top3 = false;             // the fastest is among the first three of its order that exist
  bool within_5pct = false;      // slowdown <= 1.05
  double slowdown = 0;
  double time_us = 0;              // of `predicted`
  double build_us = 0;             // of `predicted`: what building its plan took; 0 if unknown
  double best_us = 0;              // of the fastest timed candidate
  std::int32_t rank_of_best = -1;  // of the fastest among its order that exist; -1: not among them
  bool abstained = false;          // the model did not answer
  float confidence = 0;
};

// A chooser's order, best first. Configurations that the record has no time for are skipped.
[[nodiscard]] Score score_order(const core::Record& record,
                                std::span<const core::EngineConfig> order);
// A model's ranking, abstained or not: its best-ranked class that exists. `classes` is
// Predictor::classes().
[[nodiscard]] Score score_ranking(const core::Record& record,
                                  const Ranking& ranking,
                                  std::span<const core::EngineConfig> classes);
// What an application gets: the model's choice, or heuristic A's first one where the model
// abstained or named nothing that exists.
[[nodiscard]] Score score_served(const core::Record& record, const Score& model);

// What an application gets in truth: the first entry of an answer (Predictor::decide(), the build
// policy included) if it exists; else the first that exists and is not far behind
// (behavior_note::kFarBehind), or heuristic A's first choice where there is none.
[[nodiscard]] Score score_decision(const core::Record& record, const core::Decision& decision);

// The baselines. Heuristics: their first timed candidate. First ten: the fastest of heuristic A's
// first ten, which is what PyTorch's benchmark mode finds. Oracle: the fastest timed candidate.
[[nodiscard]] Score score_heuristic_a(const core::Record& record);
[[nodiscard]] Score score_heuristic_b(const core::Record& record);
[[nodiscard]] Score score_a_first_10(const core::Record& record);
[[nodiscard]] Score score_oracle(const core::Record& record);

struct Interval {
  double low = 0;
  double high = 0;
};

// Wilson's score interval (95 %) of a share that was seen among `n`.
[[nodiscard]] Interval wilson_interval(double share, double n);

// The figures of one chooser over many problems. Shares are of all problems added, so that a
// problem that the chooser does not cover counts as a miss; slowdowns are over the covered ones,
// and `uncovered` says how many were not. All zero without problems.
struct Summary {
  std::size_t problems = 0;
  std::size_t uncovered = 0;
  std::size_t abstained = 0;
  double top1 = 0;
  double top3 = 0;
  double within_5pct = 0;
  double geomean_slowdown = 0;
  double p90_slowdown = 0;  // smallest value that 90 % of the covered problems do not exceed
  double p99_slowdown = 0;
  double max_slowdown = 0;
  double total_time_ratio = 0;  // sum of times over sum of fastest times

  // 95 % intervals over problems: Wilson's for shares, Student's normal limit for the mean
  // logarithm, and order statistics for the percentile.
  Interval top1_95;
  Interval top3_95;
  Interval within_5pct_95;
  Interval geomean_slowdown_95;
  Interval p90_slowdown_95;
};

// Calls visit(name, value) for each figure under the name that reports give it; a value is a count,
// a double or an Interval.
template <typename Visit>
void visit_figures(const Summary& s, Visit&& visit) {
  visit("top1", s.top1);
  visit("top3", s.top3);
  visit("within_5pct", s.within_5pct);
  visit("geomean_slowdown", s.geomean_slowdown);
  visit("p90_slowdown", s.p90_slowdown);
  visit("p99_slowdown", s.p99_slowdown);
  visit("max_slowdown", s.max_slowdown);
  visit("total_time_ratio", s.total_time_ratio);
  visit("uncovered", s.uncovered);
  visit("abstained", s.abstained);
  visit("top1_95", s.top1_95);
  visit("top3_95", s.top3_95);
  visit("within_5pct_95", s.within_5pct_95);
  visit("geomean_slowdown_95", s.geomean_slowdown_95);
  visit("p90_slowdown_95", s.p90_slowdown_95);
}

// Sums and sorts in an order that does not depend on the order of the scores.
[[nodiscard]] Summary summarise(std::span<const Score> scores);

// How much slower (above 1) or faster (below 1) `challenger` is than `champion` on the same
// problems, as a geometric mean with its 95 % interval. Pairs that either does not cover are left
// out and counted. The spans are of the same length and order.
struct PairedComparison {
  std::size_t pairs = 0;
  std::size_t left_out = 0;
  double slowdown_ratio = 1;
  Interval slowdown_ratio_95{1, 1};
  std::size_t better = 0;  // problems where the challenger's choice is faster
  std::size_t worse = 0;
};
[[nodiscard]] PairedComparison compare_paired(std::span<const Score> challenger,
                                              std::span<const Score> champion);

// Mean and 95 % interval of a sample (order-independent); an empty sample gives zeros, a single
// value an interval of no width.
struct MeanInterval {
  double mean = 0;
  Interval interval;
};
[[nodiscard]] MeanInterval mean_interval(std::vector<double> sample);

}  // namespace reformer::model
