#include "model/layers.h"

#include "model/linear_algebra.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace reformer::model {
namespace {

constexpr std::array<std::string_view, 3> kBlockNames = {"gamma", "mlp", "transformer"};

// He's initialisation for a matrix of `count` weights whose outputs sum `fan_in` products.
template <typename T>
void initialise_weights(Random& random, std::size_t fan_in, std::size_t count, T* weights) {
  const double scale = std::sqrt(2.0 / static_cast<double>(fan_in));
  for (std::size_t i = 0; i < count; ++i) {
    weights[i] = static_cast<T>(scale * random.normal());
  }
}

// Both paths, or only the first: what gamma_block and mlp_block share.
template <typename T>
class TwoLayerBlock final : public Layer<T> {
 public:
  TwoLayerBlock(std::size_t inputs, BlockWidth width, bool second_path)
      : in_(inputs), hidden_(width.hidden), out_(width.out), second_path_(second_path) {}

  std::size_t inputs() const override { return in_; }
  std::size_t outputs() const override { return out_; }
  std::size_t parameters() const override { return bias_offset() + out_; }
  std::size_t cache_per_sample() const override { return 2 * hidden_; }

  void initialise(Random& random, T* p) const override {
    std::fill_n(p, parameters(), T(0));
    // Two summands share the variance of the output.
    const std::size_t paths = second_path_ ? 2 : 1;
    initialise_weights(random, in_, in_ * hidden_, p);
    initialise_weights(random, paths * hidden_, hidden_ * out_, p + w2_offset());
    if (second_path_) {
      initialise_weights(random, paths * in_, in_ * out_, p + w3_offset());
    }
  }

  void forward(const T* p, std::size_t samples, const T* x, T* y, T* cache) const override {
    T* h = cache;  // [samples][hidden]
    fill_rows(p + b1_offset(), samples, hidden_, h);
    multiply_nn(samples, hidden_, in_, x, p, h, Accumulate::kYes);
    relu(h, samples * hidden_);
    fill_rows(p + bias_offset(), samples, out_, y);
    multiply_nn(samples, out_, hidden_, h, p + w2_offset(), y, Accumulate::kYes);
    if (second_path_) {
      multiply_nn(samples, out_, in_, x, p + w3_offset(), y, Accumulate::kYes);
    }
    relu(y, samples * out_);
  }

  void backward(const T* p,
                std::size_t samples,
                const T* x,
                const T* y,
                T* cache,
                T* dy,
                T* dx,
                T* g) const override {
    const T* h = cache;
    T* dh = cache + samples * hidden_;  // the cache's second half
    relu_backward(y, samples * out_, dy);
    multiply_tn(hidden_, out_, samples, h, dy, g + w2_offset(), Accumulate::kYes);
    add_column_sums(dy, samples, out_, g + bias_offset());
    multiply_nt(samples, hidden_, out_, dy, p + w2_offset(), dh);
    relu_backward(h, samples * hidden_, dh);
    multiply_tn(in_, hidden_, samples, x, dh, g, Accumulate::kYes);
    add_column_sums(dh, samples, hidden_, g + b1_offset());
    if (second_path_) {
      multiply_tn(in_, out_, samples, x, dy, g + w3_offset(), Accumulate::kYes);
    }
    if (dx != nullptr) {
      multiply_nt(samples, in_, hidden_, dh, p, dx);
      if (second_path_) {
        multiply_nt(samples, in_, out_, dy, p + w3_offset(), dx, Accumulate::kYes);
      }
    }
  }

 private:
  std::size_t b1_offset() const { return in_ * hidden_; }
  std::size_t w2_offset() const { return b1_offset() + hidden_; }
  std::size_t w3_offset() const { return w2_offset() + hidden_ * out_; }
  std::size_t bias_offset() const { return w3_offset() + (second_path_ ? in_ * out_ : 0); }

  std::size_t in_;
  std::size_t hidden_;
  std::size_t out_;
  bool second_path_;
};

template <typename T>
class Affine final : public Layer<T> {
 public:
  Affine(std::size_t inputs, std::size_t outputs, bool relu_after)
      : in_(inputs), out_(outputs), relu_after_(relu_after) {}

  std::size_t inputs() const override { return in_; }
  std::size_t outputs() const override { return out_; }
  std::size_t parameters() const override { return (in_ + 1) * out_; }
  std::size_t cache_per_sample() const override { return 0; }

  void initialise(Random& random, T* p) const override {
    initialise_weights(random, in_, in_ * out_, p);
    std::fill_n(p + in_ * out_, out_, T(0));
  }

  void forward(const T* p, std::size_t samples, const T* x, T* y, T*) const override {
    fill_rows(p + in_ * out_, samples, out_, y);
    multiply_nn(samples, out_, in_, x, p, y, Accumulate::kYes);
    if (relu_after_) {
      relu(y, samples * out_);
    }
  }

  void backward(const T* p, std::size_t samples, const T* x, const T* y, T*, T* dy, T* dx, T* g)
      const override {
    if (relu_after_) {
      relu_backward(y, samples * out_, dy);
    }
    multiply_tn(in_, out_, samples, x, dy, g, Accumulate::kYes);
    add_column_sums(dy, samples, out_, g + in_ * out_);
    if (dx != nullptr) {
      multiply_nt(samples, in_, out_, dy, p, dx);
    }
  }

 private:
  std::size_t in_;
  std::size_t out_;
  bool relu_after_;
};

}  // namespace

std::string_view to_string(BlockKind kind) {
  return kBlockNames[static_cast<std::size_t>(kind)];
}

std::optional<BlockKind> parse_block_kind(std::string_view text) {
  const auto found = std::ranges::find(kBlockNames, text);
  if (found == kBlockNames.end()) {
    return std::nullopt;
  }
  return static_cast<BlockKind>(found - kBlockNames.begin());
}

template <typename T>
std::unique_ptr<Layer<T>> gamma_block(std::size_t inputs, BlockWidth width) {
  return std::make_unique<TwoLayerBlock<T>>(inputs, width, true);
}

template <typename T>
std::unique_ptr<Layer<T>> mlp_block(std::size_t inputs, BlockWidth width) {
  return std::make_unique<TwoLayerBlock<T>>(inputs, width, false);
}

template <typename T>
std::unique_ptr<Layer<T>> affine(std::size_t inputs, std::size_t outputs, bool relu) {
  return std::make_unique<Affine<T>>(inputs, outputs, relu);
}

template std::unique_ptr<Layer<float>> gamma_block<float>(std::size_t, BlockWidth);
template std::unique_ptr<Layer<double>> gamma_block<double>(std::size_t, BlockWidth);
template std::unique_ptr<Layer<float>> mlp_block<float>(std::size_t, BlockWidth);
template std::unique_ptr<Layer<double>> mlp_block<double>(std::size_t, BlockWidth);
template std::unique_ptr<Layer<float>> affine<float>(std::size_t, std::size_t, bool);
template std::unique_ptr<Layer<double>> affine<double>(std::size_t, std::size_t, bool);

}  // namespace reformer::model
