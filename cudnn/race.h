#pragma once

#include "core/record.h"
#include "core/result.h"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

// Which candidate gets how many launches. Pure policy: the GPU is behind Launcher, so that tests
// race recorded times.
namespace reformer::cudnn {

struct Launch {
  float time_us = 0;  // from before the launch to the end of the kernel: launch overhead included
  float host_us =
      0;  // of it, at most: how long the host took from before the first event to behind
          // the second. Loading a kernel is slow, and a busy host makes threads wait.
};

struct Heat {
  std::size_t candidate = 0;
  bool warm = true;  // behind a launch of its own that is not timed: what ran before it leaves the
                     // L2 cache full of other things
};

struct GraphTime {
  float time_us = 0;  // of one execution
  float host_us = 0;  // as of a Launch, for the whole graph
};

class Launcher {
 public:
  virtual ~Launcher() = default;
  virtual core::Result<Launch> single(std::size_t candidate) = 0;
  // Makes the candidate's graph of `repeats` executions. Host work only.
  virtual core::Status prepare(std::size_t candidate, int repeats) = 0;
  // Launches the prepared graphs of `lineup` back to back, so that the GPU never waits for the
  // host, if the host keeps up.
  virtual core::Result<std::vector<GraphTime>> run(std::span<const Heat> lineup) = 0;
};

// Demands of applications, as bits: who asks for deterministic results wants the fastest candidate
// that gives them, however slow it is beside others. Bit 0: no demand at all.
using Demands = std::uint32_t;
inline constexpr std::size_t kMostDemands = 8;

// What is known of a candidate before it runs.
struct Entrant {
  std::int32_t engine = 0;
  float least_us = 0;  // it cannot be faster than this; 0 unknown
  // Those that it meets, at least one: it races for each of them, "the best" below being the
  // slowest of those that are the best for one of them.
  Demands demands = 1;
  // Somebody chooses it (cuDNN's heuristics, a model): what that costs is a figure of its own, so
  // it is sampled three times however far it is behind.
  bool chosen = false;
};

struct RaceOptions {
  float hopeless = 10;            // this many times the best on a first launch, and long: no second
  float hopeless_engine = 4;      // this many times the best: nor the engine's other configurations
  float in_sight = 1.2f;          // a single launch within this of the best ...
  float overhead_us = 15;         // ... and so much: gets a graph
  float contender = 1.15f;        // within this of the best: sampled again
  float finalist = 1.04f;         // still within this after three samples: sampled seven times
  float close = 1.015f;           // still within this after seven: sampled fifteen times
  float quick_us = 30;            // GPU time of the first graph, at least
  float graph_us = 150;           // GPU time of the further ones, at least
  float chosen_us = 20000;        // what is chosen and longer: its single launch says enough
  float first_look_us = 1500000;  // GPU time for first launches; what is left then is not run
  int max_repeats = 100;
  bool exhaustive = false;  // all candidates get seven graphs: what the race is compared with
};

// Statuses of candidates that were not run.
inline constexpr const char* kHopelessStatus = "hopeless_not_run";
inline constexpr const char* kNoTimeStatus = "no_time_left";

struct RaceResult {
  core::Timing timing = core::Timing::kNone;
  float time_us = core::kNoTime;
  float spread = core::kNoTime;
  std::uint16_t samples = 0;
  std::string status;  // why there is no time
};

struct RaceOutcome {
  std::vector<RaceResult> results;
  double gpu_us = 0;     // all launches together, also those that are not timed
  bool stopped = false;  // `stop` said so: the results are not complete
};

// Times the candidates, which come in the order in which cuDNN's heuristics list them: the better
// ones first. `stop` is asked between launches. Errors: kInternal where the GPU faulted; a
// candidate that merely fails gets a status. Zero, negative and non-finite times are failures.
[[nodiscard]] core::Result<RaceOutcome> race(Launcher& launcher,
                                             std::span<const Entrant> entrants,
                                             const RaceOptions& options,
                                             const std::function<bool()>& stop);

}  // namespace reformer::cudnn
