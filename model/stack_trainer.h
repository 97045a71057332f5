#pragma once

#include "model/layers.h"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

namespace reformer::model {

// Layers that are applied one after another, each with as many inputs as the one before has
// outputs; none that keeps anything for its backward pass.
using LayerStack = std::vector<std::unique_ptr<Layer<float>>>;
[[nodiscard]] std::size_t parameters_of(const LayerStack& stack);

struct StackOptions {
  std::size_t epochs = 30;
  std::size_t batch = 128;
  float rate = 2e-3F;  // at the start; a cosine takes it to 0
  float decay = 0;     // AdamW's, in parts of the rate
  std::uint64_t seed = 1;
};

// What a stack learns from.
struct StackSamples {
  std::size_t count = 0;
  // Writes the inputs of one sample.
  std::function<void(std::size_t sample, float* x)> inputs;
  // Writes what the loss of one sample changes by with each of its outputs.
  std::function<void(std::size_t sample, const float* outputs, float* gradient)> gradient;
};

// Trains one of the small networks beside the main one with AdamW, on the calling thread. Returns
// the parameters of all layers, in their order. Deterministic for one instruction set.
[[nodiscard]] std::vector<float> train_stack(const LayerStack& stack,
                                             const StackSamples& samples,
                                             const StackOptions& options);

// Hands out trained parameters piece by piece, in their order: no more than there are.
class Pieces {
 public:
  explicit Pieces(std::span<const float> parameters) : left_(parameters) {}

  [[nodiscard]] std::vector<float> take(std::size_t count) {
    const std::span<const float> taken = left_.first(count);
    left_ = left_.subspan(count);
    return {taken.begin(), taken.end()};
  }

 private:
  std::span<const float> left_;
};

}  // namespace reformer::model
