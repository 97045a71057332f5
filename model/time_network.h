#pragma once

#include "model/features.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

namespace reformer::model {

// What the fastest candidate of a problem takes, in one of its views: by this the building of plans
// is weighed (core::BuildPolicy), and the views of a problem are compared.
//
// Normalised features and indicators -> 128 -> 64 (relu) -> log2 of the expected microseconds.
inline constexpr std::size_t kTimeInputs = kNumericFeatures + kIndicatorFeatures;
inline constexpr std::array<std::size_t, 2> kTimeHidden = {128, 64};

struct TimeNetwork {
  std::vector<float> hidden1_weights;  // [kTimeInputs][kTimeHidden[0]]
  std::vector<float> hidden1_bias;
  std::vector<float> hidden2_weights;  // [kTimeHidden[0]][kTimeHidden[1]]
  std::vector<float> hidden2_bias;
  std::vector<float> output_weights;  // [kTimeHidden[1]]
  float output_bias = 0;
};

// From all of its numbers one after another, in the order of the members: as many as there are.
[[nodiscard]] TimeNetwork time_network_of(std::span<const float> parameters);

// One measured problem in one view.
struct TimeSample {
  const float* inputs = nullptr;  // [kTimeInputs], the caller's
  float log2_best_us = 0;
};

// Least squares, but linear beyond a factor of two: a few recorded times are wrong by far.
// Deterministic; on the calling thread. Without samples the network says 0.
[[nodiscard]] TimeNetwork fit_times(std::span<const TimeSample> samples, std::uint64_t seed);

// Reference implementation, for tests; Predictor does the same with packed weights.
[[nodiscard]] float expected_log2_us(const TimeNetwork& network,
                                     std::span<const float, kTimeInputs> inputs);

}  // namespace reformer::model
