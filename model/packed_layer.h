#pragma once

#include "model/kernels.h"
#include "model/weight_arena.h"

#include <cstddef>
#include <cstdint>
#include <span>

namespace reformer::model {

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

  // x: [samples][inputs]; y: [samples][columns()].
  void apply(const Kernels& kernels, std::size_t samples, const float* x, float* y) const;

  // Outputs, padded.
  [[nodiscard]] std::size_t columns() const { return columns_; }

 private:
  std::size_t inputs_;
  std::size_t columns_;
  const float* weights_ = nullptr;
  const std::uint16_t* half_weights_ = nullptr;
  const float* bias_ = nullptr;
  Activation activation_;
};

}  // namespace reformer::model
