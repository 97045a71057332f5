#pragma once

#include "daemon/accuracy_log.h"
#include "model/predictor.h"

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <vector>

// The report over the accuracy log. Point values over equally weighted problems are
// model::summarise's, as `reformerctl eval` has them. Threads: pure functions.
namespace reformer::daemon {

struct ReportOptions {
  std::string champion;
  std::vector<model::ModelInfo> models;  // loaded now: what they are, for the tables of the studies
  // One for each problem of the log; 0 leaves it out.
  std::vector<double> weights;
  std::uint64_t waiting = 0;  // problems that were asked for and are not measured
  std::size_t resamples = 1000;
  std::uint64_t seed = 1;
};

// The `ablation` reply: docs/admin.md.
[[nodiscard]] nlohmann::ordered_json ablation_report(const AccuracyLog& log,
                                                     const ReportOptions& options);

// Two-sided sign test, normal limit with continuity correction.
[[nodiscard]] double sign_test(std::size_t better, std::size_t worse);
// Holm's step-down correction; in the order of `p_values`.
[[nodiscard]] std::vector<double> holm(std::span<const double> p_values);

}  // namespace reformer::daemon
