#include "cudnn/race.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>

namespace reformer::cudnn {
namespace {

// Above this a first launch is not slow for loading its kernel.
constexpr float kLoadingUs = 3000;
constexpr std::size_t kSomeSamples = 3;
constexpr std::size_t kAllSamples = 7;

class Race {
 public:
  Race(Launcher& launcher,
       std::size_t count,
       const RaceOptions& options,
       const std::function<bool()>& stop)
      : launcher_(launcher),
        options_(options),
        stop_(stop),
        graphs_(count),
        singles_(count, kNever) {
    outcome_.results.resize(count);
  }

  core::Result<RaceOutcome> run() {
    first_look();
    quick_look();
    more_samples(options_.exhaustive ? kNever : options_.contender, kSomeSamples);
    more_samples(options_.exhaustive ? kNever : options_.finalist, kAllSamples);
    if (fault_) {
      return *fault_;
    }
    finish();
    return std::move(outcome_);
  }

 private:
  static constexpr float kNever = std::numeric_limits<float>::infinity();

  bool halted() {
    outcome_.stopped = outcome_.stopped || stop_();
    return outcome_.stopped || fault_.has_value();
  }

  // A time that can be trusted, or kNever with the candidate marked as failed.
  float checked(std::size_t i, const core::Result<float>& measured, int executions) {
    if (!measured) {
      if (measured.error().code == core::ErrorCode::kInternal) {
        fault_ = measured.error();
      }
      outcome_.results[i].status = measured.error().message;
      return kNever;
    }
    if (!std::isfinite(*measured) || *measured <= 0) {
      outcome_.results[i].status = "impossible time";
      return kNever;
    }
    outcome_.gpu_us += static_cast<double>(*measured) * executions;
    return *measured;
  }

  float launch(std::size_t i) { return checked(i, launcher_.single(i), 1); }

  // Every candidate once; again where the first launch may have been slow for loading its kernel.
  void first_look() {
    for (std::size_t i = 0; i < singles_.size() && !halted(); ++i) {
      RaceResult& result = outcome_.results[i];
      float time = launch(i);
      const bool slow = time > options_.hopeless * best_single_;
      if (std::isfinite(time) && (time < kLoadingUs || !slow)) {
        time = std::min(time, launch(i));
      }
      if (!result.status.empty()) {
        continue;
      }
      singles_[i] = time;
      result.time_us = time;
      result.samples = 1;
      result.timing = time > options_.hopeless * best_single_ && !options_.exhaustive
                          ? core::Timing::kFirstLaunch
                          : core::Timing::kSingleLaunch;
      best_single_ = std::min(best_single_, time);
    }
  }

  int repeats(std::size_t i) const {
    const float wanted = std::ceil(options_.graph_us / singles_[i]);
    return std::clamp(static_cast<int>(wanted), 1, options_.max_repeats);
  }

  void sample(std::size_t i) {
    const int count = repeats(i);
    const float time = checked(i, launcher_.graph(i, count), count);
    if (std::isfinite(time)) {
      graphs_[i].push_back(time);
      best_graph_ = std::min(best_graph_, median(graphs_[i]));
    } else {
      singles_[i] = kNever;  // out of the race
    }
  }

  // One graph for each that its single launch leaves in sight of the best. Launch overhead is up to
  // some 10 us, which says nothing about kernels of that size.
  void quick_look() {
    for (std::size_t i = 0; i < singles_.size() && !halted(); ++i) {
      if (std::isfinite(singles_[i]) &&
          (options_.exhaustive || singles_[i] <= 1.5f * best_single_ + 10)) {
        sample(i);
      }
    }
  }

  void more_samples(float within, std::size_t wanted) {
    for (std::size_t round = 1; round < wanted; ++round) {
      for (std::size_t i = 0; i < graphs_.size() && !halted(); ++i) {
        if (!graphs_[i].empty() && graphs_[i].size() <= round &&
            median(graphs_[i]) <= within * best_graph_ && std::isfinite(singles_[i])) {
          sample(i);
        }
      }
    }
  }

  static float median(std::vector<float> values) {
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
  }

  void finish() {
    for (std::size_t i = 0; i < graphs_.size(); ++i) {
      RaceResult& result = outcome_.results[i];
      std::vector<float>& times = graphs_[i];
      if (!result.status.empty()) {
        result = {.status = result.status};
        continue;
      }
      if (times.empty()) {
        continue;
      }
      std::sort(times.begin(), times.end());
      result.samples = static_cast<std::uint16_t>(times.size());
      result.timing =
          times.size() >= kSomeSamples ? core::Timing::kGraphMedian : core::Timing::kGraphOnce;
      result.time_us = times[times.size() / 2];
      if (times.size() == kAllSamples) {
        result.spread = (times[5] - times[1]) / result.time_us;
      }
    }
  }

  Launcher& launcher_;
  const RaceOptions& options_;
  const std::function<bool()>& stop_;
  std::vector<std::vector<float>> graphs_;  // samples of each candidate
  std::vector<float> singles_;              // best single launch; kNever once out of the race
  float best_single_ = kNever;
  float best_graph_ = kNever;
  std::optional<core::Error> fault_;
  RaceOutcome outcome_;
};

}  // namespace

core::Result<RaceOutcome> race(Launcher& launcher,
                               std::size_t count,
                               const RaceOptions& options,
                               const std::function<bool()>& stop) {
  return Race(launcher, count, options, stop).run();
}

}  // namespace reformer::cudnn
