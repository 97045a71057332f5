#pragma once

#include "core/problem.h"

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

// What the network sees of a problem. One function serves training and inference; its schema hash
// is in the model file, so that a model never meets features of another meaning.
namespace reformer::model {

enum class Grouping : std::uint8_t { kDense = 0, kGrouped = 1, kDepthwise = 2 };

// Which of a problem's candidates are ranked. What is fast is another question in each view, so a
// model learns them all. kAll is of every problem.
enum class View : std::uint8_t {
  kAll = 0,
  // Of f32 problems: what an application runs that refuses TF32, and one that refuses
  // non-deterministic engines besides. What is left after each of core::kF32Refusals.
  kWithoutTensorCores = 1,
  kDeterministic = 2,
  // Of problems of other types with groups: what cuDNN need not compile at run time. Where a
  // compiled kernel is by far the fastest, what is fast among the others is a question that kAll
  // hardly asks, and the one that counts when compiling is not worth it (core::BuildPolicy).
  kPrecompiled = 3
};
inline constexpr std::array<View, 4> kViews = {
    View::kAll, View::kWithoutTensorCores, View::kDeterministic, View::kPrecompiled};
// Those that an application asks for, which accuracy is logged of.
inline constexpr std::array<View, 3> kApplicationViews = {
    View::kAll, View::kWithoutTensorCores, View::kDeterministic};
static_assert(kApplicationViews.size() == core::kF32Refusals.size());
// The notes of what is not in the view: numerical ones, and ones of behaviour.
[[nodiscard]] constexpr std::uint32_t refused_notes(View view) {
  return view == View::kPrecompiled ? 0 : core::kF32Refusals[static_cast<std::size_t>(view)];
}
[[nodiscard]] constexpr std::uint32_t refused_behavior_notes(View view) {
  return view == View::kPrecompiled ? core::behavior_note::kRuntimeCompilation : 0;
}
// Whether candidates with these notes are in the view.
[[nodiscard]] constexpr bool is_in(View view,
                                   std::uint32_t numerical_notes,
                                   std::uint32_t behavior_notes) {
  return (numerical_notes & refused_notes(view)) == 0 &&
         (behavior_notes & refused_behavior_notes(view)) == 0;
}
// Whether the view is one of the problem's.
[[nodiscard]] bool has_view(const core::Problem& problem, View view);
// "all", "without_tensor_cores", "deterministic", "precompiled".
[[nodiscard]] std::string_view to_string(View view);
// Of kApplicationViews alone.
[[nodiscard]] std::optional<View> parse_application_view(std::string_view name);

// What decides which engines can run at all. A model ranks, for each combination it was trained on,
// the classes that were seen there, and abstains for any other.
struct Combination {
  core::Operation operation = core::Operation::kForward;
  core::ConvolutionMode mode = core::ConvolutionMode::kCrossCorrelation;
  core::DataType type = core::DataType::kF32;  // of x
  core::DataType weight_type = core::DataType::kF32;
  core::DataType output_type = core::DataType::kF32;
  core::DataType compute_type = core::DataType::kF32;
  // In which all tensors are packed. kStrided: there is none; nothing measured is like that, so no
  // model knows such a combination.
  core::Layout layout = core::Layout::kNchw;
  std::uint8_t spatial_rank = 2;
  Grouping grouping = Grouping::kDense;
  View view = View::kAll;
  friend auto operator<=>(const Combination&, const Combination&) = default;
};
// A view that is not one of the problem's counts as kAll.
[[nodiscard]] Combination combination_of(const core::Problem& problem, View view = View::kAll);
// "fwd f16 nhwc 2d dense", "fwd f32 nhwc 2d dense without tensor cores", "... deterministic",
// "fwd f16 nhwc 2d depthwise precompiled".
[[nodiscard]] std::string to_string(const Combination& combination);

// Numeric features of the problem itself: log2 of dims, products and ratios; divisibility; how
// well usual tiles fit the implicit matrix product and how they fill the GPU.
inline constexpr std::size_t kNumericFeatures = 88;
using NumericFeatures = std::array<float, kNumericFeatures>;

// `problem` must be canonical, `sm_count` the GPU's number of multiprocessors. About 0.3 us,
// no allocation.
void numeric_features(const core::Problem& problem, std::int32_t sm_count, NumericFeatures& out);

// Indicators that are constant over a combination: operation, types, layout, rank, grouping, view.
inline constexpr std::size_t kIndicatorFeatures = 23;
using IndicatorFeatures = std::array<float, kIndicatorFeatures>;
[[nodiscard]] IndicatorFeatures indicator_features(const Combination& combination);

// Names in order, for reports: "log2 n", "tile fill 128x128".
[[nodiscard]] std::span<const std::string_view> numeric_feature_names();

// Changes whenever the meaning of any feature changes.
[[nodiscard]] std::uint64_t feature_schema_hash();

}  // namespace reformer::model
