#pragma once

#include "model/class_list.h"
#include "model/layers.h"
#include "model/random.h"

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

namespace reformer::model {

// What a network looks like; part of the model file.
struct NetworkShape {
  BlockKind block = BlockKind::kGamma;
  // Γ and MLP: one entry a block. The last block's output is the problem's embedding.
  std::vector<BlockWidth> widths;
  // Transformer: how many blocks of what shape, between an affine map in and one out, the latter
  // onto `embedding` numbers.
  std::size_t transformer_blocks = 0;
  TransformerShape transformer;
  std::size_t embedding = 0;

  [[nodiscard]] std::size_t blocks() const {
    return block == BlockKind::kTransformer ? transformer_blocks : widths.size();
  }
  friend bool operator==(const NetworkShape&, const NetworkShape&) = default;
};

// The paper's widths for L = 3, (64, 128), (256, 64), (64, 32); fewer and more blocks drop the
// middle or repeat a (64, 64). MLP blocks get a wider inner layer in place of the second path, and
// transformer blocks are sized so that parameters stay comparable.
[[nodiscard]] NetworkShape paper_shape(BlockKind block, std::size_t blocks, std::size_t inputs);
// The project's own widths: a little narrower in the middle, wider at the end.
[[nodiscard]] NetworkShape default_shape(BlockKind block, std::size_t blocks, std::size_t inputs);

// The trunk's layers for `inputs` numbers.
template <typename T>
[[nodiscard]] std::vector<std::unique_ptr<Layer<T>>> make_layers(const NetworkShape& shape,
                                                                 std::size_t inputs);

// The trainable network: trunk, and the vectors that class rows are sums of. One flat parameter
// array: the layers' in order, then vectors [features][embedding + 1], the last column being the
// bias.
//
// Immutable; any number of threads, each with its own Workspace.
template <typename T>
class Network {
 public:
  Network(const NetworkShape& shape, std::size_t inputs, const ConfigFeatures& features);

  // Activations of one batch.
  struct Workspace {
    std::vector<std::vector<T>> outputs;  // of each layer
    std::vector<std::vector<T>> caches;
    std::vector<T> dy;
    std::vector<T> dx;
  };

  [[nodiscard]] std::size_t inputs() const { return inputs_; }
  [[nodiscard]] std::size_t embedding() const { return layers_.back()->outputs(); }
  [[nodiscard]] std::size_t row_width() const { return embedding() + 1; }
  [[nodiscard]] std::size_t parameters() const { return trunk_parameters_ + vector_parameters(); }
  [[nodiscard]] std::size_t trunk_parameters() const { return trunk_parameters_; }
  // First parameter of the vectors that belong to one row alone.
  [[nodiscard]] std::size_t first_own_parameter() const {
    return trunk_parameters_ + features_.first_own_feature() * row_width();
  }

  void initialise(Random& random, std::span<T> parameters) const;

  // Embeddings [samples][embedding] of x [samples][inputs]; they live in the workspace.
  [[nodiscard]] const T* forward(std::span<const T> parameters,
                                 std::size_t samples,
                                 const T* x,
                                 Workspace& workspace) const;
  // After forward with the same arguments. `d_embedding` is overwritten; adds to `gradient`.
  void backward(std::span<const T> parameters,
                std::size_t samples,
                const T* x,
                std::span<T> d_embedding,
                Workspace& workspace,
                std::span<T> gradient) const;

  // Rows [rows][row_width] of all classes.
  void compute_rows(std::span<const T> parameters, std::span<T> rows) const;
  // Adds the gradient of the rows to that of the vectors.
  void scatter_rows(std::span<const T> row_gradient, std::span<T> gradient) const;

 private:
  [[nodiscard]] std::size_t vector_parameters() const { return features_.features() * row_width(); }

  std::size_t inputs_;
  const ConfigFeatures& features_;
  std::vector<std::unique_ptr<Layer<T>>> layers_;
  std::size_t trunk_parameters_ = 0;
};

}  // namespace reformer::model
