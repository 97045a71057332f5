#include "daemon/estimates.h"

#include "model/random.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace reformer::daemon {
namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
constexpr double kBudget = 3e8;  // problems x variants x resamples: seconds
constexpr std::size_t kFewestResamples = 200;
constexpr double kRare = 10;  // problems
constexpr Figure kShares[] = {
    Figure::kTop1, Figure::kTop3, Figure::kWithin5pct, Figure::kAbstainedShare};

std::size_t at(Figure figure) {
  return static_cast<std::size_t>(figure);
}

// One variant's numbers, problem by problem, in the form that resampling sums quickly.
class VariantSample {
 public:
  VariantSample(const AccuracyLog& log,
                const std::string& variant,
                const std::string& champion,
                std::span<const double> weights) {
    const auto entries = log.of(variant);
    const auto reference = log.of(champion);
    for (std::size_t i = 0; i < entries.size(); ++i) {
      if (!entries[i].present || !(weights[i] > 0)) {
        continue;
      }
      const auto& entry = entries[i];
      Row row{.problem = static_cast<std::uint32_t>(i)};
      row.top1 = entry.covered && entry.top1;
      row.top3 = entry.covered && entry.top3;
      row.within = entry.covered && entry.within_5pct;
      row.abstained = entry.abstained;
      row.log_slowdown = log_slowdown(entry);
      row.served = log_slowdown(log.served(entries, i));
      if (i < reference.size() && reference[i].present) {
        row.ratio = row.log_slowdown - log_slowdown(reference[i]);
        row.served_ratio = row.served - log_slowdown(log.served(reference, i));
      }
      if (entry.inference_ns > 0) {
        inference_.push_back({entry.inference_ns / 1000.0, row.problem});
      }
      if (entry.covered) {
        slowdowns_.push_back({std::exp(row.log_slowdown), row.problem});
      }
      rows_.push_back(row);
    }
    std::sort(slowdowns_.begin(), slowdowns_.end(), std::greater<>());
    std::sort(inference_.begin(), inference_.end(), std::greater<>());
  }

  [[nodiscard]] Figures figures(std::span<const double> weights) const {
    std::array<double, kFigures> sums{};
    std::array<double, kFigures> totals{};
    const auto add = [&](Figure figure, double weight, double value) {
      sums[at(figure)] += weight * value;
      totals[at(figure)] += weight;
    };
    const auto add_known = [&](Figure figure, double weight, double value) {
      if (!std::isnan(value)) {
        add(figure, weight, value);
      }
    };
    for (const Row& row : rows_) {
      const double weight = weights[row.problem];
      if (weight == 0) {
        continue;
      }
      add(Figure::kTop1, weight, row.top1);
      add(Figure::kTop3, weight, row.top3);
      add(Figure::kWithin5pct, weight, row.within);
      add(Figure::kAbstainedShare, weight, row.abstained);
      add_known(Figure::kGeomeanSlowdown, weight, row.log_slowdown);
      add_known(Figure::kServedSlowdown, weight, row.served);
      add_known(Figure::kLogRatio, weight, row.ratio);
      add_known(Figure::kServedLogRatio, weight, row.served_ratio);
    }
    Figures figures;
    for (std::size_t f = 0; f < kFigures; ++f) {
      figures[f] = totals[f] > 0 ? sums[f] / totals[f] : kNone;
    }
    figures[at(Figure::kGeomeanSlowdown)] = std::exp(figures[at(Figure::kGeomeanSlowdown)]);
    figures[at(Figure::kServedSlowdown)] = std::exp(figures[at(Figure::kServedSlowdown)]);
    figures[at(Figure::kP90Slowdown)] = percentile(slowdowns_, weights, 0.90);
    figures[at(Figure::kP99Slowdown)] = percentile(slowdowns_, weights, 0.99);
    figures[at(Figure::kInferenceP50)] = percentile(inference_, weights, 0.50);
    figures[at(Figure::kInferenceP99)] = percentile(inference_, weights, 0.99);
    return figures;
  }

  [[nodiscard]] std::size_t size() const { return rows_.size(); }
  [[nodiscard]] double effective_size(std::span<const double> weights) const {
    double sum = 0;
    double squares = 0;
    for (const Row& row : rows_) {
      sum += weights[row.problem];
      squares += weights[row.problem] * weights[row.problem];
    }
    return squares > 0 ? sum * sum / squares : 0;
  }

 private:
  struct Row {
    std::uint32_t problem = 0;
    bool top1 = false;
    bool top3 = false;
    bool within = false;
    bool abstained = false;
    double log_slowdown = kNone;
    double served = kNone;
    double ratio = kNone;
    double served_ratio = kNone;
  };
  using Placed = std::pair<double, std::uint32_t>;  // value, problem

  static double log_slowdown(const AccuracyLog::Entry& entry) {
    return entry.covered
               ? std::log(static_cast<double>(entry.time_us) / static_cast<double>(entry.best_us))
               : kNone;
  }

  // The smallest value that `share` of the weight does not exceed; `values` largest first.
  static double percentile(const std::vector<Placed>& values,
                           std::span<const double> weights,
                           double share) {
    double total = 0;
    for (const Placed& placed : values) {
      total += weights[placed.second];
    }
    const double above = total * (1 - share) * (1 + 1e-12);  // may be larger than the result
    double seen = 0;
    double result = kNone;
    for (const Placed& placed : values) {
      if (weights[placed.second] == 0) {
        continue;
      }
      if (seen > above) {
        break;
      }
      result = placed.first;
      seen += weights[placed.second];
    }
    return result;
  }

  std::vector<Row> rows_;
  std::vector<Placed> slowdowns_;
  std::vector<Placed> inference_;
};

double total_time_ratio(const AccuracyLog& log,
                        const std::string& variant,
                        std::span<const double> weights) {
  double time = 0;
  double best = 0;
  const auto entries = log.of(variant);
  for (std::size_t i = 0; i < entries.size(); ++i) {
    if (entries[i].present && entries[i].covered) {
      time += weights[i] * static_cast<double>(entries[i].time_us);
      best += weights[i] * static_cast<double>(entries[i].best_us);
    }
  }
  return best > 0 ? time / best : 0;
}

model::Interval interval_of(std::vector<double>& results) {
  std::erase_if(results, [](double value) { return std::isnan(value); });
  if (results.empty()) {
    return {kNone, kNone};
  }
  std::sort(results.begin(), results.end());
  const auto rank = [&](double share) {
    return results[static_cast<std::size_t>(
        std::lround(share * static_cast<double>(results.size() - 1)))];
  };
  return {rank(0.025), rank(0.975)};
}

// Resampling cannot say how rare a thing may be that was seen a few times only.
bool too_rare(double share, double n) {
  return std::min(share, 1 - share) * n < kRare;
}

std::size_t affordable(std::size_t resamples, std::size_t problems, std::size_t variants) {
  const double work = static_cast<double>(problems) * static_cast<double>(variants);
  const auto most = static_cast<std::size_t>(kBudget / std::max(1.0, work));
  return std::min(resamples, std::max(kFewestResamples, most));
}

}  // namespace

std::vector<VariantEstimates> estimate(const AccuracyLog& log,
                                       const std::vector<std::string>& variants,
                                       const std::string& champion,
                                       std::span<const double> weights,
                                       std::size_t resamples,
                                       std::uint64_t seed) {
  std::vector<VariantSample> samples;
  std::vector<VariantEstimates> estimates;
  for (const std::string& variant : variants) {
    const VariantSample& sample = samples.emplace_back(log, variant, champion, weights);
    VariantEstimates& made = estimates.emplace_back();
    made.value = sample.figures(weights);
    made.interval.fill({kNone, kNone});
    made.total_time_ratio = total_time_ratio(log, variant, weights);
    made.n = sample.size();
    made.effective_n = sample.effective_size(weights);
  }
  std::vector<std::uint32_t> included;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    if (weights[i] > 0) {
      included.push_back(static_cast<std::uint32_t>(i));
    }
  }
  if (resamples == 0 || included.empty()) {
    return estimates;
  }
  resamples = affordable(resamples, included.size(), variants.size());
  std::vector<std::array<std::vector<double>, kFigures>> results(variants.size());
  std::vector<double> drawn(weights.size());
  model::Random random(seed);
  for (std::size_t r = 0; r < resamples; ++r) {
    std::fill(drawn.begin(), drawn.end(), 0.0);
    for (std::size_t i = 0; i < included.size(); ++i) {
      const std::uint32_t problem = included[random.below(included.size())];
      drawn[problem] += weights[problem];
    }
    for (std::size_t v = 0; v < variants.size(); ++v) {
      const Figures figures = samples[v].figures(drawn);
      for (std::size_t f = 0; f < kFigures; ++f) {
        results[v][f].push_back(figures[f]);
      }
    }
  }
  for (std::size_t v = 0; v < variants.size(); ++v) {
    for (std::size_t f = 0; f < kFigures; ++f) {
      estimates[v].interval[f] = interval_of(results[v][f]);
    }
    const double n = estimates[v].effective_n;
    for (const Figure f : kShares) {
      if (const double share = estimates[v].value[at(f)]; too_rare(share, n)) {
        estimates[v].interval[at(f)] = model::wilson_interval(share, n);
      }
    }
  }
  return estimates;
}

}  // namespace reformer::daemon
