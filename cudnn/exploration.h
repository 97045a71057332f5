#pragma once

#include "core/engine_config.h"
#include "core/record.h"
#include "cudnn/planner.h"

#include <cstddef>
#include <cstdint>
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

}  // namespace reformer::cudnn
