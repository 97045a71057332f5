#include "cudnn/pace.h"

#include <algorithm>

namespace reformer::cudnn {
namespace {

// Over the recorded problems these two leave out half of the time of hopeless launches, and one
// configuration in 6 000 that would have come within 2x of its problem's best.
constexpr int kEnough = 8;
constexpr double kFasterThanEver = 3;

}  // namespace

Pace::Kind Pace::kind_of(const core::Problem& problem, std::int32_t engine) {
  return {engine, problem.operation, problem.x.type};
}

float Pace::least_us(const core::Problem& problem, std::int32_t engine) const {
  const auto found = seen_.find(kind_of(problem, engine));
  if (found == seen_.end() || found->second.times < kEnough) {
    return 0;
  }
  return static_cast<float>(core::flops(problem) / (found->second.best_rate * kFasterThanEver));
}

void Pace::note(const core::Problem& problem, std::int32_t engine, float time_us) {
  Seen& seen = seen_[kind_of(problem, engine)];
  seen.best_rate = std::max(seen.best_rate, core::flops(problem) / static_cast<double>(time_us));
  ++seen.times;
}

}  // namespace reformer::cudnn
