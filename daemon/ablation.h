#pragma once

#include "storage/database.h"

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

// The report over the accuracy log. The figures are model/score.h's, as `reformerctl eval` has
// them. Threads: pure functions.
namespace reformer::daemon {

// The `ablation` reply. Rows beyond the newest of each variant and problem are left out.
[[nodiscard]] nlohmann::ordered_json ablation_report(const std::vector<storage::AccuracyRow>& rows,
                                                     const std::string& champion);

}  // namespace reformer::daemon
