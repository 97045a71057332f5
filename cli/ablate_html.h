#pragma once

#include "cli/ablate_report.h"

#include <string>

namespace reformer::cli {

// The report as one self-contained page: the tables, accuracy against inference time, slowdown
// distribution, confusion among the frequent classes, calibration.
[[nodiscard]] std::string ablate_page(const AblateReport& report);

}  // namespace reformer::cli
