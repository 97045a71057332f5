#pragma once

#include "model/score.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace reformer::model {

// A figure and its 95 % interval.
struct Estimate {
  double value = 0;
  Interval interval;
};

// Figures of one trained variant: [runs][problems], a run being one seed. NaN: no figure for that
// problem in that run (the choice did not exist); it is left out.
using RunValues = std::span<const std::vector<double>>;

// Intervals over seeds and problems by resampling both: runs one by one, problems by whole clusters
// (all problems of one shape are drawn or not drawn together, because their times go together).
// Every figure is computed from the same draws, so that two variants are compared on equal ones.
// With one run the interval is over problems alone; with few it is too narrow in the seeds' part by
// about sqrt((runs - 1) / runs).
//
// Intervals are the 2.5 and 97.5 percentiles of the replicates (Efron's percentile method).
// Threads: immutable after construction.
class Bootstrap {
 public:
  static constexpr std::size_t kReplicates = 1000;

  // `clusters` names the cluster of each problem; at most `max_runs` runs are ever given below.
  Bootstrap(std::span<const std::uint64_t> clusters,
            std::size_t max_runs,
            std::uint64_t seed,
            std::size_t replicates = kReplicates);

  [[nodiscard]] Estimate mean(RunValues values) const;
  // exp of the mean logarithm; values must be positive.
  [[nodiscard]] Estimate geomean(RunValues values) const;
  // The smallest value that `share` of the values do not exceed, as Summary has it.
  [[nodiscard]] Estimate percentile(RunValues values, double share) const;
  // Of one number a run (parameters, seconds): over runs alone.
  [[nodiscard]] Estimate mean_of_runs(std::span<const double> values) const;

 private:
  // Calls statistic(run_counts, problem_weights) for every replicate; the interval of its results.
  template <typename Statistic>
  [[nodiscard]] Interval interval(std::size_t runs, const Statistic& statistic) const;

  std::size_t problems_;
  std::size_t max_runs_;
  std::size_t replicates_;
  std::vector<std::uint16_t> weights_;    // [replicates][problems]: how often it was drawn
  std::vector<std::uint32_t> run_draws_;  // [replicates][max_runs]: any number; modulo runs
};

}  // namespace reformer::model
