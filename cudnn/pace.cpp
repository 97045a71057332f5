#include "cudnn/pace.h"

#include <algorithm>

namespace reformer::cudnn {
namespace {

// Over the problems of data/, in samples of 600, first launches take 0.49 of the GPU time that they
// take without this (0.69 if only operations are counted), and as without it the best that is
// launched is more than 0.5 % from the best for 7 of 7 200 problems (21 if short launches count).
constexpr int kEnough = 4;
constexpr float kLongUs = 300;
constexpr double kFasterThanEver = 1.5;
constexpr std::int64_t kManyGroups = 8;

}  // namespace

void Pace::Rate::note(double amount, float time_us) {
  best = std::max(best, amount / static_cast<double>(time_us));
  seen += time_us >= kLongUs ? 1 : 0;
}

double Pace::Rate::least_us(double amount) const {
  return seen < kEnough ? 0 : amount / (best * kFasterThanEver);
}

std::size_t Pace::find(const core::Problem& problem, std::int32_t engine) const {
  std::size_t place = 0;
  while (place < count_ &&
         (seen_[place].engine != engine || seen_[place].operation != problem.operation)) {
    ++place;
  }
  return place;
}

float Pace::least_us(const core::Problem& problem, std::int32_t engine) const {
  const std::size_t place = find(problem, engine);
  if (place == count_) {
    return 0;
  }
  const Seen& seen = seen_[place];
  const std::int64_t groups = problem.groups();
  return static_cast<float>(
      std::max(seen.flops.least_us(core::flops(problem)),
               groups < kManyGroups ? 0 : seen.groups.least_us(static_cast<double>(groups))));
}

void Pace::note(const core::Problem& problem, std::int32_t engine, float time_us) {
  const std::size_t place = find(problem, engine);
  if (place == kMostSeen) {
    return;
  }
  Seen& seen = seen_[place];
  if (place == count_) {
    seen.engine = engine;
    seen.operation = problem.operation;
    ++count_;
  }
  seen.flops.note(core::flops(problem), time_us);
  if (const std::int64_t groups = problem.groups(); groups >= kManyGroups) {
    seen.groups.note(static_cast<double>(groups), time_us);
  }
}

}  // namespace reformer::cudnn
