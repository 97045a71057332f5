#include "core/decision.h"

#include <algorithm>
#include <array>
#include <memory>

namespace reformer::core {
namespace {

constexpr std::int64_t kMebibyte = std::int64_t{1} << 20;
constexpr std::int64_t kAnyWorkspace = std::numeric_limits<std::int64_t>::max();

constexpr Constraints filter(std::uint32_t forbidden_notes, std::int64_t max_workspace) {
  return {.forbidden_numerical_notes = forbidden_notes, .max_workspace_bytes = max_workspace};
}

using namespace numerical_note;
constexpr std::uint32_t kTransforms =
    kFft | kWinograd | kWinogradTile4x4 | kWinogradTile6x6 | kWinogradTile13x13;
// In the order of how common they are: with little room the first ones are covered.
constexpr std::array<Constraints, 12> kApplicationFilters{
    filter(kDownConvertInputs, kAnyWorkspace),                      // PyTorch, always
    filter(kDownConvertInputs | kNondeterministic, kAnyWorkspace),  // deterministic algorithms
    filter(kDownConvertInputs | kNondeterministic | kWinograd, kAnyWorkspace),  // XLA
    filter(kDownConvertInputs | kTensorCore, kAnyWorkspace),                    // TF32 off
    filter(kDownConvertInputs | kTensorCore | kNondeterministic, kAnyWorkspace),
    filter(kDownConvertInputs, 256 * kMebibyte),
    filter(kDownConvertInputs, 32 * kMebibyte),
    filter(kDownConvertInputs | kNondeterministic, 32 * kMebibyte),
    filter(kDownConvertInputs | kTensorCore | kNondeterministic | kWinograd, 32 * kMebibyte),
    filter(kDownConvertInputs | kNondeterministic | kTransforms, 0),
    filter(kDownConvertInputs | kTensorCore, 0),
    filter(kDownConvertInputs | kTensorCore | kNondeterministic | kTransforms, 0),
};
constexpr std::size_t kFrameworkFilters = 5;  // the first ones
constexpr std::size_t kFrameworkFiltersForAnyType = 3;

DecisionEntry entry_of(const Candidate& candidate) {
  return {.config = candidate.config,
          .numerical_notes = candidate.numerical_notes,
          .behavior_notes = candidate.behavior_notes,
          .workspace_bytes = candidate.workspace_bytes,
          .time_us = candidate.time_us,
          .build_us = candidate.build_us};
}

// Chooses entries of a list under bounds on entries and distinct engines.
class Selection {
 public:
  using Ordered = std::span<const DecisionEntry* const>;
  Selection(Ordered ordered, std::size_t max_entries, std::size_t max_engines)
      : ordered_(ordered),
        max_entries_(std::min(max_entries, kMaxDecisionEntries)),
        max_engines_(max_engines) {}

  [[nodiscard]] bool full() const { return has(max_entries_); }
  [[nodiscard]] bool has(std::size_t entries) const {
    return count_ >= std::min(entries, max_entries_);
  }
  [[nodiscard]] bool covers(const Constraints& constraints) const {
    return std::any_of(chosen_.begin(), chosen_.begin() + count_, [&](std::size_t index) {
      return passes(*ordered_[index], constraints);
    });
  }
  // Says whether the entry is among the chosen now.
  bool choose(std::size_t index) {
    const auto end = chosen_.begin() + count_;
    if (std::find(chosen_.begin(), end, index) != end) {
      return true;
    }
    if (full() || !engine_fits(ordered_[index]->config.engine())) {
      return false;
    }
    chosen_[count_++] = index;
    return true;
  }
  [[nodiscard]] std::vector<DecisionEntry> take() {
    std::sort(chosen_.begin(), chosen_.begin() + count_);
    std::vector<DecisionEntry> entries;
    entries.reserve(count_);
    for (std::size_t i = 0; i < count_; ++i) {
      entries.push_back(*ordered_[chosen_[i]]);
    }
    return entries;
  }

 private:
  bool engine_fits(std::int32_t engine) {
    const auto end = engines_.begin() + engine_count_;
    if (std::find(engines_.begin(), end, engine) != end) {
      return true;
    }
    if (engine_count_ >= std::min(max_engines_, kMaxDecisionEntries)) {
      return false;
    }
    engines_[engine_count_++] = engine;
    return true;
  }

  Ordered ordered_;
  std::array<std::size_t, kMaxDecisionEntries> chosen_{};  // indices into ordered_
  std::array<std::int32_t, kMaxDecisionEntries> engines_{};
  std::uint32_t count_ = 0;
  std::uint32_t engine_count_ = 0;
  std::size_t max_entries_;
  std::size_t max_engines_;
};

}  // namespace

std::string_view to_string(Source source) {
  constexpr std::array<std::string_view, 4> kNames{"abstain", "predicted", "measured", "frozen"};
  const auto index = static_cast<std::size_t>(source);
  return index < kNames.size() ? kNames[index] : std::string_view("?");
}

std::string_view to_string(Verdict verdict) {
  constexpr std::array<std::string_view, 6> kNames{
      "allowed", "numerical note", "behavior note", "workspace", "build time", "not timed"};
  const auto index = static_cast<std::size_t>(verdict);
  return index < kNames.size() ? kNames[index] : std::string_view("?");
}

Verdict judge(const Candidate& candidate, const Constraints& constraints) {
  if (!candidate.timed()) {
    return Verdict::kNotTimed;
  }
  if ((candidate.numerical_notes & constraints.forbidden_numerical_notes) != 0) {
    return Verdict::kNumericalNote;
  }
  if ((candidate.behavior_notes & constraints.forbidden_behavior_notes) != 0) {
    return Verdict::kBehaviorNote;
  }
  if (candidate.workspace_bytes > constraints.max_workspace_bytes) {
    return Verdict::kWorkspace;
  }
  if (candidate.build_us > constraints.max_build_us) {
    return Verdict::kBuildTime;
  }
  return Verdict::kAllowed;
}

std::span<const Constraints> application_filters() {
  return kApplicationFilters;
}

std::span<const Constraints> framework_filters(DataType input) {
  return application_filters().first(input == DataType::kF32 ? kFrameworkFilters
                                                             : kFrameworkFiltersForAnyType);
}

bool passes(const DecisionEntry& entry, const Constraints& constraints) {
  return (entry.numerical_notes & constraints.forbidden_numerical_notes) == 0 &&
         (entry.behavior_notes & constraints.forbidden_behavior_notes) == 0 &&
         entry.workspace_bytes <= constraints.max_workspace_bytes &&
         !(entry.build_us > constraints.max_build_us);
}

std::vector<DecisionEntry> select_cover(std::span<const DecisionEntry* const> ordered,
                                        std::size_t max_entries,
                                        std::size_t max_engines,
                                        std::size_t also,
                                        std::size_t enough) {
  Selection selection(ordered, max_entries, max_engines);
  if (!ordered.empty()) {
    selection.choose(0);
    selection.choose(std::min(also, ordered.size() - 1));
  }
  for (const Constraints& constraints : kApplicationFilters) {
    bool covered = selection.covers(constraints);
    for (std::size_t i = 0; i < ordered.size() && !covered; ++i) {
      covered = passes(*ordered[i], constraints) && selection.choose(i);
    }
  }
  for (std::size_t i = 0; i < ordered.size() && !selection.has(enough); ++i) {
    selection.choose(i);
  }
  return selection.take();
}

std::vector<DecisionEntry> select_cover(std::span<const DecisionEntry> ordered,
                                        std::size_t max_entries,
                                        std::size_t max_engines,
                                        std::size_t also,
                                        std::size_t enough) {
  std::vector<const DecisionEntry*> pointers;
  pointers.reserve(ordered.size());
  for (const DecisionEntry& entry : ordered) {
    pointers.push_back(&entry);
  }
  return select_cover(
      std::span<const DecisionEntry* const>(pointers), max_entries, max_engines, also, enough);
}

void mark_worth_trying(std::span<const DecisionEntry> ordered,
                       std::span<const double> cost_us,
                       DataType input,
                       const BuildPolicy& policy,
                       std::span<bool> worth) {
  std::ranges::fill(worth, false);
  if (ordered.empty()) {
    return;
  }
  const double most_us = kHopelessTimes * cost_us[0];
  const auto mark_first = [&](const Constraints& filter, bool in_any_case) {
    const auto found = std::ranges::find_if(
        ordered, [&filter](const DecisionEntry& entry) { return passes(entry, filter); });
    if (found != ordered.end()) {
      const auto i = static_cast<std::size_t>(found - ordered.begin());
      worth[i] = worth[i] || in_any_case || cost_us[i] <= most_us;
    }
  };
  worth[0] = true;
  mark_first({.forbidden_behavior_notes = behavior_note::kRuntimeCompilation}, true);
  const std::span<const Constraints> frameworks = framework_filters(input);
  for (const Constraints& filter : kApplicationFilters) {
    mark_first(filter, std::ranges::find(frameworks, filter) != frameworks.end());
  }
  for (const Constraints& filter : frameworks) {
    double near_us = -1;
    bool cheap_before = false;
    for (std::size_t i = 0; i < ordered.size(); ++i) {
      if (passes(ordered[i], filter)) {
        near_us = near_us < 0 ? kFarBehindTimes * cost_us[i] : near_us;
        const bool cheap = policy.is_cheap(ordered[i].build_us);
        worth[i] = worth[i] || (cost_us[i] <= near_us && (cheap || !cheap_before));
        cheap_before = cheap_before || cheap;
      }
    }
  }
  std::size_t marked = static_cast<std::size_t>(std::ranges::count(worth, true));
  for (const bool any : {false, true}) {
    for (std::size_t i = 0; i < ordered.size() && marked < kLeastEntries; ++i) {
      if (!worth[i] && cost_us[i] <= most_us && (any || policy.is_cheap(ordered[i].build_us))) {
        worth[i] = true;
        ++marked;
      }
    }
  }
}

Decision decide_measured(const Record& record,
                         const Constraints& constraints,
                         const BuildPolicy& policy,
                         std::size_t max_entries,
                         std::size_t max_engines) {
  std::vector<DecisionEntry> allowed;
  for (const Candidate& candidate : record.candidates) {
    if (judge(candidate, constraints) == Verdict::kAllowed) {
      allowed.push_back(entry_of(candidate));
    }
  }
  const auto cost_us = [&policy](const DecisionEntry& entry) {
    return static_cast<double>(entry.time_us) + policy.share_us(entry.build_us);
  };
  std::sort(allowed.begin(),
            allowed.end(),
            [&cost_us](const DecisionEntry& one, const DecisionEntry& other) {
              const double one_us = cost_us(one);
              const double other_us = cost_us(other);
              return one_us != other_us ? one_us < other_us : one.config < other.config;
            });
  Decision decision;
  if (allowed.empty()) {
    return decision;
  }
  decision.source = Source::kMeasured;
  decision.confidence = 1;
  std::vector<double> costs(allowed.size());
  std::ranges::transform(allowed, costs.begin(), cost_us);
  const auto worth = std::make_unique<bool[]>(allowed.size());
  const std::span<bool> marks(worth.get(), allowed.size());
  mark_worth_trying(allowed, costs, record.key.problem.x.type, policy, marks);
  const Candidate* const own = first_of_heuristic_a(record);
  std::vector<const DecisionEntry*> chosen;
  std::size_t also = 0;
  for (std::size_t i = 0; i < allowed.size(); ++i) {
    const bool is_own = own != nullptr && allowed[i].config == own->config;
    if (marks[i] || is_own) {
      also = is_own ? chosen.size() : also;
      chosen.push_back(&allowed[i]);
    }
    if (costs[i] > kFarBehindTimes * costs[0]) {
      allowed[i].behavior_notes |= behavior_note::kFarBehind;
    }
  }
  decision.entries = select_cover(std::span<const DecisionEntry* const>(chosen),
                                  max_entries,
                                  max_engines,
                                  also,
                                  kMeasuredEntries);
  return decision;
}

}  // namespace reformer::core
