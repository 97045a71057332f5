#pragma once

#include "core/problem.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

// What a convolution must give, by the plain loops in double precision.
namespace gpu_check {

// What tensors are filled with. Sums of small whole numbers are exact in every type that is used
// here, so all engines but those of FFT and Winograd must give the same bits; sums of fractions
// depend on their order, and show an engine that is not deterministic.
enum class Filling { kWhole, kFractions };

// The three tensors of a problem as cuDNN sees them in memory; the one that is computed is empty.
struct Tensors {
  std::vector<std::byte> x, w, y;
  std::vector<double> expected;  // of the computed one, by element of its memory
};
[[nodiscard]] Tensors make_tensors(const reformer::core::Problem& problem, Filling filling);
// max(0, expected + bias[k]) for a forward problem.
[[nodiscard]] std::vector<double> with_bias_and_relu(const reformer::core::Problem& problem,
                                                     std::vector<double> expected,
                                                     std::span<const double> bias);
[[nodiscard]] std::vector<std::byte> encode(reformer::core::DataType type,
                                            std::span<const double> values);

[[nodiscard]] const reformer::core::TensorSpec& computed_tensor(
    const reformer::core::Problem& problem);
[[nodiscard]] std::size_t bytes_of(const reformer::core::TensorSpec& tensor);

// The largest deviation, as a share of the mean magnitude that is expected; infinite with a NaN.
[[nodiscard]] double deviation(reformer::core::DataType type,
                               std::span<const std::byte> output,
                               std::span<const double> expected);
// How much is allowed: rounding of the type, and FFT and Winograd's.
[[nodiscard]] double tolerance(reformer::core::DataType type);
[[nodiscard]] std::uint64_t hash_of(std::span<const std::byte> bytes);

}  // namespace gpu_check
