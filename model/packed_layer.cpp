#include "model/packed_layer.h"

#include "model/half.h"

#include <algorithm>
#include <vector>

namespace reformer::model {

PackedLayer::PackedLayer(WeightArena& arena,
                         std::size_t inputs,
                         std::span<const float> weights,
                         std::span<const float> bias,
                         Activation activation)
    : inputs_(inputs), columns_(padded_columns(bias.size())), activation_(activation) {
  std::vector<float> panels(inputs * columns_);
  pack_panels(weights.data(), inputs, bias.size(), panels.data());
  if (all_are_halves(panels)) {
    half_weights_ = arena.keep_halves(panels);
  } else {
    weights_ = arena.keep(panels);
  }
  std::vector<float> padded(columns_);
  std::ranges::copy(bias, padded.begin());
  bias_ = arena.keep(padded);
}

void PackedLayer::apply(const Kernels& kernels,
                        std::size_t samples,
                        const float* x,
                        float* y) const {
  kernels.dense({.weights = weights_,
                 .half_weights = half_weights_,
                 .bias = bias_,
                 .rows = inputs_,
                 .columns = columns_,
                 .x = x,
                 .x_stride = inputs_,
                 .y = y,
                 .y_stride = columns_,
                 .samples = samples,
                 .activation = activation_});
}

}  // namespace reformer::model
