#pragma once

#include "core/engine_config.h"
#include "core/record.h"
#include "core/result.h"
#include "cudnn/planner.h"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

// Beyond cuDNN's lists: the knob spaces of the engines that were best.
namespace reformer::cudnn {

struct ExplorationLimits {
  std::size_t engines = 3;
  std::size_t configurations = 64;  // of each
};

// The engines of the fastest candidates, the best first, at most `count`.
[[nodiscard]] std::vector<std::int32_t> best_engines(const core::Record& measured,
                                                     std::size_t count);
// Configurations to time that `measured` does not have. Engines that cuDNN does not explain are
// left out.
[[nodiscard]] std::vector<core::EngineConfig> explore_best(Planner& planner,
                                                           const core::Record& measured,
                                                           const ExplorationLimits& limits = {});

// The problem's candidates again, with `extra` and what explore_best() finds. Plans of those are
// built for `build_time` at most and until `stop` says so; the rest is left out.
[[nodiscard]] core::Result<Enumeration> enumerate_explored(Planner& planner,
                                                           const core::Record& measured,
                                                           std::vector<core::EngineConfig> extra,
                                                           EnumerationLimits limits,
                                                           std::chrono::seconds build_time,
                                                           const std::function<bool()>& stop);

}  // namespace reformer::cudnn
