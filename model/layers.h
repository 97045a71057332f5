#pragma once

#include "model/random.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

// The trunk's layers, forward and backward side by side. All matrices are row-major, samples in
// rows; a weight matrix is [inputs][outputs], so y = x W + b. T is float for training, double for
// the tests of the gradients.
//
// Threads: layers hold no state; calls with different buffers may run at once.
namespace reformer::model {

enum class BlockKind : std::uint8_t { kGamma = 0, kMlp = 1, kTransformer = 2 };
[[nodiscard]] std::string_view to_string(BlockKind kind);  // "gamma", "mlp", "transformer"
[[nodiscard]] std::optional<BlockKind> parse_block_kind(std::string_view text);

template <typename T>
class Layer {
 public:
  virtual ~Layer() = default;

  [[nodiscard]] virtual std::size_t inputs() const = 0;
  [[nodiscard]] virtual std::size_t outputs() const = 0;
  [[nodiscard]] virtual std::size_t parameters() const = 0;
  // Numbers that forward keeps for backward, for each sample.
  [[nodiscard]] virtual std::size_t cache_per_sample() const = 0;
  virtual void initialise(Random& random, T* parameters) const = 0;
  virtual void forward(
      const T* parameters, std::size_t samples, const T* x, T* y, T* cache) const = 0;
  // `dy` and `cache` are overwritten. Adds to `gradient`; writes `dx` unless it is null.
  virtual void backward(const T* parameters,
                        std::size_t samples,
                        const T* x,
                        const T* y,
                        T* cache,
                        T* dy,
                        T* dx,
                        T* gradient) const = 0;
};

// Sizes of one block: of the inner layer, and of the output.
struct BlockWidth {
  std::size_t hidden = 0;
  std::size_t out = 0;
  friend bool operator==(const BlockWidth&, const BlockWidth&) = default;
};

// y = relu(W2 relu(W1 x + b1) + W3 x + b). (The paper writes b as a sum of two.)
// Parameters: W1 [in][hidden], b1 [hidden], W2 [hidden][out], W3 [in][out], b [out].
// Source: "Reformer: A Deep Learning Model for Runtime Selection of Convolution Kernels".
template <typename T>
[[nodiscard]] std::unique_ptr<Layer<T>> gamma_block(std::size_t inputs, BlockWidth width);

// y = relu(W2 relu(W1 x + b1) + b): a Γ-block without its second path.
// Parameters: W1 [in][hidden], b1 [hidden], W2 [hidden][out], b [out].
template <typename T>
[[nodiscard]] std::unique_ptr<Layer<T>> mlp_block(std::size_t inputs, BlockWidth width);

// y = relu(W x + b), or without the relu: into and out of a stack of transformer blocks.
// Parameters: W [in][out], b [out].
template <typename T>
[[nodiscard]] std::unique_ptr<Layer<T>> affine(std::size_t inputs, std::size_t outputs, bool relu);

// Sizes of a transformer block. A sample is `tokens` rows of `width` numbers.
struct TransformerShape {
  std::size_t tokens = 8;
  std::size_t width = 32;
  std::size_t heads = 4;
  std::size_t hidden = 128;  // of the feed-forward part
  friend bool operator==(const TransformerShape&, const TransformerShape&) = default;
};

// Pre-norm: z = x + attention(norm(x)) Wo; y = z + relu(norm(z) W1 + b1) W2 + b2.
// Parameters: gain1, shift1 [width]; Wq, Wk, Wv, Wo [width][width]; gain2, shift2 [width];
// W1 [width][hidden], b1 [hidden], W2 [hidden][width], b2 [width].
template <typename T>
[[nodiscard]] std::unique_ptr<Layer<T>> transformer_block(TransformerShape shape);

}  // namespace reformer::model
