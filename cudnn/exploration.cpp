#include "cudnn/exploration.h"

#include <algorithm>
#include <iterator>

namespace reformer::cudnn {

std::vector<std::int32_t> best_engines(const core::Record& measured, std::size_t count) {
  std::vector<const core::Candidate*> ordered;
  for (const core::Candidate& candidate : measured.candidates) {
    if (candidate.timed()) {
      ordered.push_back(&candidate);
    }
  }
  std::sort(ordered.begin(), ordered.end(), [](const auto* one, const auto* other) {
    return one->time_us < other->time_us;
  });
  std::vector<std::int32_t> engines;
  for (const core::Candidate* candidate : ordered) {
    const std::int32_t engine = candidate->config.engine();
    if (engines.size() < count &&
        std::find(engines.begin(), engines.end(), engine) == engines.end()) {
      engines.push_back(engine);
    }
  }
  return engines;
}

std::vector<core::EngineConfig> explore_best(Planner& planner,
                                             const core::Record& measured,
                                             const ExplorationLimits& limits) {
  std::vector<core::EngineConfig> found;
  for (const std::int32_t engine : best_engines(measured, limits.engines)) {
    const auto configs = planner.explore(measured.key.problem, engine, limits.configurations);
    if (!configs) {
      continue;
    }
    std::copy_if(configs->begin(),
                 configs->end(),
                 std::back_inserter(found),
                 [&measured](const core::EngineConfig& config) {
                   return std::none_of(
                       measured.candidates.begin(),
                       measured.candidates.end(),
                       [&config](const auto& known) { return known.config == config; });
                 });
  }
  return found;
}

core::Result<Enumeration> enumerate_explored(Planner& planner,
                                             const core::Record& measured,
                                             std::vector<core::EngineConfig> extra,
                                             EnumerationLimits limits,
                                             std::chrono::seconds build_time,
                                             const std::function<bool()>& stop) {
  const auto more = explore_best(planner, measured);
  extra.insert(extra.end(), more.begin(), more.end());
  const auto deadline = std::chrono::steady_clock::now() + build_time;
  limits.enough = [&stop, deadline] {
    return stop() || std::chrono::steady_clock::now() > deadline;
  };
  return planner.enumerate(measured.key.problem, extra, limits);
}

}  // namespace reformer::cudnn
