#pragma once

#include "model/kernels.h"
#include "model/model_data.h"
#include "model/packed_layer.h"
#include "model/weight_arena.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace reformer::model {

// The trained network as it answers: weights packed for the host's instruction set, the inputs that
// are constant over a combination folded into the first layer's bias, each combination's class rows
// contiguous. Immutable; any number of threads, each with its own memory. Weights that float16 can
// hold are kept as that.
class InferenceNetwork {
 public:
  static constexpr std::size_t kMaxBatch = 64;

  InferenceNetwork(const ModelData& data, const Kernels& kernels);

  // Floats of working memory for a batch of kMaxBatch.
  [[nodiscard]] std::size_t workspace_floats() const;
  // Floats between the logits of two samples: the largest combination's, padded.
  [[nodiscard]] std::size_t logit_stride() const { return logit_stride_; }
  [[nodiscard]] std::size_t embedding() const { return embedding_; }

  // Embeddings [samples][embedding] of normalised features [samples][kNumericFeatures]; at most
  // kMaxBatch samples. No allocation.
  const float* embed(std::span<const std::uint32_t> combinations,
                     const float* features,
                     std::span<float> workspace) const;
  // Asks for a combination's class rows to be brought into the cache, while something else is done.
  void prefetch(std::uint32_t combination) const;
  // Logits [samples][logit_stride] of samples of one combination.
  void logits(std::uint32_t combination,
              const float* embeddings,
              std::size_t samples,
              float* out) const;

 private:
  // Inner and outer map of a Γ or MLP block. The block's buffer holds [inner | input] for each
  // sample, so that the outer map of a Γ-block is one product.
  struct Block {
    PackedMatrix inner;
    PackedMatrix outer;
    std::size_t stride = 0;
    std::size_t offset = 0;  // of the buffer in the workspace
  };
  struct TransformerBlock {
    std::vector<float> gain1, shift1, gain2, shift2;
    PackedMatrix qkv, out, hidden, project;
  };

  void build_blocks(const ModelData& data);
  void build_transformer(const ModelData& data);
  void build_heads(const ModelData& data);
  // For each combination, what its constant inputs add to the first layer's bias.
  const float* fold_inputs(const ModelData& data,
                           const float* weights,
                           const float* bias,
                           std::size_t columns);
  const float* embed_blocks(std::span<const std::uint32_t> combinations,
                            const float* features,
                            std::span<float> workspace) const;
  const float* embed_transformer(std::span<const std::uint32_t> combinations,
                                 const float* features,
                                 std::span<float> workspace) const;
  void attend(const float* qkv, std::size_t samples, float* mixed) const;

  const Kernels& kernels_;
  WeightArena arena_;
  NetworkShape shape_;
  std::size_t embedding_ = 0;
  std::size_t logit_stride_ = 0;
  std::vector<Block> blocks_;
  std::size_t embedding_offset_ = 0;
  // First layer's bias for each combination: of the inner map, and of the outer one (Γ), or of the
  // transformer's input.
  const float* folded_inner_ = nullptr;
  const float* folded_outer_ = nullptr;
  PackedMatrix enter_;
  PackedMatrix leave_;
  std::vector<TransformerBlock> transformer_blocks_;
  std::vector<PackedMatrix> heads_;  // of each combination
};

}  // namespace reformer::model
