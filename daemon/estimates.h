#pragma once

#include "daemon/accuracy_log.h"
#include "model/score.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace reformer::daemon {

// A figure of a variant over weighted problems. The definitions are model/score.h's.
enum class Figure : std::size_t {
  kTop1,
  kTop3,
  kWithin5pct,
  kAbstainedShare,
  kGeomeanSlowdown,
  kP90Slowdown,
  kP99Slowdown,
  kServedSlowdown,  // geometric mean
  kInferenceP50,    // microseconds
  kInferenceP99,
  kLogRatio,        // mean ln(time over the champion's), of the models' own choices ...
  kServedLogRatio,  // ... and of what applications get
};
inline constexpr std::size_t kFigures = 12;
using Figures = std::array<double, kFigures>;  // NaN: none

struct VariantEstimates {
  Figures value{};
  std::array<model::Interval, kFigures> interval;
  double total_time_ratio = 0;
  std::size_t n = 0;       // problems with weight
  double effective_n = 0;  // Kish's: equally weighted problems that would tell as much
};

// Estimates for each of `variants`, with 95 % intervals by resampling problems (percentile method),
// the same draws for all; Wilson's for a share of which fewer than ten problems are, or are not. A
// problem with weight 0 is left out. `resamples` 0: no intervals. The number of resamples is
// lowered, to 200 at least, where there is much to do.
[[nodiscard]] std::vector<VariantEstimates> estimate(const AccuracyLog& log,
                                                     const std::vector<std::string>& variants,
                                                     const std::string& champion,
                                                     std::span<const double> weights,
                                                     std::size_t resamples,
                                                     std::uint64_t seed);

}  // namespace reformer::daemon
