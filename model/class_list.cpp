#include "model/class_list.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>

namespace reformer::model {

// Numbers (operation, class) pairs and the vectors that they use, in order of first use.
class ConfigFeatures::Builder {
 public:
  Builder(const ClassList& list, HeadKind kind, std::uint32_t own_from, ConfigFeatures& out)
      : list_(list), kind_(kind), own_from_(own_from), out_(out) {}

  void build() {
    for (const CombinationClasses& combination : list_.combinations) {
      std::vector<std::uint32_t> rows;
      for (const std::int32_t index : combination.classes) {
        rows.push_back(row_of(combination.combination.operation, index));
      }
      out_.combination_rows_.push_back(std::move(rows));
    }
    std::vector<std::vector<Entry>> bags;
    for (const auto& [operation, index] : pairs_) {
      bags.push_back(shared_entries(operation, index));
    }
    out_.first_own_ = vectors_.size();
    std::size_t next = out_.first_own_;
    out_.starts_.push_back(0);
    for (std::size_t row = 0; row < bags.size(); ++row) {
      if (own_vector(pairs_[row].second)) {
        bags[row].push_back({static_cast<std::uint32_t>(next++), 1});
      }
      out_.entries_.insert(out_.entries_.end(), bags[row].begin(), bags[row].end());
      out_.starts_.push_back(out_.entries_.size());
    }
    out_.features_ = next;
  }

 private:
  using Name = std::array<std::int32_t, 6>;  // what kind of vector, then what it stands for
  enum Kind : std::int32_t { kEngine, kEngineKnob, kKnob, kEngineKnobScale, kEngineKnobPair };

  bool own_vector(std::int32_t index) const {
    return kind_ == HeadKind::kPlain ||
           list_.classes[static_cast<std::size_t>(index)].sightings >= own_from_;
  }

  std::uint32_t row_of(core::Operation operation, std::int32_t index) {
    const auto [found, added] =
        rows_.try_emplace({operation, index}, static_cast<std::uint32_t>(pairs_.size()));
    if (added) {
      pairs_.emplace_back(operation, index);
    }
    return found->second;
  }

  std::uint32_t vector_of(const Name& name) {
    return vectors_.try_emplace(name, static_cast<std::uint32_t>(vectors_.size())).first->second;
  }

  std::vector<Entry> shared_entries(core::Operation operation, std::int32_t index) {
    std::vector<Entry> bag;
    if (kind_ == HeadKind::kPlain) {
      return bag;
    }
    const core::EngineConfig& config = list_.classes[static_cast<std::size_t>(index)].entry.config;
    // Operation and engine in one number: engines are below 2^16 in any cuDNN.
    const std::int32_t engine = config.engine() * 4 + static_cast<std::int32_t>(operation);
    bag.push_back({vector_of({kEngine, engine}), 1});
    const std::span<const core::Knob> knobs = config.knobs();
    for (std::size_t i = 0; i < knobs.size(); ++i) {
      const auto [type, value] = knobs[i];
      bag.push_back({vector_of({kEngineKnob, engine, type, value}), 1});
      bag.push_back({vector_of({kKnob, type, value}), 1});
      const float scale = std::log2(1.0F + static_cast<float>(std::max(value, 0))) / 4.0F;
      bag.push_back({vector_of({kEngineKnobScale, engine, type}), scale});
      for (std::size_t j = i + 1; j < knobs.size(); ++j) {
        bag.push_back(
            {vector_of({kEngineKnobPair, engine, type, value, knobs[j].type, knobs[j].value}), 1});
      }
    }
    return bag;
  }

  const ClassList& list_;
  HeadKind kind_;
  std::uint32_t own_from_;
  ConfigFeatures& out_;
  std::map<std::pair<core::Operation, std::int32_t>, std::uint32_t> rows_;
  std::vector<std::pair<core::Operation, std::int32_t>> pairs_;
  std::map<Name, std::uint32_t> vectors_;
};

ConfigFeatures::ConfigFeatures(const ClassList& list,
                               HeadKind kind,
                               std::uint32_t own_vector_from_sightings) {
  Builder(list, kind, own_vector_from_sightings, *this).build();
}

std::optional<std::size_t> find_combination(std::span<const CombinationClasses> combinations,
                                            const Combination& combination) {
  const auto found =
      std::ranges::lower_bound(combinations, combination, {}, &CombinationClasses::combination);
  if (found == combinations.end() || found->combination != combination) {
    return std::nullopt;
  }
  return static_cast<std::size_t>(found - combinations.begin());
}

}  // namespace reformer::model
