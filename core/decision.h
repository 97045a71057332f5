#pragma once

#include "core/engine_config.h"
#include "core/record.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace reformer::core {

enum class Source : std::uint8_t {
  kAbstain = 0,    // no configurations: use cuDNN's own heuristic
  kPredicted = 1,  // a model's order
  kMeasured = 2,   // measured times
  kFrozen = 3,     // from a snapshot file
};
// "abstain", "predicted", "measured", "frozen".
[[nodiscard]] std::string_view to_string(Source source);

struct DecisionEntry {
  EngineConfig config;
  std::uint32_t numerical_notes = 0;
  std::uint32_t behavior_notes = 0;
  std::int64_t workspace_bytes = -1;  // -1 unknown
  float time_us = kNoTime;            // measured, or NaN: predictions have no time
  float build_us = kNoTime;           // expected plan-building time; NaN unknown
  friend bool operator==(const DecisionEntry&, const DecisionEntry&) = default;
};

inline constexpr std::size_t kMaxDecisionEntries = 16;
inline constexpr std::size_t kMeasuredEntries = 8;  // what the cover needs comes on top

// The answer to a query, best first.
struct Decision {
  Source source = Source::kAbstain;
  float confidence = 0;  // calibrated probability in [0, 1] that entry 0 is within 5 % of the best
  std::string model;     // name of the model that predicted; empty for measured
  std::vector<DecisionEntry> entries;
};

// What the application will not run. Filters a record; never part of its key.
struct Constraints {
  std::uint32_t forbidden_numerical_notes = 0;
  std::uint32_t forbidden_behavior_notes = 0;
  std::int64_t max_workspace_bytes = std::numeric_limits<std::int64_t>::max();
  float max_build_us = std::numeric_limits<float>::infinity();
  friend bool operator==(const Constraints&, const Constraints&) = default;
};

enum class Verdict : std::uint8_t {
  kAllowed = 0,
  kNumericalNote = 1,
  kBehaviorNote = 2,
  kWorkspace = 3,
  kBuildTime = 4,
  kNotTimed = 5,
};
[[nodiscard]] std::string_view to_string(Verdict verdict);
[[nodiscard]] Verdict judge(const Candidate& candidate, const Constraints& constraints);

// The policy on engines that are compiled at run time: building is part of what a candidate costs,
// spread over the executions that it is expected to be used for.
struct BuildPolicy {
  double expected_uses = 20000;  // executions of one plan in one process; argued in docs/shim.md
  float cheap_build_us = 20000;  // plans that build faster than this are never questioned

  // Unknown (NaN) is cheap.
  [[nodiscard]] bool is_cheap(float build_us) const { return !(build_us > cheap_build_us); }
  // What building adds to an execution, microseconds.
  [[nodiscard]] double share_us(float build_us) const {
    // Fewer than one use would make building all that counts.
    return is_cheap(build_us) ? 0 : static_cast<double>(build_us) / std::max(expected_uses, 1.0);
  }
};

// Filters that applications are known to apply to the configurations they are given (PyTorch, XLA,
// ONNX Runtime; docs/shim.md): combinations of deterministic, no tensor core, no down-conversion,
// no Winograd or FFT, and a workspace limit.
[[nodiscard]] std::span<const Constraints> application_filters();
// The first of them: what PyTorch (with and without deterministic algorithms) and XLA refuse
// whatever memory there is and, for an input of f32, what PyTorch refuses with TF32 turned off.
[[nodiscard]] std::span<const Constraints> framework_filters(DataType input);
[[nodiscard]] bool passes(const DecisionEntry& entry, const Constraints& constraints);

// Cuts a list that is ordered best first down to at most `max_entries` (up to kMaxDecisionEntries)
// with at most `max_engines` distinct engines: entry 0, then entry `also` if there is one, then for
// each application filter its first passing entry (the *cover*), then the next best while there are
// fewer than `enough`. Order stays.
[[nodiscard]] std::vector<DecisionEntry> select_cover(std::span<const DecisionEntry> ordered,
                                                      std::size_t max_entries,
                                                      std::size_t max_engines,
                                                      std::size_t also = 0,
                                                      std::size_t enough = kMaxDecisionEntries);
[[nodiscard]] std::vector<DecisionEntry> select_cover(std::span<const DecisionEntry* const> ordered,
                                                      std::size_t max_entries,
                                                      std::size_t max_engines,
                                                      std::size_t also = 0,
                                                      std::size_t enough = kMaxDecisionEntries);

// An entry that takes so many times the time of the one that would be taken first is far behind.
inline constexpr double kFarBehindTimes = 2;
// One that takes so many times the first entry's would take longer to try than all others together.
inline constexpr double kHopelessTimes = 10;
// So many entries an answer has, where there are any that are not hopeless, in case cuDNN refuses
// some.
inline constexpr std::size_t kLeastEntries = 4;

// Applications that search for themselves (XLA, PyTorch with benchmark=True) build and run all that
// an answer holds. Marks what is worth that, of a list that is ordered best first:
// - the first entry, the first that passes each framework filter, the first that is built without
//   a compiler, and the first that passes each other application filter unless it is hopeless;
// - of what a framework may run, all that is not far behind the first of them, but for plans that
//   are not cheap to build and stand behind one that is;
// - the next best that are not hopeless, those not cheap to build last, until kLeastEntries are
//   marked.
// `cost_us`: what each entry takes, its share of building included. Sets and clears `worth`, which
// has the length of `ordered` too.
void mark_worth_trying(std::span<const DecisionEntry> ordered,
                       std::span<const double> cost_us,
                       DataType input,
                       const BuildPolicy& policy,
                       std::span<bool> worth);

// The measured answer: of the allowed candidates, ordered by their time and their share of
// building, those worth trying, cut by select_cover; kMeasuredEntries are enough, because each of
// them has run. Those far behind the first have behavior_note::kFarBehind.
// Heuristic A's first choice is among them, so that a client that cannot run the best ones finds
// nothing slower than that before it.
// Source kMeasured, or kAbstain where the record has no allowed candidate.
[[nodiscard]] Decision decide_measured(const Record& record,
                                       const Constraints& constraints,
                                       const BuildPolicy& policy,
                                       std::size_t max_entries,
                                       std::size_t max_engines = kMaxDecisionEntries);

}  // namespace reformer::core
