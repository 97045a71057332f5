#pragma once

#include "core/decision.h"
#include "model/targets.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

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

// The classes that may be chosen for one combination.
class Coverable {
 public:
  // A plan that builds faster than this is cheap whatever BuildPolicy::cheap_build_us says.
  static constexpr float kAlwaysCheapUs = 1000;

  void add(const core::DecisionEntry& entry);

  [[nodiscard]] std::span<const ClassTraits> classes() const { return classes_; }
  // Rows of the classes that are not always cheap.
  [[nodiscard]] std::span<const std::uint32_t> slow() const { return slow_; }
  // Rows of the classes that pass an application filter, by the filter's index.
  [[nodiscard]] std::span<const std::uint32_t> passing(std::size_t filter) const {
    return passing_[filter];
  }

 private:
  std::vector<ClassTraits> classes_;
  std::vector<std::uint32_t> slow_;
  std::vector<std::vector<std::uint32_t>> passing_;
};

// Which classes may be chosen, and how many.
struct CoverRequest {
  core::Constraints constraints;
  // Building a plan that is not cheap is spread over `expected_uses` executions: a class is ranked
  // by its expected time and its share of that, as core::decide_measured() does it with measured
  // times. What then stands behind the best class that is cheap and not rarely listed is
  // left out.
  core::BuildPolicy policy;
  ExpectedTimes times;
  // The application filters that something is to be chosen for.
  FilterSet filters = ~FilterSet{0};
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
// `logits`, one for each class, at least one: those of classes that are not cheap to build are
// lowered by what that costs.
[[nodiscard]] Cover choose_cover(const Coverable& coverable,
                                 std::span<float> logits,
                                 const CoverRequest& request);

}  // namespace reformer::model
