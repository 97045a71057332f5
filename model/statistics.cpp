#include "model/statistics.h"

#include "model/random.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <unordered_map>

namespace reformer::model {
namespace {

// Problems by cluster.
std::vector<std::vector<std::size_t>> members_of(std::span<const std::uint64_t> clusters) {
  std::unordered_map<std::uint64_t, std::size_t> numbers;
  std::vector<std::vector<std::size_t>> members;
  for (std::size_t i = 0; i < clusters.size(); ++i) {
    const auto [found, added] = numbers.try_emplace(clusters[i], members.size());
    if (added) {
      members.emplace_back();
    }
    members[found->second].push_back(i);
  }
  return members;
}

double weighted_mean(RunValues values,
                     std::span<const std::uint32_t> runs,
                     std::span<const std::uint16_t> weights) {
  double sum = 0;
  double total = 0;
  for (std::size_t r = 0; r < values.size(); ++r) {
    for (std::size_t i = 0; runs[r] > 0 && i < values[r].size(); ++i) {
      const double value = values[r][i];
      if (weights[i] > 0 && !std::isnan(value)) {
        const double weight = static_cast<double>(runs[r]) * weights[i];
        sum += weight * value;
        total += weight;
      }
    }
  }
  return total > 0 ? sum / total : std::numeric_limits<double>::quiet_NaN();
}

struct Placed {
  double value;
  std::size_t run;
  std::size_t problem;
};

std::vector<Placed> sorted_values(RunValues values) {
  std::vector<Placed> sorted;
  for (std::size_t r = 0; r < values.size(); ++r) {
    for (std::size_t i = 0; i < values[r].size(); ++i) {
      if (!std::isnan(values[r][i])) {
        sorted.push_back({values[r][i], r, i});
      }
    }
  }
  std::ranges::sort(sorted, {}, &Placed::value);
  return sorted;
}

double weighted_percentile(std::span<const Placed> sorted,
                           double share,
                           std::span<const std::uint32_t> runs,
                           std::span<const std::uint16_t> weights) {
  std::uint64_t total = 0;
  for (const Placed& p : sorted) {
    total += std::uint64_t{runs[p.run]} * weights[p.problem];
  }
  const double wanted = std::max(1.0, std::ceil(share * static_cast<double>(total)));
  std::uint64_t below = 0;
  for (const Placed& p : sorted) {
    below += std::uint64_t{runs[p.run]} * weights[p.problem];
    if (static_cast<double>(below) >= wanted) {
      return p.value;
    }
  }
  return std::numeric_limits<double>::quiet_NaN();
}

}  // namespace

Bootstrap::Bootstrap(std::span<const std::uint64_t> clusters,
                     std::size_t max_runs,
                     std::uint64_t seed,
                     std::size_t replicates)
    : problems_(clusters.size()),
      max_runs_(std::max<std::size_t>(1, max_runs)),
      replicates_(replicates),
      weights_(replicates * clusters.size()),
      run_draws_(replicates * max_runs_) {
  Random random(seed);
  const std::vector<std::vector<std::size_t>> members = members_of(clusters);
  for (std::size_t r = 0; r < replicates_; ++r) {
    for (std::size_t draw = 0; draw < members.size(); ++draw) {
      for (const std::size_t problem : members[random.below(members.size())]) {
        ++weights_[r * problems_ + problem];
      }
    }
    for (std::size_t slot = 0; slot < max_runs_; ++slot) {
      run_draws_[r * max_runs_ + slot] = static_cast<std::uint32_t>(random.next() >> 32);
    }
  }
}

template <typename Statistic>
Interval Bootstrap::interval(std::size_t runs, const Statistic& statistic) const {
  std::vector<double> results;
  std::vector<std::uint32_t> counts(runs);
  for (std::size_t r = 0; r < replicates_; ++r) {
    std::ranges::fill(counts, 0U);
    for (std::size_t slot = 0; slot < runs; ++slot) {
      ++counts[run_draws_[r * max_runs_ + slot] % runs];
    }
    const double result = statistic(counts, std::span(weights_).subspan(r * problems_, problems_));
    if (!std::isnan(result)) {
      results.push_back(result);
    }
  }
  if (results.empty()) {
    return {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::quiet_NaN()};
  }
  std::ranges::sort(results);
  const auto at = [&results](double share) {
    return results[static_cast<std::size_t>(
        std::lround(share * static_cast<double>(results.size() - 1)))];
  };
  return {at(0.025), at(0.975)};
}

Estimate Bootstrap::mean(RunValues values) const {
  const std::vector<std::uint32_t> each_run(values.size(), 1);
  const std::vector<std::uint16_t> each_problem(problems_, 1);
  return {weighted_mean(values, each_run, each_problem),
          interval(values.size(),
                   [&](auto runs, auto weights) { return weighted_mean(values, runs, weights); })};
}

Estimate Bootstrap::geomean(RunValues values) const {
  std::vector<std::vector<double>> logarithms(values.begin(), values.end());
  for (std::vector<double>& run : logarithms) {
    std::ranges::transform(run, run.begin(), [](double value) { return std::log(value); });
  }
  const Estimate logarithm = mean(logarithms);
  return {std::exp(logarithm.value),
          {std::exp(logarithm.interval.low), std::exp(logarithm.interval.high)}};
}

Estimate Bootstrap::percentile(RunValues values, double share) const {
  const std::vector<Placed> sorted = sorted_values(values);
  const std::vector<std::uint32_t> each_run(values.size(), 1);
  const std::vector<std::uint16_t> each_problem(problems_, 1);
  return {weighted_percentile(sorted, share, each_run, each_problem),
          interval(values.size(), [&](auto runs, auto weights) {
            return weighted_percentile(sorted, share, runs, weights);
          })};
}

Estimate Bootstrap::mean_of_runs(std::span<const double> values) const {
  const auto weighted = [values](std::span<const std::uint32_t> runs) {
    double sum = 0;
    double total = 0;
    for (std::size_t r = 0; r < values.size(); ++r) {
      sum += runs[r] * values[r];
      total += runs[r];
    }
    return total > 0 ? sum / total : std::numeric_limits<double>::quiet_NaN();
  };
  return {weighted(std::vector<std::uint32_t>(values.size(), 1)),
          interval(values.size(), [&](auto runs, auto) { return weighted(runs); })};
}

}  // namespace reformer::model
