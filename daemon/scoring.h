#pragma once

#include "core/record.h"
#include "daemon/admin.h"
#include "daemon/answers.h"
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
  std::uint32_t pool = 1;  // from among so many that waited
};
// One row for each loaded variant and baseline, of an f32 problem one more for each further view of
// which a candidate is timed. Inference time is the median of `repeats` runs of the code that
// serves, a whole decision, which has all views in it. Takes about 100 us a variant: for the scorer
// thread.
[[nodiscard]] std::vector<storage::AccuracyRow> score_variants(const core::Record& record,
                                                               const ModelSet& models,
                                                               const ScoredProblem& problem,
                                                               const Answers::Limits& limits,
                                                               int repeats = 7);

}  // namespace reformer::daemon
