#pragma once

#include "storage/database.h"

#include <cstddef>
#include <span>
#include <string>
#include <vector>

namespace reformer::daemon {

struct Alarm {
  std::string kind;  // "slowdown", "abstention"
  std::string text;
};
struct DriftRule {
  std::size_t window = 100;  // recent problems, compared with all before them
  double slowdown = 1.10;    // least growth of the geometric mean that matters
};
// Compares the champion's recent rows with its earlier ones (at least as many). `rows` oldest
// first. An alarm needs the growth and non-overlapping 95 % intervals.
[[nodiscard]] std::vector<Alarm> drift_alarms(std::span<const storage::AccuracyRow> rows,
                                              const std::string& champion,
                                              const DriftRule& rule);

}  // namespace reformer::daemon
