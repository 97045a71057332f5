#pragma once

#include "core/decision.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

// The choice of a decision's entries among hundreds of ranked classes without sorting them and
// without touching their configurations.
namespace reformer::model {

// Bit i: application filter i of core::application_filters().
using FilterSet = std::uint32_t;
[[nodiscard]] FilterSet filters_passed_by(const core::DecisionEntry& entry);

// What is asked of a class before it is chosen: small, and those of a combination in one array.
struct ClassTraits {
  std::int64_t workspace_bytes = 0;
  std::uint32_t numerical_notes = 0;
  std::uint32_t behavior_notes = 0;
  float build_us = 0;
  std::int32_t engine = -1;
  FilterSet filters = 0;

  ClassTraits() = default;
  explicit ClassTraits(const core::DecisionEntry& entry);
};

// Which classes may be chosen, and how many.
struct CoverRequest {
  core::Constraints constraints;
  double worth_us = 0;  // classes that take longer to build are left out
  std::size_t max_entries = core::kMaxDecisionEntries;
  std::size_t max_engines = core::kMaxDecisionEntries;
};

// Rows of the chosen classes, best first.
struct Cover {
  std::array<std::uint32_t, core::kMaxDecisionEntries> rows{};
  std::size_t count = 0;
};

// As core::select_cover() of all allowed classes in the order of their logits (equal ones by row),
// but only the best few are put in order: for what they leave open all others are looked through.
// `coverable`: the filters that some class passes.
[[nodiscard]] Cover choose_cover(std::span<const ClassTraits> classes,
                                 std::span<const float> logits,
                                 FilterSet coverable,
                                 const CoverRequest& request);

}  // namespace reformer::model
