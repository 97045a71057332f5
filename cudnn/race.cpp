#include "cudnn/race.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <map>
#include <optional>
#include <utility>

namespace reformer::cudnn {
namespace {

constexpr std::size_t kSomeSamples = 3;
constexpr std::size_t kAllSamples = 7;
constexpr std::size_t kDecidingSamples = 15;
// Kernels may be as short as this: how often a graph repeats those of which only launches are
// known.
constexpr float kShortestUs = 1.5f;
// The host's part of launching a loaded candidate, at most.
constexpr float kCallUs = 200;
// A graph takes no longer than this, even if `least` is nothing because a launch was all host time.
constexpr float kLongestGraphUs = 30000;
// Longer graphs do not care what was in the cache.
constexpr float kColdUs = 1000;
// Launches that are queued together: a measurement gives way only between them.
constexpr double kBatchUs = 8000;
// Below this a hopeless launch costs so little that nothing is left out.
constexpr float kCheapUs = 300;
// A call this large a part of a launch's time has probably loaded the kernel.
constexpr float kLoadingShare = 0.25f;
// A launch is held up by no more than this, nearly always.
constexpr float kHeldUpUs = 3000;
// Loading keeps the GPU waiting beyond the host's call, by no more than this.
constexpr float kLoadingUs = 5000;
// First launches of one candidate, at most.
constexpr std::size_t kMostLooks = 3;
// Two launches of which none was held up are this close, relatively.
constexpr float kAgreement = 0.1f;

class Race {
 public:
  Race(Launcher& launcher,
       std::span<const Entrant> entrants,
       const RaceOptions& options,
       const std::function<bool()>& stop)
      : launcher_(launcher),
        entrants_(entrants),
        options_(options),
        stop_(stop),
        runners_(entrants.size()) {
    outcome_.results.resize(entrants.size());
    best_single_.fill(kNever);
    best_graph_.fill(kNever);
  }

  core::Result<RaceOutcome> run() {
    first_look();
    quick_look();
    more_samples(options_.contender, kSomeSamples);
    more_samples(options_.finalist, kAllSamples);
    if (!options_.exhaustive) {
      more_samples(options_.close, kDecidingSamples);
    }
    if (fault_) {
      return *fault_;
    }
    for (std::size_t i = 0; i < runners_.size(); ++i) {
      finish(runners_[i], outcome_.results[i]);
    }
    return std::move(outcome_);
  }

 private:
  static constexpr float kNever = std::numeric_limits<float>::infinity();

  struct Runner {
    float single = kNever;       // best single launch; kNever: out of the race
    float least = kNever;        // the same without the time of the host's calls
    int repeats = 0;             // of the prepared graph; 0: none
    std::vector<float> samples;  // of graphs with `repeats`
    float middle = kNever;       // their median
    float quickest = kNever;     // of all samples, also of those of a shorter graph
    float least_graph = kNever;  // the last of them without the time of the host's calls
    bool entered = false;        // gets its first few samples, whatever the first of them says
  };

  bool halted() {
    outcome_.stopped = outcome_.stopped || stop_();
    return outcome_.stopped || fault_.has_value();
  }

  void fail(std::size_t i, const core::Error& error) {
    if (error.code == core::ErrorCode::kInternal) {
      fault_ = error;
    }
    outcome_.results[i].status = error.message;
    runners_[i] = {};
  }

  static bool possible(float time) { return std::isfinite(time) && time > 0; }

  std::optional<Launch> launch(std::size_t i) {
    const core::Result<Launch> launched = launcher_.single(i);
    if (!launched) {
      fail(i, launched.error());
      return std::nullopt;
    }
    if (!possible(launched->time_us)) {
      outcome_.results[i].status = "impossible time";
      runners_[i] = {};
      return std::nullopt;
    }
    outcome_.gpu_us += static_cast<double>(launched->time_us);
    return *launched;
  }

  // One time for each demand.
  using Bests = std::array<float, kMostDemands>;

  // The best that a candidate is compared with.
  static float best_for(const Bests& bests, const Entrant& entrant) {
    float best = 0;
    for (std::size_t demand = 0; demand < bests.size(); ++demand) {
      best = (entrant.demands >> demand & 1) != 0 ? std::max(best, bests[demand]) : best;
    }
    return best;
  }
  static void note_best(Bests& bests, const Entrant& entrant, float time) {
    for (std::size_t demand = 0; demand < bests.size(); ++demand) {
      bests[demand] =
          (entrant.demands >> demand & 1) != 0 ? std::min(bests[demand], time) : bests[demand];
    }
  }
  [[nodiscard]] float best_single(std::size_t i) const {
    return best_for(best_single_, entrants_[i]);
  }
  [[nodiscard]] float best_graph(std::size_t i) const {
    return best_for(best_graph_, entrants_[i]);
  }

  // Looked at and sampled whatever the others take. `us`: what is known of its time.
  [[nodiscard]] bool is_chosen(std::size_t i, float us) const {
    return entrants_[i].chosen && us <= options_.chosen_us;
  }

  [[nodiscard]] bool in_sight(std::size_t i, float least) const {
    return least <= options_.in_sight * best_single(i) + options_.overhead_us;
  }

  // Whether running it can be spared: it is known to be slow, or its engine is.
  [[nodiscard]] bool hopeless_unseen(std::size_t i) const {
    const Entrant& entrant = entrants_[i];
    const auto engine = engines_.find(entrant.engine);
    const float known = std::max(entrant.least_us, engine != engines_.end() ? engine->second : 0);
    const float limit = std::max(kCheapUs, options_.hopeless_engine * best_single(i));
    return known > limit && !is_chosen(i, known);
  }

  // Every candidate twice, but those that are hopeless and did not take their time to load: a
  // launch is now and then held up, by the host, which can be seen, or on the GPU by other
  // processes, which cannot. Once more if the host held up the second and the two do not agree.
  void first_look() {
    for (std::size_t i = 0; i < runners_.size() && !halted(); ++i) {
      RaceResult& result = outcome_.results[i];
      if (!options_.exhaustive && hopeless_unseen(i)) {
        result.status = kHopelessStatus;
        continue;
      }
      if (!options_.exhaustive && outcome_.gpu_us > static_cast<double>(options_.first_look_us)) {
        result.status = kNoTimeStatus;
        continue;
      }
      const std::optional<Launch> first = launch(i);
      if (!first) {
        continue;
      }
      float time = first->time_us;
      float least = std::max(0.0f, first->time_us - first->host_us);
      const bool loaded = first->host_us > kLoadingShare * first->time_us;
      const float hopeless = options_.hopeless * best_single(i);
      bool again =
          is_chosen(i, least) || least <= std::max(hopeless, loaded ? kLoadingUs : kHeldUpUs);
      for (std::size_t n = 1; again && n < kMostLooks; ++n) {
        const std::optional<Launch> next = launch(i);
        if (!next) {
          break;
        }
        const bool differ = std::abs(time - next->time_us) > kAgreement * next->time_us;
        time = std::min(time, next->time_us);
        // It is loaded now. A call that still takes long is one that waits for its own kernels.
        const float now = std::max(0.0f, next->time_us - std::min(next->host_us, kCallUs));
        least = n == 1 && loaded ? now : std::min(least, now);
        again = differ && !in_sight(i, least) && in_sight(i, next->time_us - next->host_us);
      }
      if (!result.status.empty()) {
        continue;
      }
      runners_[i].single = time;
      runners_[i].least = std::min(least, time);
      result.time_us = time;
      result.samples = 1;
      result.timing = time > options_.hopeless * best_single(i) ? core::Timing::kFirstLaunch
                                                                : core::Timing::kSingleLaunch;
      note_best(best_single_, entrants_[i], time);
      float& engine = engines_.try_emplace(entrants_[i].engine, kNever).first->second;
      engine = std::min(engine, time);
    }
  }

  // Prepares a graph of at least `wanted_us`; false where the candidate is out of the race.
  bool prepare(std::size_t i, float wanted_us) {
    Runner& runner = runners_[i];
    const float known = std::min(std::max(runner.least, kShortestUs), runner.middle);
    const int most =
        std::clamp(static_cast<int>(kLongestGraphUs / std::min(runner.single, runner.middle)),
                   1,
                   options_.max_repeats);
    const int repeats = std::clamp(static_cast<int>(std::ceil(wanted_us / known)), 1, most);
    if (repeats <= runner.repeats) {
      return true;
    }
    if (const core::Status prepared = launcher_.prepare(i, repeats); !prepared) {
      fail(i, prepared.error());
      return false;
    }
    runner.repeats = repeats;
    runner.samples.clear();  // those of a shorter graph: its start and end weigh more
    return true;
  }

  void accept(std::size_t i, const GraphTime& graph) {
    Runner& runner = runners_[i];
    const float time = graph.time_us;
    if (!possible(time)) {
      outcome_.results[i].status = "impossible time";
      runner = {};
      return;
    }
    outcome_.gpu_us += static_cast<double>(time) * runner.repeats;
    runner.samples.push_back(time);
    runner.least_graph = time - graph.host_us / static_cast<float>(runner.repeats);
    runner.middle = median(runner.samples);
    runner.quickest = std::min(runner.quickest, time);
    note_best(best_graph_, entrants_[i], runner.middle);
  }

  // Of one launch of its graph.
  [[nodiscard]] double graph_us(const Runner& runner) const {
    return static_cast<double>(std::min(runner.single, runner.middle)) * runner.repeats;
  }

  // One sample of each of a few. Where one of them fails, each alone, to see which.
  void sample_batch(std::span<const std::size_t> batch) {
    std::vector<Heat> lineup;
    for (const std::size_t i : batch) {
      lineup.push_back({i, lineup.empty() || graph_us(runners_[i]) < kColdUs});
    }
    const core::Result<std::vector<GraphTime>> times = launcher_.run(lineup);
    if (!times) {
      if (batch.size() == 1 || times.error().code == core::ErrorCode::kInternal) {
        fail(batch.front(), times.error());
        return;
      }
      for (std::size_t k = 0; k < batch.size() && !halted(); ++k) {
        sample_batch(batch.subspan(k, 1));
      }
      return;
    }
    for (std::size_t k = 0; k < batch.size(); ++k) {
      const GraphTime& time = (*times)[k];
      if (lineup[k].warm && possible(time.time_us)) {
        outcome_.gpu_us += static_cast<double>(time.time_us) * runners_[batch[k]].repeats;
      }
      accept(batch[k], time);
    }
  }

  void sample(std::span<const std::size_t> lineup) {
    std::size_t begin = 0;
    while (begin < lineup.size() && !halted()) {
      std::size_t end = begin;
      double us = 0;
      while (end < lineup.size() && (end == begin || us < kBatchUs)) {
        us += 2 * graph_us(runners_[lineup[end++]]);
      }
      sample_batch(lineup.subspan(begin, end - begin));
      begin = end;
    }
  }

  // One short graph for each that its single launch leaves in sight of the best. Launch overhead is
  // some 10 us, which says nothing about kernels of that size.
  void quick_look() {
    std::vector<std::size_t> lineup;
    for (std::size_t i = 0; i < runners_.size() && !halted(); ++i) {
      const bool looked_at =
          options_.exhaustive || is_chosen(i, runners_[i].least) || in_sight(i, runners_[i].least);
      if (runners_[i].single < kNever && looked_at && prepare(i, options_.quick_us)) {
        lineup.push_back(i);
      }
    }
    sample(lineup);
    // Again where it looks slow for a reason that may be the host's, or slower than single
    // launches.
    std::erase_if(lineup, [&](std::size_t i) {
      const Runner& runner = runners_[i];
      const float contender = options_.contender * best_graph(i);
      return runner.middle <= contender ||
             (runner.least_graph > contender && runner.middle <= runner.single);
    });
    sample(lineup);
  }

  void more_samples(float within, std::size_t wanted) {
    while (!halted()) {
      std::vector<std::size_t> lineup;
      for (std::size_t i = 0; i < runners_.size() && !halted(); ++i) {
        Runner& runner = runners_[i];
        const bool races = options_.exhaustive || runner.quickest <= within * best_graph(i) ||
                           ((runner.entered || is_chosen(i, runner.least)) &&
                            runner.samples.size() < kSomeSamples);
        if (runner.repeats > 0 && races && prepare(i, options_.graph_us) &&
            runner.samples.size() < wanted) {
          runner.entered = true;
          lineup.push_back(i);
        }
      }
      if (lineup.empty()) {
        return;
      }
      sample(lineup);
      best_of_graphs();
    }
  }

  // A median may have gone up since it was the best.
  void best_of_graphs() {
    best_graph_.fill(kNever);
    for (std::size_t i = 0; i < runners_.size(); ++i) {
      note_best(best_graph_, entrants_[i], runners_[i].middle);
    }
  }

  // Of two the shorter: what is held up takes longer.
  static float median(std::vector<float> values) {
    std::sort(values.begin(), values.end());
    if (values.size() == 2) {
      return values.front();
    }
    return values[values.size() / 2];
  }

  static void finish(Runner& runner, RaceResult& result) {
    if (!result.status.empty()) {
      result = {.status = result.status};
      return;
    }
    std::vector<float>& times = runner.samples;
    if (times.empty()) {
      return;
    }
    std::sort(times.begin(), times.end());
    result.samples = static_cast<std::uint16_t>(times.size());
    result.timing =
        times.size() >= kSomeSamples ? core::Timing::kGraphMedian : core::Timing::kGraphOnce;
    result.time_us = times[times.size() / 2];
    if (times.size() >= kAllSamples) {  // the 2nd and the 6th of seven, or as far out of more
      const std::size_t edge = (times.size() - 1) / 6;
      result.spread = (times[times.size() - 1 - edge] - times[edge]) / result.time_us;
    }
  }

  Launcher& launcher_;
  std::span<const Entrant> entrants_;
  const RaceOptions& options_;
  const std::function<bool()>& stop_;
  std::vector<Runner> runners_;
  std::map<std::int32_t, float> engines_;  // best single launch of each
  Bests best_single_{};
  Bests best_graph_{};
  std::optional<core::Error> fault_;
  RaceOutcome outcome_;
};

}  // namespace

core::Result<RaceOutcome> race(Launcher& launcher,
                               std::span<const Entrant> entrants,
                               const RaceOptions& options,
                               const std::function<bool()>& stop) {
  return Race(launcher, entrants, options, stop).run();
}

}  // namespace reformer::cudnn
