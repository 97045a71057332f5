#pragma once

#include "core/problem.h"
#include "core/result.h"

#include <nlohmann/json_fwd.hpp>

// The `problem` object of a measurement line. Private to interchange/.
namespace reformer::interchange {

// Errors: kCorrupt, naming the field.
[[nodiscard]] core::Result<core::Problem> problem_from_json(const nlohmann::json& json);
// Plain fields where they can say all of it, else {"text": "..."} (docs/measurements.md).
[[nodiscard]] nlohmann::ordered_json problem_to_json(const core::Problem& problem);

}  // namespace reformer::interchange
