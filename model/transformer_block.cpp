#include "model/layers.h"
#include "model/linear_algebra.h"

#include <algorithm>
#include <cmath>

namespace reformer::model {
namespace {

constexpr double kNormEpsilon = 1e-5;

// Offsets of the parameters, in the order that layers.h documents.
struct Offsets {
  explicit Offsets(const TransformerShape& s) {
    std::size_t next = 0;
    const auto take = [&next](std::size_t count) {
      const std::size_t offset = next;
      next += count;
      return offset;
    };
    gain1 = take(s.width);
    shift1 = take(s.width);
    wq = take(s.width * s.width);
    wk = take(s.width * s.width);
    wv = take(s.width * s.width);
    wo = take(s.width * s.width);
    gain2 = take(s.width);
    shift2 = take(s.width);
    w1 = take(s.width * s.hidden);
    b1 = take(s.hidden);
    w2 = take(s.hidden * s.width);
    b2 = take(s.width);
    end = next;
  }
  std::size_t gain1, shift1, wq, wk, wv, wo, gain2, shift2, w1, b1, w2, b2, end;
};

// What forward keeps, and room for backward. All [samples * tokens][...].
template <typename T>
struct Cache {
  Cache(const TransformerShape& s, std::size_t samples, T* memory) {
    const std::size_t rows = samples * s.tokens;
    const auto take = [&memory](std::size_t count) {
      T* start = memory;
      memory += count;
      return start;
    };
    norm1 = take(rows * s.width);
    normed1 = take(rows * s.width);
    q = take(rows * s.width);
    k = take(rows * s.width);
    v = take(rows * s.width);
    mixed = take(rows * s.width);
    z = take(rows * s.width);
    norm2 = take(rows * s.width);
    normed2 = take(rows * s.width);
    hidden = take(rows * s.hidden);
    attention = take(rows * s.heads * s.tokens);
    scale1 = take(rows);
    scale2 = take(rows);
    dz = take(rows * s.width);
    dq = take(rows * s.width);
    dk = take(rows * s.width);
    dv = take(rows * s.width);
    dmixed = take(rows * s.width);
    dhidden = take(rows * s.hidden);
  }
  static std::size_t per_sample(const TransformerShape& s) {
    return s.tokens * (14 * s.width + 2 * s.hidden + s.heads * s.tokens + 2);
  }
  T *norm1, *normed1, *q, *k, *v, *mixed, *z, *norm2, *normed2, *hidden, *attention;
  T *scale1, *scale2, *dz, *dq, *dk, *dv, *dmixed, *dhidden;
};

// norm = (x - mean) * scale, scale = 1 / sqrt(variance + epsilon); out = norm * gain + shift.
template <typename T>
void normalise(const T* x,
               const T* gain,
               const T* shift,
               std::size_t rows,
               std::size_t width,
               T* norm,
               T* scale,
               T* out) {
  for (std::size_t row = 0; row < rows; ++row) {
    const T* xr = x + row * width;
    T mean = 0;
    for (std::size_t i = 0; i < width; ++i) {
      mean += xr[i];
    }
    mean /= static_cast<T>(width);
    T variance = 0;
    for (std::size_t i = 0; i < width; ++i) {
      variance += (xr[i] - mean) * (xr[i] - mean);
    }
    variance /= static_cast<T>(width);
    scale[row] = T(1) / std::sqrt(variance + static_cast<T>(kNormEpsilon));
    for (std::size_t i = 0; i < width; ++i) {
      norm[row * width + i] = (xr[i] - mean) * scale[row];
      out[row * width + i] = norm[row * width + i] * gain[i] + shift[i];
    }
  }
}

// Adds to dx what `d`, the gradient of normalise's output, brings; and to the gradients of gain,
// shift.
template <typename T>
void normalise_backward(const T* norm,
                        const T* scale,
                        const T* gain,
                        std::size_t rows,
                        std::size_t width,
                        const T* d,
                        T* dgain,
                        T* dshift,
                        T* dx) {
  for (std::size_t row = 0; row < rows; ++row) {
    const T* nr = norm + row * width;
    const T* dr = d + row * width;
    T mean = 0;
    T projection = 0;
    for (std::size_t i = 0; i < width; ++i) {
      dgain[i] += dr[i] * nr[i];
      dshift[i] += dr[i];
      mean += dr[i] * gain[i];
      projection += dr[i] * gain[i] * nr[i];
    }
    mean /= static_cast<T>(width);
    projection /= static_cast<T>(width);
    for (std::size_t i = 0; i < width; ++i) {
      dx[row * width + i] += scale[row] * (dr[i] * gain[i] - mean - nr[i] * projection);
    }
  }
}

template <typename T>
T dot(const T* a, const T* b, std::size_t count) {
  T sum = 0;
  for (std::size_t i = 0; i < count; ++i) {
    sum += a[i] * b[i];
  }
  return sum;
}

template <typename T>
void add_scaled(T factor, const T* x, std::size_t count, T* y) {
  for (std::size_t i = 0; i < count; ++i) {
    y[i] += factor * x[i];
  }
}

template <typename T>
void softmax(T* x, std::size_t count) {
  const T largest = *std::max_element(x, x + count);
  T sum = 0;
  for (std::size_t i = 0; i < count; ++i) {
    x[i] = std::exp(x[i] - largest);
    sum += x[i];
  }
  for (std::size_t i = 0; i < count; ++i) {
    x[i] /= sum;
  }
}

template <typename T>
class TransformerBlock final : public Layer<T> {
 public:
  explicit TransformerBlock(TransformerShape shape) : s_(shape), o_(shape) {}

  std::size_t inputs() const override { return s_.tokens * s_.width; }
  std::size_t outputs() const override { return inputs(); }
  std::size_t parameters() const override { return o_.end; }
  std::size_t cache_per_sample() const override { return Cache<T>::per_sample(s_); }

  void initialise(Random& random, T* p) const override {
    std::fill_n(p, o_.end, T(0));
    std::fill_n(p + o_.gain1, s_.width, T(1));
    std::fill_n(p + o_.gain2, s_.width, T(1));
    const auto fill = [&](std::size_t offset, std::size_t rows, std::size_t columns) {
      const double scale = std::sqrt(1.0 / static_cast<double>(rows));
      for (std::size_t i = 0; i < rows * columns; ++i) {
        p[offset + i] = static_cast<T>(scale * random.normal());
      }
    };
    for (const std::size_t offset : {o_.wq, o_.wk, o_.wv, o_.wo}) {
      fill(offset, s_.width, s_.width);
    }
    fill(o_.w1, s_.width, s_.hidden);
    fill(o_.w2, s_.hidden, s_.width);
  }

  void forward(const T* p, std::size_t samples, const T* x, T* y, T* memory) const override {
    const Cache<T> c(s_, samples, memory);
    const std::size_t rows = samples * s_.tokens;
    const std::size_t w = s_.width;
    normalise(x, p + o_.gain1, p + o_.shift1, rows, w, c.norm1, c.scale1, c.normed1);
    multiply_nn(rows, w, w, c.normed1, p + o_.wq, c.q);
    multiply_nn(rows, w, w, c.normed1, p + o_.wk, c.k);
    multiply_nn(rows, w, w, c.normed1, p + o_.wv, c.v);
    attend(samples, c);
    std::copy_n(x, rows * w, c.z);
    multiply_nn(rows, w, w, c.mixed, p + o_.wo, c.z, Accumulate::kYes);

    normalise(c.z, p + o_.gain2, p + o_.shift2, rows, w, c.norm2, c.scale2, c.normed2);
    fill_rows(p + o_.b1, rows, s_.hidden, c.hidden);
    multiply_nn(rows, s_.hidden, w, c.normed2, p + o_.w1, c.hidden, Accumulate::kYes);
    relu(c.hidden, rows * s_.hidden);
    fill_rows(p + o_.b2, rows, w, y);
    multiply_nn(rows, w, s_.hidden, c.hidden, p + o_.w2, y, Accumulate::kYes);
    add_scaled(T(1), c.z, rows * w, y);
  }

  void backward(const T* p, std::size_t samples, const T*, const T*, T* memory, T* dy, T* dx, T* g)
      const override {
    const Cache<T> c(s_, samples, memory);
    const std::size_t rows = samples * s_.tokens;
    const std::size_t w = s_.width;
    // Feed-forward part; its normalised input's gradient goes through dmixed.
    multiply_tn(s_.hidden, w, rows, c.hidden, dy, g + o_.w2, Accumulate::kYes);
    add_column_sums(dy, rows, w, g + o_.b2);
    multiply_nt(rows, s_.hidden, w, dy, p + o_.w2, c.dhidden);
    relu_backward(c.hidden, rows * s_.hidden, c.dhidden);
    multiply_tn(w, s_.hidden, rows, c.normed2, c.dhidden, g + o_.w1, Accumulate::kYes);
    add_column_sums(c.dhidden, rows, s_.hidden, g + o_.b1);
    multiply_nt(rows, w, s_.hidden, c.dhidden, p + o_.w1, c.dmixed);
    std::copy_n(dy, rows * w, c.dz);
    normalise_backward(
        c.norm2, c.scale2, p + o_.gain2, rows, w, c.dmixed, g + o_.gain2, g + o_.shift2, c.dz);
    // Attention part.
    multiply_tn(w, w, rows, c.mixed, c.dz, g + o_.wo, Accumulate::kYes);
    multiply_nt(rows, w, w, c.dz, p + o_.wo, c.dmixed);
    attend_backward(samples, c);
    T* dnormed = c.dmixed;
    multiply_nt(rows, w, w, c.dq, p + o_.wq, dnormed);
    multiply_nt(rows, w, w, c.dk, p + o_.wk, dnormed, Accumulate::kYes);
    multiply_nt(rows, w, w, c.dv, p + o_.wv, dnormed, Accumulate::kYes);
    multiply_tn(w, w, rows, c.normed1, c.dq, g + o_.wq, Accumulate::kYes);
    multiply_tn(w, w, rows, c.normed1, c.dk, g + o_.wk, Accumulate::kYes);
    multiply_tn(w, w, rows, c.normed1, c.dv, g + o_.wv, Accumulate::kYes);
    normalise_backward(
        c.norm1, c.scale1, p + o_.gain1, rows, w, dnormed, g + o_.gain1, g + o_.shift1, c.dz);
    if (dx != nullptr) {
      std::copy_n(c.dz, rows * w, dx);
    }
  }

 private:
  std::size_t head_width() const { return s_.width / s_.heads; }
  T attention_scale() const { return T(1) / std::sqrt(static_cast<T>(head_width())); }

  // mixed = softmax(q k^T / sqrt(head width)) v, for every sample and head.
  void attend(std::size_t samples, const Cache<T>& c) const {
    const std::size_t hw = head_width();
    std::fill_n(c.mixed, samples * s_.tokens * s_.width, T(0));
    T* weights = c.attention;
    for (std::size_t sample = 0; sample < samples; ++sample) {
      const std::size_t first = sample * s_.tokens;
      for (std::size_t head = 0; head < s_.heads; ++head) {
        for (std::size_t i = 0; i < s_.tokens; ++i, weights += s_.tokens) {
          const std::size_t at = (first + i) * s_.width + head * hw;
          for (std::size_t j = 0; j < s_.tokens; ++j) {
            const std::size_t other = (first + j) * s_.width + head * hw;
            weights[j] = dot(c.q + at, c.k + other, hw) * attention_scale();
          }
          softmax(weights, s_.tokens);
          for (std::size_t j = 0; j < s_.tokens; ++j) {
            const std::size_t other = (first + j) * s_.width + head * hw;
            add_scaled(weights[j], c.v + other, hw, c.mixed + at);
          }
        }
      }
    }
  }

  void attend_backward(std::size_t samples, const Cache<T>& c) const {
    const std::size_t hw = head_width();
    for (T* d : {c.dq, c.dk, c.dv}) {
      std::fill_n(d, samples * s_.tokens * s_.width, T(0));
    }
    const T* weights = c.attention;
    for (std::size_t sample = 0; sample < samples; ++sample) {
      const std::size_t first = sample * s_.tokens;
      for (std::size_t head = 0; head < s_.heads; ++head) {
        for (std::size_t i = 0; i < s_.tokens; ++i, weights += s_.tokens) {
          const std::size_t at = (first + i) * s_.width + head * hw;
          T expected = 0;  // sum of weight * gradient: the softmax's normalising term
          for (std::size_t j = 0; j < s_.tokens; ++j) {
            const std::size_t other = (first + j) * s_.width + head * hw;
            expected += weights[j] * dot(c.dmixed + at, c.v + other, hw);
          }
          for (std::size_t j = 0; j < s_.tokens; ++j) {
            const std::size_t other = (first + j) * s_.width + head * hw;
            const T d = weights[j] * (dot(c.dmixed + at, c.v + other, hw) - expected);
            add_scaled(weights[j], c.dmixed + at, hw, c.dv + other);
            add_scaled(d * attention_scale(), c.k + other, hw, c.dq + at);
            add_scaled(d * attention_scale(), c.q + at, hw, c.dk + other);
          }
        }
      }
    }
  }

  TransformerShape s_;
  Offsets o_;
};

}  // namespace

template <typename T>
std::unique_ptr<Layer<T>> transformer_block(TransformerShape shape) {
  return std::make_unique<TransformerBlock<T>>(shape);
}
template std::unique_ptr<Layer<float>> transformer_block<float>(TransformerShape);
template std::unique_ptr<Layer<double>> transformer_block<double>(TransformerShape);

}  // namespace reformer::model
