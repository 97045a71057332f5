#include "model/network.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace reformer::model {
namespace {

std::size_t round_to_panel(double width) {
  return static_cast<std::size_t>(std::lround(width / 16)) * 16;
}

// As many parameters without the second path: in h' + h' out = in h + h out + in out.
std::size_t mlp_hidden(std::size_t in, BlockWidth width) {
  const auto i = static_cast<double>(in);
  const auto o = static_cast<double>(width.out);
  return round_to_panel(static_cast<double>(width.hidden) + i * o / (i + o));
}

NetworkShape shape_from(BlockKind block,
                        std::size_t blocks,
                        std::size_t inputs,
                        BlockWidth first,
                        BlockWidth second,
                        BlockWidth further,
                        BlockWidth last) {
  NetworkShape shape;
  shape.block = block;
  shape.embedding = last.out;
  if (block == BlockKind::kTransformer) {
    shape.transformer_blocks = blocks;
    return shape;
  }
  for (std::size_t i = 0; i + 1 < blocks; ++i) {
    shape.widths.push_back(i == 0 ? first : i == 1 ? second : further);
  }
  shape.widths.push_back(last);
  if (block == BlockKind::kMlp) {
    std::size_t in = inputs;
    for (BlockWidth& width : shape.widths) {
      width.hidden = mlp_hidden(in, width);
      in = width.out;
    }
  }
  return shape;
}

}  // namespace

NetworkShape paper_shape(BlockKind block, std::size_t blocks, std::size_t inputs) {
  return shape_from(block, blocks, inputs, {64, 128}, {256, 64}, {64, 64}, {64, 32});
}

NetworkShape default_shape(BlockKind block, std::size_t blocks, std::size_t inputs) {
  return shape_from(block, blocks, inputs, {64, 64}, {96, 64}, {64, 64}, {64, 64});
}

template <typename T>
std::vector<std::unique_ptr<Layer<T>>> make_layers(const NetworkShape& shape, std::size_t inputs) {
  std::vector<std::unique_ptr<Layer<T>>> layers;
  if (shape.block == BlockKind::kTransformer) {
    const std::size_t width = shape.transformer.tokens * shape.transformer.width;
    layers.push_back(affine<T>(inputs, width, false));
    for (std::size_t i = 0; i < shape.transformer_blocks; ++i) {
      layers.push_back(transformer_block<T>(shape.transformer));
    }
    layers.push_back(affine<T>(width, shape.embedding, true));
    return layers;
  }
  for (const BlockWidth& width : shape.widths) {
    layers.push_back(shape.block == BlockKind::kGamma ? gamma_block<T>(inputs, width)
                                                      : mlp_block<T>(inputs, width));
    inputs = width.out;
  }
  return layers;
}

template <typename T>
Network<T>::Network(const NetworkShape& shape, std::size_t inputs, const ConfigFeatures& features)
    : inputs_(inputs), features_(features), layers_(make_layers<T>(shape, inputs)) {
  for (const auto& layer : layers_) {
    trunk_parameters_ += layer->parameters();
  }
}

template <typename T>
void Network<T>::initialise(Random& random, std::span<T> parameters) const {
  T* next = parameters.data();
  for (const auto& layer : layers_) {
    layer->initialise(random, next);
    next += layer->parameters();
  }
  // Small vectors: every class starts nearly equally likely.
  const double scale = 0.5 / static_cast<double>(embedding());
  for (std::size_t i = 0; i < vector_parameters(); ++i) {
    const bool bias = i % row_width() == embedding();
    next[i] = bias ? T(0) : static_cast<T>(scale * random.normal());
  }
}

template <typename T>
const T* Network<T>::forward(std::span<const T> parameters,
                             std::size_t samples,
                             const T* x,
                             Workspace& workspace) const {
  workspace.outputs.resize(layers_.size());
  workspace.caches.resize(layers_.size());
  const T* p = parameters.data();
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    workspace.outputs[i].resize(samples * layers_[i]->outputs());
    workspace.caches[i].resize(samples * layers_[i]->cache_per_sample());
    layers_[i]->forward(p, samples, x, workspace.outputs[i].data(), workspace.caches[i].data());
    p += layers_[i]->parameters();
    x = workspace.outputs[i].data();
  }
  return x;
}

template <typename T>
void Network<T>::backward(std::span<const T> parameters,
                          std::size_t samples,
                          const T* x,
                          std::span<T> d_embedding,
                          Workspace& workspace,
                          std::span<T> gradient) const {
  workspace.dy.assign(d_embedding.begin(), d_embedding.end());
  std::size_t offset = trunk_parameters_;
  for (std::size_t i = layers_.size(); i-- > 0;) {
    const Layer<T>& layer = *layers_[i];
    offset -= layer.parameters();
    const T* input = i > 0 ? workspace.outputs[i - 1].data() : x;
    workspace.dx.resize(samples * layer.inputs());
    layer.backward(parameters.data() + offset,
                   samples,
                   input,
                   workspace.outputs[i].data(),
                   workspace.caches[i].data(),
                   workspace.dy.data(),
                   i > 0 ? workspace.dx.data() : nullptr,
                   gradient.data() + offset);
    std::swap(workspace.dy, workspace.dx);
  }
}

template <typename T>
void Network<T>::compute_rows(std::span<const T> parameters, std::span<T> rows) const {
  const std::size_t width = row_width();
  const T* vectors = parameters.data() + trunk_parameters_;
  std::ranges::fill(rows, T(0));
  for (std::size_t r = 0; r < features_.rows(); ++r) {
    T* row = rows.data() + r * width;
    for (const auto& [feature, weight] : features_.row(r)) {
      const T* vector = vectors + feature * width;
      for (std::size_t i = 0; i < width; ++i) {
        row[i] += static_cast<T>(weight) * vector[i];
      }
    }
  }
}

template <typename T>
void Network<T>::scatter_rows(std::span<const T> row_gradient, std::span<T> gradient) const {
  const std::size_t width = row_width();
  T* vectors = gradient.data() + trunk_parameters_;
  for (std::size_t r = 0; r < features_.rows(); ++r) {
    const T* row = row_gradient.data() + r * width;
    for (const auto& [feature, weight] : features_.row(r)) {
      T* vector = vectors + feature * width;
      for (std::size_t i = 0; i < width; ++i) {
        vector[i] += static_cast<T>(weight) * row[i];
      }
    }
  }
}

template std::vector<std::unique_ptr<Layer<float>>> make_layers<float>(const NetworkShape&,
                                                                       std::size_t);
template std::vector<std::unique_ptr<Layer<double>>> make_layers<double>(const NetworkShape&,
                                                                         std::size_t);
template class Network<float>;
template class Network<double>;

}  // namespace reformer::model
