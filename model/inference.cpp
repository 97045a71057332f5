#include "model/inference.h"

#include <algorithm>
#include <cmath>

namespace reformer::model {
namespace {

constexpr float kNormEpsilon = 1e-5F;
// Logit of the padding behind a combination's last class.
constexpr float kNoClass = -1e30F;

// out[row] = (x - mean) / deviation * gain + shift.
void normalise_rows(const float* x,
                    std::size_t rows,
                    const std::vector<float>& gain,
                    const std::vector<float>& shift,
                    float* out) {
  const std::size_t width = gain.size();
  for (std::size_t row = 0; row < rows; ++row, x += width, out += width) {
    float mean = 0;
    for (std::size_t i = 0; i < width; ++i) {
      mean += x[i];
    }
    mean /= static_cast<float>(width);
    float variance = 0;
    for (std::size_t i = 0; i < width; ++i) {
      variance += (x[i] - mean) * (x[i] - mean);
    }
    const float scale = 1 / std::sqrt(variance / static_cast<float>(width) + kNormEpsilon);
    for (std::size_t i = 0; i < width; ++i) {
      out[i] = (x[i] - mean) * scale * gain[i] + shift[i];
    }
  }
}

}  // namespace

InferenceNetwork::InferenceNetwork(const ModelData& data, const Kernels& kernels)
    : kernels_(kernels), shape_(data.shape), embedding_(data.embedding()) {
  if (shape_.block == BlockKind::kTransformer) {
    build_transformer(data);
  } else {
    build_blocks(data);
  }
  build_heads(data);
}

const float* InferenceNetwork::fold_inputs(const ModelData& data,
                                           const float* weights,
                                           const float* bias,
                                           std::size_t columns) {
  std::vector<float> folded;
  const std::size_t width = padded_columns(columns);
  for (std::size_t c = 0; c < data.classes.combinations.size(); ++c) {
    const std::vector<float> input = combination_input(data.classes.combinations, c);
    std::vector<float> sum(width);
    if (bias != nullptr) {
      std::copy_n(bias, columns, sum.begin());
    }
    for (std::size_t i = 0; i < input.size(); ++i) {
      if (input[i] == 0) {
        continue;
      }
      const float* row = weights + (kNumericFeatures + i) * columns;
      for (std::size_t j = 0; j < columns; ++j) {
        // NOLINTNEXTLINE(clang-analyzer-core.NullDereference)
        sum[j] += input[i] * row[j];
      }
    }
    folded.insert(folded.end(), sum.begin(), sum.end());
  }
  return arena_.keep(folded);
}

void InferenceNetwork::build_blocks(const ModelData& data) {
  const bool gamma = shape_.block == BlockKind::kGamma;
  const float* p = data.trunk.data();
  std::size_t in = input_width(data.classes.combinations.size());
  std::size_t offset = 0;
  for (std::size_t i = 0; i < shape_.widths.size(); ++i) {
    const auto [hidden, out] = shape_.widths[i];
    const float* w1 = p;
    const float* b1 = w1 + in * hidden;
    const float* w2 = b1 + hidden;
    const float* w3 = w2 + hidden * out;
    const float* bias = w3 + (gamma ? in * out : 0);
    p = bias + out;
    // The first block sees the features only: the rest of its input is folded into the bias.
    const std::size_t seen = i == 0 ? kNumericFeatures : in;
    const std::size_t inner_width = padded_columns(hidden);
    Block block;
    block.inner = pack(arena_, {w1, seen * hidden}, seen, hidden);
    std::vector<float> stacked(inner_width * out);
    std::copy_n(w2, hidden * out, stacked.begin());
    if (gamma) {
      stacked.insert(stacked.end(), w3, w3 + seen * out);
    }
    const std::size_t stacked_rows = inner_width + (gamma ? seen : 0);
    block.outer = pack(arena_, stacked, stacked_rows, out);
    if (i == 0) {
      folded_inner_ = fold_inputs(data, w1, b1, hidden);
      if (gamma) {
        folded_outer_ = fold_inputs(data, w3, bias, out);
      }
    } else {
      block.inner.bias = arena_.keep(padded({b1, hidden}));
    }
    if (i > 0 || !gamma) {
      block.outer.bias = arena_.keep(padded({bias, out}));
    }
    block.stride = inner_width + padded_columns(seen);
    block.offset = offset;
    offset += kMaxBatch * block.stride;
    blocks_.push_back(block);
    in = out;
  }
  embedding_offset_ = offset;
}

void InferenceNetwork::build_transformer(const ModelData& data) {
  const TransformerShape& s = shape_.transformer;
  const std::size_t in = input_width(data.classes.combinations.size());
  const std::size_t width = s.tokens * s.width;
  const float* p = data.trunk.data();
  enter_ = pack(arena_, {p, kNumericFeatures * width}, kNumericFeatures, width);
  folded_inner_ = fold_inputs(data, p, p + in * width, width);
  p += (in + 1) * width;
  const auto take = [&p](std::size_t count) {
    const std::vector<float> values(p, p + count);
    p += count;
    return values;
  };
  const std::size_t square = s.width * s.width;
  for (std::size_t i = 0; i < shape_.transformer_blocks; ++i) {
    TransformerBlock block;
    block.gain1 = take(s.width);
    block.shift1 = take(s.width);
    std::vector<float> qkv(3 * square);
    for (std::size_t part = 0; part < 3; ++part, p += square) {
      for (std::size_t row = 0; row < s.width; ++row) {
        std::copy_n(p + row * s.width, s.width, &qkv[(row * 3 + part) * s.width]);
      }
    }
    block.qkv = pack(arena_, qkv, s.width, 3 * s.width);
    block.qkv.bias = arena_.keep(std::vector<float>(3 * s.width));
    block.out = pack(arena_, take(square), s.width, s.width);
    block.gain2 = take(s.width);
    block.shift2 = take(s.width);
    block.hidden = pack(arena_, take(s.width * s.hidden), s.width, s.hidden);
    block.hidden.bias = arena_.keep(take(s.hidden));
    block.project = pack(arena_, take(s.hidden * s.width), s.hidden, s.width);
    block.project.bias = arena_.keep(take(s.width));
    transformer_blocks_.push_back(std::move(block));
  }
  leave_ = pack(arena_, take(width * embedding_), width, embedding_);
  leave_.bias = arena_.keep(padded({p, embedding_}));
}

void InferenceNetwork::build_heads(const ModelData& data) {
  const std::size_t width = embedding_ + 1;
  for (const std::vector<std::uint32_t>& rows : data.combination_rows) {
    const std::size_t columns = padded_columns(rows.size());
    std::vector<float> bias(columns, kNoClass);
    std::vector<float> weights(embedding_ * columns);
    for (std::size_t r = 0; r < rows.size(); ++r) {
      const float* row = &data.rows[rows[r] * width];
      float* panel = &weights[r / kPanelColumns * kPanelColumns * embedding_];
      for (std::size_t i = 0; i < embedding_; ++i) {
        panel[i * kPanelColumns + r % kPanelColumns] = row[i];
      }
      bias[r] = row[embedding_];
    }
    PackedMatrix dense = keep_panels(arena_, weights, embedding_, columns);
    dense.bias = arena_.keep(bias);
    logit_stride_ = std::max(logit_stride_, dense.columns);
    heads_.push_back(dense);
  }
}

std::size_t InferenceNetwork::workspace_floats() const {
  if (shape_.block != BlockKind::kTransformer) {
    return embedding_offset_ + kMaxBatch * padded_columns(embedding_);
  }
  const TransformerShape& s = shape_.transformer;
  return kMaxBatch * (s.tokens * (6 * s.width + s.hidden) + padded_columns(embedding_));
}

const float* InferenceNetwork::embed(std::span<const std::uint32_t> combinations,
                                     const float* features,
                                     std::span<float> workspace) const {
  return shape_.block == BlockKind::kTransformer
             ? embed_transformer(combinations, features, workspace)
             : embed_blocks(combinations, features, workspace);
}

const float* InferenceNetwork::embed_blocks(std::span<const std::uint32_t> combinations,
                                            const float* features,
                                            std::span<float> workspace) const {
  const std::size_t samples = combinations.size();
  const Block& first = blocks_.front();
  float* buffer = workspace.data() + first.offset;
  for (std::size_t s = 0; s < samples; ++s) {
    float* row = buffer + s * first.stride;
    std::copy_n(folded_inner_ + combinations[s] * first.inner.columns, first.inner.columns, row);
    std::copy_n(features + s * kNumericFeatures, kNumericFeatures, row + first.inner.columns);
  }
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    const Block& block = blocks_[i];
    float* in = workspace.data() + block.offset;
    const bool last = i + 1 == blocks_.size();
    float* out = workspace.data() +
                 (last ? embedding_offset_ : blocks_[i + 1].offset + blocks_[i + 1].inner.columns);
    const std::size_t out_stride = last ? block.outer.columns : blocks_[i + 1].stride;
    multiply(kernels_,
             block.inner,
             in + block.inner.columns,
             block.stride,
             in,
             block.stride,
             samples,
             Activation::kRelu);
    if (block.outer.bias == nullptr) {
      for (std::size_t s = 0; s < samples; ++s) {
        std::copy_n(folded_outer_ + combinations[s] * block.outer.columns,
                    block.outer.columns,
                    out + s * out_stride);
      }
    }
    multiply(kernels_, block.outer, in, block.stride, out, out_stride, samples, Activation::kRelu);
  }
  return workspace.data() + embedding_offset_;
}

const float* InferenceNetwork::embed_transformer(std::span<const std::uint32_t> combinations,
                                                 const float* features,
                                                 std::span<float> workspace) const {
  const TransformerShape& s = shape_.transformer;
  const std::size_t samples = combinations.size();
  const std::size_t width = s.tokens * s.width;
  const std::size_t rows = samples * s.tokens;
  float* z = workspace.data();            // [samples][tokens][width]
  float* normed = z + kMaxBatch * width;  // also the attention's result
  float* qkv = normed + kMaxBatch * width;
  float* hidden = qkv + kMaxBatch * 3 * width;
  float* out = hidden + kMaxBatch * s.tokens * s.hidden;
  for (std::size_t i = 0; i < samples; ++i) {
    std::copy_n(folded_inner_ + combinations[i] * width, width, z + i * width);
  }
  multiply(kernels_, enter_, features, kNumericFeatures, z, width, samples, Activation::kNone);
  for (const TransformerBlock& block : transformer_blocks_) {
    normalise_rows(z, rows, block.gain1, block.shift1, normed);
    multiply(kernels_, block.qkv, normed, s.width, qkv, 3 * s.width, rows, Activation::kNone);
    attend(qkv, samples, normed);
    multiply(kernels_, block.out, normed, s.width, z, s.width, rows, Activation::kNone);
    normalise_rows(z, rows, block.gain2, block.shift2, normed);
    multiply(kernels_, block.hidden, normed, s.width, hidden, s.hidden, rows, Activation::kRelu);
    multiply(kernels_, block.project, hidden, s.hidden, normed, s.width, rows, Activation::kNone);
    for (std::size_t i = 0; i < rows * s.width; ++i) {
      z[i] += normed[i];
    }
  }
  multiply(kernels_, leave_, z, width, out, leave_.columns, samples, Activation::kRelu);
  return out;
}

void InferenceNetwork::attend(const float* qkv, std::size_t samples, float* mixed) const {
  constexpr std::size_t kMaxTokens = 64;
  const TransformerShape& s = shape_.transformer;
  const std::size_t hw = s.width / s.heads;
  const std::size_t stride = 3 * s.width;
  const float scale = 1 / std::sqrt(static_cast<float>(hw));
  float weights[kMaxTokens];
  for (std::size_t at = 0; at < samples * s.tokens * s.heads; ++at) {
    const std::size_t head = at % s.heads;
    const std::size_t row = at / s.heads;
    const float* first = qkv + row / s.tokens * s.tokens * stride + head * hw;
    const float* q = qkv + row * stride + head * hw;
    float largest = -1e30F;
    for (std::size_t j = 0; j < s.tokens; ++j) {
      const float* k = first + j * stride + s.width;
      float sum = 0;
      for (std::size_t d = 0; d < hw; ++d) {
        sum += q[d] * k[d];
      }
      weights[j] = sum * scale;
      largest = std::max(largest, weights[j]);
    }
    for (std::size_t j = 0; j < s.tokens; ++j) {
      weights[j] -= largest;
    }
    kernels_.exp(weights, s.tokens);
    float total = 0;
    for (std::size_t j = 0; j < s.tokens; ++j) {
      total += weights[j];
    }
    float* out = mixed + row * s.width + head * hw;
    std::fill_n(out, hw, 0.0F);
    for (std::size_t j = 0; j < s.tokens; ++j) {
      const float* v = first + j * stride + 2 * s.width;
      for (std::size_t d = 0; d < hw; ++d) {
        out[d] += weights[j] / total * v[d];
      }
    }
  }
}

void InferenceNetwork::prefetch(std::uint32_t combination) const {
  constexpr std::size_t kLine = 64;
  const PackedMatrix& head = heads_[combination];
  const std::size_t count = head.rows * head.columns;
  const auto* first = head.half_weights != nullptr
                          ? reinterpret_cast<const char*>(head.half_weights)
                          : reinterpret_cast<const char*>(head.weights);
  const std::size_t bytes =
      count * (head.half_weights != nullptr ? sizeof(std::uint16_t) : sizeof(float));
  for (std::size_t at = 0; at < bytes; at += kLine) {
    __builtin_prefetch(first + at, 0, 2);
  }
}

void InferenceNetwork::logits(std::uint32_t combination,
                              const float* embeddings,
                              std::size_t samples,
                              float* out) const {
  multiply(kernels_,
           heads_[combination],
           embeddings,
           padded_columns(embedding_),
           out,
           logit_stride_,
           samples,
           Activation::kNone);
}

}  // namespace reformer::model
