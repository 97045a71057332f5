#pragma once

#include "model/kernels.h"
#include "model/weight_arena.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace reformer::model {

// A matrix, and perhaps a bias, ready for Kernels::dense. What it refers to lies in an arena.
struct PackedMatrix {
  const float* weights = nullptr;               // panels
  const std::uint16_t* half_weights = nullptr;  // instead of `weights`
  const float* bias = nullptr;                  // null: what stands in the output is the bias
  std::size_t rows = 0;
  std::size_t columns = 0;  // padded
};
// Panels, kept as float16 where that holds them exactly; `columns` padded. No bias.
[[nodiscard]] PackedMatrix keep_panels(WeightArena& arena,
                                       std::span<const float> panels,
                                       std::size_t rows,
                                       std::size_t columns);
// The same of a row-major matrix.
[[nodiscard]] PackedMatrix pack(WeightArena& arena,
                                std::span<const float> matrix,
                                std::size_t rows,
                                std::size_t columns);
// A bias, with zeros up to padded_columns().
[[nodiscard]] std::vector<float> padded(std::span<const float> values);

// y[s] = activation(bias + x[s] * W); strides in floats.
void multiply(const Kernels& kernels,
              const PackedMatrix& matrix,
              const float* x,
              std::size_t x_stride,
              float* y,
              std::size_t y_stride,
              std::size_t samples,
              Activation activation);

// One layer of a small network, y = activation(x W + b), ready for Kernels::dense. Immutable; what
// it refers to lies in the arena.
class PackedLayer {
 public:
  // `weights`: [inputs][outputs], kept as float16 where that holds them exactly.
  PackedLayer(WeightArena& arena,
              std::size_t inputs,
              std::span<const float> weights,
              std::span<const float> bias,
              Activation activation);

  // x: [samples][inputs]; y: [samples][padded_columns(outputs)].
  void apply(const Kernels& kernels, std::size_t samples, const float* x, float* y) const;

 private:
  PackedMatrix matrix_;
  Activation activation_;
};

}  // namespace reformer::model
