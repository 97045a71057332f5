#pragma once

#include "core/decision.h"
#include "core/engine_config.h"
#include "model/features.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

namespace reformer::model {

// One kernel class: an engine configuration and what training saw of it.
struct KernelClass {
  core::DecisionEntry entry;    // notes of all sightings, median workspace and build time
  std::uint32_t sightings = 0;  // problems that it was a timed candidate of
};

// The classes that may be candidates of one combination, ascending by index.
struct CombinationClasses {
  Combination combination;
  std::vector<std::int32_t> classes;
};

// What a model can answer. Part of the model file.
struct ClassList {
  std::vector<KernelClass> classes;
  std::vector<CombinationClasses> combinations;  // ascending by combination
};

enum class HeadKind : std::uint8_t {
  // Every class has weights of its own: the paper's output layer.
  kPlain = 0,
  // A class's weights are the sum over its engine, knob values and pairs of them, and, where it
  // was seen often enough, a part of its own.
  kGenerated = 1,
};

// The output side of the network, as a sparse matrix: row = one class under one operation (engine
// numbers mean different kernels for different operations), column = one learnt vector. The row's
// weights are the sum of its vectors. Built from the class list alone, so that a model file need
// not carry it. Immutable; any number of threads.
class ConfigFeatures {
 public:
  struct Entry {
    std::uint32_t feature = 0;
    float weight = 1;
  };

  ConfigFeatures(const ClassList& list, HeadKind kind, std::uint32_t own_vector_from_sightings);

  [[nodiscard]] std::size_t rows() const { return starts_.size() - 1; }
  [[nodiscard]] std::size_t features() const { return features_; }
  // Columns from here on are vectors that belong to one row alone.
  [[nodiscard]] std::size_t first_own_feature() const { return first_own_; }
  [[nodiscard]] std::span<const Entry> row(std::size_t index) const {
    return std::span(entries_).subspan(starts_[index], starts_[index + 1] - starts_[index]);
  }
  // Rows of a combination's classes, in the order of CombinationClasses::classes.
  [[nodiscard]] std::span<const std::uint32_t> combination_rows(std::size_t combination) const {
    return combination_rows_[combination];
  }

 private:
  class Builder;

  std::vector<Entry> entries_;
  std::vector<std::size_t> starts_;
  std::vector<std::vector<std::uint32_t>> combination_rows_;
  std::size_t features_ = 0;
  std::size_t first_own_ = 0;
};

// Position of `combination` in the list; empty where the model was not trained for it.
[[nodiscard]] std::optional<std::size_t> find_combination(
    std::span<const CombinationClasses> combinations, const Combination& combination);

}  // namespace reformer::model
