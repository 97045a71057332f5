#pragma once

#include "core/record.h"
#include "daemon/admin.h"
#include "model/score.h"
#include "storage/database.h"

#include <cstdint>
#include <string_view>
#include <vector>

// What every variant would have answered for a problem whose truth is known now.
namespace reformer::daemon {

// Names of the baselines' rows.
inline constexpr std::string_view kHeuristicA = "heuristic_a";
inline constexpr std::string_view kHeuristicB = "heuristic_b";
inline constexpr std::string_view kFirstTenOfA = "a_first_10";
inline constexpr std::string_view kOracle = "oracle";

struct ScoredProblem {
  std::int64_t time_s = 0;
  std::uint64_t uses = 0;
  float selection_probability = 1;
};
// One row for each loaded variant and baseline. Inference time is the median of `repeats` runs of
// the code that serves. Takes about 100 us a variant: for the scorer thread.
[[nodiscard]] std::vector<storage::AccuracyRow> score_variants(const core::Record& record,
                                                               const ModelSet& models,
                                                               const ScoredProblem& problem,
                                                               int repeats = 7);

// The score that a row stores, for model/score.h's sums.
[[nodiscard]] model::Score score_of(const storage::AccuracyRow& row);

}  // namespace reformer::daemon
