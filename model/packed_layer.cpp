#include "model/packed_layer.h"

#include "model/half.h"

#include <algorithm>

namespace reformer::model {

PackedMatrix keep_panels(WeightArena& arena,
                         std::span<const float> panels,
                         std::size_t rows,
                         std::size_t columns) {
  PackedMatrix matrix;
  matrix.rows = rows;
  matrix.columns = columns;
  if (all_are_halves(panels)) {
    matrix.half_weights = arena.keep_halves(panels);
  } else {
    matrix.weights = arena.keep(panels);
  }
  return matrix;
}

PackedMatrix pack(WeightArena& arena,
                  std::span<const float> matrix,
                  std::size_t rows,
                  std::size_t columns) {
  std::vector<float> panels(rows * padded_columns(columns));
  pack_panels(matrix.data(), rows, columns, panels.data());
  return keep_panels(arena, panels, rows, padded_columns(columns));
}

std::vector<float> padded(std::span<const float> values) {
  std::vector<float> result(padded_columns(values.size()));
  std::ranges::copy(values, result.begin());
  return result;
}

void multiply(const Kernels& kernels,
              const PackedMatrix& matrix,
              const float* x,
              std::size_t x_stride,
              float* y,
              std::size_t y_stride,
              std::size_t samples,
              Activation activation) {
  kernels.dense({.weights = matrix.weights,
                 .half_weights = matrix.half_weights,
                 .bias = matrix.bias,
                 .rows = matrix.rows,
                 .columns = matrix.columns,
                 .x = x,
                 .x_stride = x_stride,
                 .y = y,
                 .y_stride = y_stride,
                 .samples = samples,
                 .activation = activation});
}

PackedLayer::PackedLayer(WeightArena& arena,
                         std::size_t inputs,
                         std::span<const float> weights,
                         std::span<const float> bias,
                         Activation activation)
    : matrix_(pack(arena, weights, inputs, bias.size())), activation_(activation) {
  matrix_.bias = arena.keep(padded(bias));
}

void PackedLayer::apply(const Kernels& kernels,
                        std::size_t samples,
                        const float* x,
                        float* y) const {
  multiply(kernels, matrix_, x, matrix_.rows, y, matrix_.columns, samples, activation_);
}

}  // namespace reformer::model
