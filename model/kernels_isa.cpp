// Compiled once for each instruction set, with REFORMER_ISA (namespace), REFORMER_ISA_NAME and
// REFORMER_ISA_BYTES (register width) set by the build. An inline function that two of these
// objects share would be merged by the linker, and a host without AVX-512 might run the AVX-512
// copy. So: Eigen gets another namespace in each, everything else is in the anonymous namespace,
// and nothing of the standard library that is not a plain C function is used. The test `model_isa`
// looks at the objects' symbols.
#define Eigen REFORMER_EIGEN
#define EIGEN_DONT_PARALLELIZE
#include "model/kernels.h"

#include <Eigen/Core>

namespace reformer::model::REFORMER_ISA {
namespace {

constexpr std::size_t kLanes = REFORMER_ISA_BYTES / sizeof(float);
constexpr std::size_t kVectorsPerPanel = kPanelColumns / kLanes;
using Vector [[gnu::vector_size(REFORMER_ISA_BYTES)]] = float;
using IntVector [[gnu::vector_size(REFORMER_ISA_BYTES)]] = std::int32_t;
using Unaligned [[gnu::vector_size(REFORMER_ISA_BYTES), gnu::aligned(4), gnu::may_alias]] = float;

Vector load(const float* p) {
  return *reinterpret_cast<const Unaligned*>(p);
}
void store(float* p, Vector v) {
  *reinterpret_cast<Unaligned*>(p) = v;
}
Vector splat(float x) {
  return Vector{} + x;
}

// Samples x panels that fit the register file: 16 registers, 32 with AVX-512.
#if REFORMER_ISA_BYTES == 64
constexpr std::size_t kTileSamples = 6;
constexpr std::size_t kTilePanels = 4;
constexpr std::size_t kSinglePanels = 8;
#elif REFORMER_ISA_BYTES == 32
constexpr std::size_t kTileSamples = 6;
constexpr std::size_t kTilePanels = 1;
constexpr std::size_t kSinglePanels = 4;
#else
constexpr std::size_t kTileSamples = 3;
constexpr std::size_t kTilePanels = 1;
constexpr std::size_t kSinglePanels = 2;
#endif

// One register tile: `Samples` rows of y, `Panels` panels of columns.
template <std::size_t Samples, std::size_t Panels>
[[gnu::always_inline]] inline void dense_tile(const DenseArguments& a,
                                              std::size_t sample,
                                              std::size_t panel) {
  constexpr std::size_t kVectors = Panels * kVectorsPerPanel;
  const float* weights = a.weights + panel * a.rows * kPanelColumns;
  const float* x = a.x + sample * a.x_stride;
  Vector sum[Samples][kVectors];
#pragma GCC unroll 16
  for (std::size_t s = 0; s < Samples; ++s) {
    const float* bias = a.bias != nullptr ? a.bias : a.y + (sample + s) * a.y_stride;
#pragma GCC unroll 16
    for (std::size_t v = 0; v < kVectors; ++v) {
      sum[s][v] = load(bias + panel * kPanelColumns + v * kLanes);
    }
  }
  for (std::size_t row = 0; row < a.rows; ++row) {
    Vector w[kVectors];
#pragma GCC unroll 16
    for (std::size_t v = 0; v < kVectors; ++v) {
      w[v] = load(weights + (v / kVectorsPerPanel) * a.rows * kPanelColumns + row * kPanelColumns +
                  (v % kVectorsPerPanel) * kLanes);
    }
#pragma GCC unroll 16
    for (std::size_t s = 0; s < Samples; ++s) {
      const Vector input = splat(x[s * a.x_stride + row]);
#pragma GCC unroll 16
      for (std::size_t v = 0; v < kVectors; ++v) {
        sum[s][v] += input * w[v];
      }
    }
  }
#pragma GCC unroll 16
  for (std::size_t s = 0; s < Samples; ++s) {
    float* y = a.y + (sample + s) * a.y_stride + panel * kPanelColumns;
#pragma GCC unroll 16
    for (std::size_t v = 0; v < kVectors; ++v) {
      const Vector value = sum[s][v];
      const Vector zero{};
      store(y + v * kLanes,
            a.activation == Activation::kRelu ? (value > zero ? value : zero) : value);
    }
  }
}

template <std::size_t Samples, std::size_t Panels>
void dense_rows(const DenseArguments& a, std::size_t sample) {
  const std::size_t panels = a.columns / kPanelColumns;
  std::size_t panel = 0;
  for (; panel + Panels <= panels; panel += Panels) {
    dense_tile<Samples, Panels>(a, sample, panel);
  }
  if constexpr (Panels >= 8) {
    if (panel + 4 <= panels) {
      dense_tile<Samples, 4>(a, sample, panel);
      panel += 4;
    }
  }
  if constexpr (Panels >= 4) {
    if (panel + 2 <= panels) {
      dense_tile<Samples, 2>(a, sample, panel);
      panel += 2;
    }
  }
  for (; panel < panels; ++panel) {
    dense_tile<Samples, 1>(a, sample, panel);
  }
}

void dense(const DenseArguments& a) {
  std::size_t sample = 0;
  for (; sample + kTileSamples <= a.samples; sample += kTileSamples) {
    dense_rows<kTileSamples, kTilePanels>(a, sample);
  }
  for (; sample < a.samples; ++sample) {
    dense_rows<1, kSinglePanels>(a, sample);
  }
}

template <typename A, typename B>
void gemm_into(const A& a, const B& b, const GemmShape& shape, float* c, bool accumulate) {
  using Stride = Eigen::OuterStride<>;
  using RowMajor = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  Eigen::Map<RowMajor, Eigen::Unaligned, Stride> result(
      c,
      static_cast<Eigen::Index>(shape.m),
      static_cast<Eigen::Index>(shape.n),
      Stride(static_cast<Eigen::Index>(shape.ldc)));
  if (accumulate) {
    result.noalias() += a * b;
  } else {
    result.noalias() = a * b;
  }
}

void gemm(const GemmShape& shape, const float* a, const float* b, float* c, bool accumulate) {
  using Stride = Eigen::OuterStride<>;
  using RowMajor = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  using Map = Eigen::Map<const RowMajor, Eigen::Unaligned, Stride>;
  const auto m = static_cast<Eigen::Index>(shape.m);
  const auto n = static_cast<Eigen::Index>(shape.n);
  const auto k = static_cast<Eigen::Index>(shape.k);
  const bool ta = shape.a == Transpose::kYes;
  const bool tb = shape.b == Transpose::kYes;
  const Map left(a, ta ? k : m, ta ? m : k, Stride(static_cast<Eigen::Index>(shape.lda)));
  const Map right(b, tb ? n : k, tb ? k : n, Stride(static_cast<Eigen::Index>(shape.ldb)));
  if (ta && tb) {
    gemm_into(left.transpose(), right.transpose(), shape, c, accumulate);
  } else if (ta) {
    gemm_into(left.transpose(), right, shape, c, accumulate);
  } else if (tb) {
    gemm_into(left, right.transpose(), shape, c, accumulate);
  } else {
    gemm_into(left, right, shape, c, accumulate);
  }
}

// exp(x) = 2^n * e^r with |r| <= ln(2) / 2; Cephes' polynomial for e^r.
Vector exp_vector(Vector x) {
  const Vector low = splat(-87.0F);
  const Vector high = splat(88.0F);
  x = x < low ? low : (x > high ? high : x);
  const Vector scaled = x * 1.44269504088896341F;
  const Vector half = scaled < Vector{} ? splat(-0.5F) : splat(0.5F);
  const IntVector n = __builtin_convertvector(scaled + half, IntVector);
  const Vector whole = __builtin_convertvector(n, Vector);
  const Vector r = (x - whole * 0.693359375F) - whole * -2.12194440e-4F;
  Vector p = splat(1.9875691500e-4F);
  p = p * r + 1.3981999507e-3F;
  p = p * r + 8.3334519073e-3F;
  p = p * r + 4.1665795894e-2F;
  p = p * r + 1.6666665459e-1F;
  p = p * r + 5.0000001201e-1F;
  p = p * r * r + r + 1.0F;
  return p * reinterpret_cast<Vector>((n + 127) << 23);
}

// log2(x) = e + log2(m), m in [sqrt(1/2), sqrt(2)); Cephes' polynomial for ln(1 + r).
Vector log2_vector(Vector x) {
  IntVector bits = reinterpret_cast<IntVector>(x);
  // Moves the mantissa's range from [1, 2) to [sqrt(1/2), sqrt(2)).
  const IntVector shifted = bits - 0x3f3504f3;
  const IntVector exponent = shifted >> 23;
  bits = (shifted & 0x007fffff) + 0x3f3504f3;
  const Vector r = reinterpret_cast<Vector>(bits) - 1.0F;
  Vector p = splat(7.0376836292e-2F);
  p = p * r + -1.1514610310e-1F;
  p = p * r + 1.1676998740e-1F;
  p = p * r + -1.2420140846e-1F;
  p = p * r + 1.4249322787e-1F;
  p = p * r + -1.6668057665e-1F;
  p = p * r + 2.0000714765e-1F;
  p = p * r + -2.4999993993e-1F;
  p = p * r + 3.3333331174e-1F;
  const Vector ln = r - 0.5F * r * r + p * r * r * r;
  return ln * 1.44269504088896341F + __builtin_convertvector(exponent, Vector);
}

template <Vector (*Function)(Vector)>
void apply(float* values, std::size_t count) {
  std::size_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    store(values + i, Function(load(values + i)));
  }
  if (i < count) {
    float rest[kLanes];
    for (std::size_t j = 0; j < kLanes; ++j) {
      rest[j] = i + j < count ? values[i + j] : 1.0F;
    }
    store(rest, Function(load(rest)));
    for (std::size_t j = 0; i + j < count; ++j) {
      values[i + j] = rest[j];
    }
  }
}

void adamw(const AdamStep& step,
           const float* gradient,
           float* m,
           float* v,
           float* parameters,
           std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    const float g = gradient[i];
    m[i] = step.beta1 * m[i] + (1.0F - step.beta1) * g;
    v[i] = step.beta2 * v[i] + (1.0F - step.beta2) * g * g;
    const float scale = __builtin_sqrtf(v[i] * step.correction2) + step.epsilon;
    parameters[i] -= step.decay * parameters[i] + step.rate * (m[i] * step.correction1) / scale;
  }
}

}  // namespace

extern const Kernels kKernels;
const Kernels kKernels = {
    REFORMER_ISA_NAME, gemm, dense, apply<exp_vector>, apply<log2_vector>, adamw};

}  // namespace reformer::model::REFORMER_ISA
