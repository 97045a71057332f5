#pragma once

#include "storage/database.h"

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

// The report over the accuracy log. The figures are model/score.h's, as `reformerctl eval` has
// them. Threads: pure functions.
namespace reformer::daemon {

// The `ablation` reply. Rows beyond the newest of each variant and problem are left out.
[[nodiscard]] nlohmann::ordered_json ablation_report(const std::vector<storage::AccuracyRow>& rows,
                                                     const std::string& champion);

struct PromotionRule {
  std::size_t min_problems = 200;
  double confidence = 0.95;
};
// The variant that should answer instead of the champion, if any: over at least min_problems that
// both were scored on it is faster with that confidence (its interval excludes equality and the
// sign test agrees, corrected for the number of variants), and slower in no data type and no
// operation.
[[nodiscard]] std::optional<std::string> challenger_to_promote(
    const std::vector<storage::AccuracyRow>& rows,
    const std::string& champion,
    const PromotionRule& rule);

}  // namespace reformer::daemon
