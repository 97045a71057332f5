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

#include <immintrin.h>

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
// The last values, fewer than a vector, and `fill` behind them.
Vector load_rest(const float* p, std::size_t count, float fill) {
  float rest[kLanes];
  for (std::size_t i = 0; i < kLanes; ++i) {
    rest[i] = i < count ? p[i] : fill;
  }
  return load(rest);
}
// By intrinsic: Vector{} + x is an addition first (of -0 it makes 0), and then a shuffle, where a
// broadcast from memory is part of the load.
Vector splat(float x) {
#if REFORMER_ISA_BYTES == 64
  return reinterpret_cast<Vector>(_mm512_set1_ps(x));
#elif REFORMER_ISA_BYTES == 32
  return reinterpret_cast<Vector>(_mm256_set1_ps(x));
#else
  return reinterpret_cast<Vector>(_mm_set1_ps(x));
#endif
}

// kLanes weights, float or float16.
Vector load_weights(const float* p) {
  return load(p);
}
#if REFORMER_ISA_BYTES == 64
Vector load_weights(const std::uint16_t* p) {
  return reinterpret_cast<Vector>(
      _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))));
}
// Bit i: values[i] >= least, for kLanes values.
std::uint32_t at_least(const float* values, float least) {
  return _mm512_cmp_ps_mask(_mm512_loadu_ps(values), _mm512_set1_ps(least), _CMP_GE_OQ);
}
std::uint32_t more_than(const float* values, float than) {
  return _mm512_cmp_ps_mask(_mm512_loadu_ps(values), _mm512_set1_ps(than), _CMP_GT_OQ);
}
#elif REFORMER_ISA_BYTES == 32
Vector load_weights(const std::uint16_t* p) {
  return reinterpret_cast<Vector>(
      _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
}
std::uint32_t at_least(const float* values, float least) {
  return static_cast<std::uint32_t>(_mm256_movemask_ps(
      _mm256_cmp_ps(_mm256_loadu_ps(values), _mm256_set1_ps(least), _CMP_GE_OQ)));
}
std::uint32_t more_than(const float* values, float than) {
  return static_cast<std::uint32_t>(
      _mm256_movemask_ps(_mm256_cmp_ps(_mm256_loadu_ps(values), _mm256_set1_ps(than), _CMP_GT_OQ)));
}
#else
// As half_to_float() has it.
Vector load_weights(const std::uint16_t* p) {
  const __m128i half = _mm_cvtepu16_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
  const __m128i bits = _mm_slli_epi32(_mm_and_si128(half, _mm_set1_epi32(0x7fff)), 13);
  const __m128 magnitude = _mm_mul_ps(_mm_castsi128_ps(bits), _mm_set1_ps(0x1p112F));
  const __m128i sign = _mm_slli_epi32(_mm_and_si128(half, _mm_set1_epi32(0x8000)), 16);
  return reinterpret_cast<Vector>(_mm_or_ps(magnitude, _mm_castsi128_ps(sign)));
}
std::uint32_t at_least(const float* values, float least) {
  return static_cast<std::uint32_t>(
      _mm_movemask_ps(_mm_cmpge_ps(_mm_loadu_ps(values), _mm_set1_ps(least))));
}
std::uint32_t more_than(const float* values, float than) {
  return static_cast<std::uint32_t>(
      _mm_movemask_ps(_mm_cmpgt_ps(_mm_loadu_ps(values), _mm_set1_ps(than))));
}
#endif

// The largest tile of a few samples x panels that fits the register file: 16 registers, 32 with
// AVX-512. One panel is kVectorsPerPanel registers.
#if REFORMER_ISA_BYTES == 64
constexpr std::size_t kTileSamples = 6;
constexpr std::size_t kSums = 24;
constexpr std::size_t kMostPanels = 8;
#elif REFORMER_ISA_BYTES == 32
constexpr std::size_t kTileSamples = 6;
constexpr std::size_t kSums = 12;
constexpr std::size_t kMostPanels = 4;
#else
constexpr std::size_t kTileSamples = 3;
constexpr std::size_t kSums = 12;
constexpr std::size_t kMostPanels = 2;
#endif

// How many panels a tile of so many samples has: a power of two.
constexpr std::size_t panels_for(std::size_t samples) {
  std::size_t panels = kMostPanels;
  while (panels > 1 && samples * panels * kVectorsPerPanel > kSums) {
    panels /= 2;
  }
  return panels;
}

// Parts of the rows that a small tile sums apart, so that its sums need not wait for each other.
constexpr std::size_t parts_for(std::size_t sums) {
  return sums >= 8 ? 1 : (sums >= 4 ? 2 : 4);
}

// One register tile: `Samples` rows of y, `Panels` panels of columns, whose weights are given.
template <std::size_t Samples, std::size_t Panels, typename Weight>
[[gnu::always_inline]] inline void dense_tile(const DenseArguments& a,
                                              const Weight* weights,
                                              std::size_t sample,
                                              std::size_t panel) {
  constexpr std::size_t kVectors = Panels * kVectorsPerPanel;
  constexpr std::size_t kParts = parts_for(Samples * kVectors);
  const float* x = a.x + sample * a.x_stride;
  Vector sum[kParts][Samples][kVectors];
#pragma GCC unroll 16
  for (std::size_t s = 0; s < Samples; ++s) {
    const float* bias = a.bias != nullptr ? a.bias : a.y + (sample + s) * a.y_stride;
#pragma GCC unroll 16
    for (std::size_t v = 0; v < kVectors; ++v) {
      sum[0][s][v] = load(bias + panel * kPanelColumns + v * kLanes);
#pragma GCC unroll 4
      for (std::size_t part = 1; part < kParts; ++part) {
        sum[part][s][v] = Vector{};
      }
    }
  }
  const auto add_row = [&](std::size_t row, std::size_t part) __attribute__((always_inline)) {
    Vector w[kVectors];
#pragma GCC unroll 16
    for (std::size_t v = 0; v < kVectors; ++v) {
      w[v] = load_weights(weights + (v / kVectorsPerPanel) * a.rows * kPanelColumns +
                          row * kPanelColumns + (v % kVectorsPerPanel) * kLanes);
    }
#pragma GCC unroll 16
    for (std::size_t s = 0; s < Samples; ++s) {
      const Vector input = splat(x[s * a.x_stride + row]);
#pragma GCC unroll 16
      for (std::size_t v = 0; v < kVectors; ++v) {
        sum[part][s][v] += input * w[v];
      }
    }
  };
  std::size_t row = 0;
  for (; row + kParts <= a.rows; row += kParts) {
#pragma GCC unroll 4
    for (std::size_t part = 0; part < kParts; ++part) {
      add_row(row + part, part);
    }
  }
  for (; row < a.rows; ++row) {
    add_row(row, 0);
  }
#pragma GCC unroll 16
  for (std::size_t s = 0; s < Samples; ++s) {
    float* y = a.y + (sample + s) * a.y_stride + panel * kPanelColumns;
#pragma GCC unroll 16
    for (std::size_t v = 0; v < kVectors; ++v) {
      Vector value = sum[0][s][v];
#pragma GCC unroll 4
      for (std::size_t part = 1; part < kParts; ++part) {
        value += sum[part][s][v];
      }
      const Vector zero{};
      store(y + v * kLanes,
            a.activation == Activation::kRelu ? (value > zero ? value : zero) : value);
    }
  }
}

// A few samples: all columns, from tiles of `Panels` panels down to single ones.
template <std::size_t Samples, std::size_t Panels, typename Weight>
void dense_rows(const DenseArguments& a, const Weight* weights, std::size_t panel) {
  const std::size_t panels = a.columns / kPanelColumns;
  for (; panel + Panels <= panels; panel += Panels) {
    dense_tile<Samples, Panels>(a, weights + panel * a.rows * kPanelColumns, 0, panel);
  }
  if constexpr (Panels > 1) {
    dense_rows<Samples, Panels / 2>(a, weights, panel);
  }
}

template <std::size_t Samples, typename Weight>
void dense_few(const DenseArguments& a, const Weight* weights) {
  if constexpr (Samples > 0) {
    if (a.samples == Samples) {
      dense_rows<Samples, panels_for(Samples)>(a, weights, 0);
    } else {
      dense_few<Samples - 1>(a, weights);
    }
  }
}

template <std::size_t Samples, std::size_t Panels, typename Weight>
void rest_of_panels(const DenseArguments& a,
                    const Weight* weights,
                    std::size_t sample,
                    std::size_t panel) {
  if constexpr (Samples > 0) {
    if (sample + Samples == a.samples) {
      dense_tile<Samples, Panels>(a, weights, sample, panel);
    } else {
      rest_of_panels<Samples - 1, Panels>(a, weights, sample, panel);
    }
  }
}

// `Panels` panels of all samples, so that their weights stay in the first-level cache.
template <std::size_t Panels, typename Weight>
void dense_panels(const DenseArguments& a, const Weight* weights, std::size_t panel) {
  std::size_t sample = 0;
  for (; sample + kTileSamples <= a.samples; sample += kTileSamples) {
    dense_tile<kTileSamples, Panels>(a, weights, sample, panel);
  }
  rest_of_panels<kTileSamples - 1, Panels>(a, weights, sample, panel);
}

// ... float16 ones are converted only once.
template <std::size_t Panels>
void dense_panels(const DenseArguments& a, const std::uint16_t* weights, std::size_t panel) {
  constexpr std::size_t kMostRows = 256;
  alignas(64) float converted[Panels * kMostRows * kPanelColumns];
  if (a.rows > kMostRows) {
    dense_panels<Panels, std::uint16_t>(a, weights, panel);
    return;
  }
  for (std::size_t i = 0; i < Panels * a.rows * kPanelColumns; i += kLanes) {
    store(converted + i, load_weights(weights + i));
  }
  dense_panels<Panels, float>(a, converted, panel);
}

template <std::size_t Panels, typename Weight>
void dense_many(const DenseArguments& a, const Weight* weights, std::size_t panel) {
  const std::size_t panels = a.columns / kPanelColumns;
  for (; panel + Panels <= panels; panel += Panels) {
    dense_panels<Panels>(a, weights + panel * a.rows * kPanelColumns, panel);
  }
  if constexpr (Panels > 1) {
    dense_many<Panels / 2>(a, weights, panel);
  }
}

template <typename Weight>
void dense_of(const DenseArguments& a, const Weight* weights) {
  if (a.samples < kTileSamples) {
    dense_few<kTileSamples - 1>(a, weights);
  } else {
    dense_many<panels_for(kTileSamples)>(a, weights, 0);
  }
}

void dense(const DenseArguments& a) {
  if (a.half_weights != nullptr) {
    dense_of(a, a.half_weights);
  } else {
    dense_of(a, a.weights);
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

// exp(x) = 2^n * e^r with |r| <= ln(2) / 2; Cephes' polynomial for e^r. `x` from -87 to 88, where
// 2^n is a normal number. Adding kRound rounds to an integer and leaves it in the low bits.
Vector exp_in_range(Vector x) {
  constexpr float kRound = 0x1.8p23F;
  const Vector shifted = x * 1.44269504088896341F + kRound;
  const Vector whole = shifted - kRound;
  const Vector r = (x - whole * 0.693359375F) - whole * -2.12194440e-4F;
  Vector p = splat(1.9875691500e-4F);
  p = p * r + 1.3981999507e-3F;
  p = p * r + 8.3334519073e-3F;
  p = p * r + 4.1665795894e-2F;
  p = p * r + 1.6666665459e-1F;
  p = p * r + 5.0000001201e-1F;
  p = p * r * r + r + 1.0F;
  return reinterpret_cast<Vector>(reinterpret_cast<IntVector>(p) +
                                  (reinterpret_cast<IntVector>(shifted) << 23));
}

Vector exp_vector(Vector x) {
  const Vector low = splat(-87.0F);
  const Vector high = splat(88.0F);
  return exp_in_range(x < low ? low : (x > high ? high : x));
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
    store(rest, Function(load_rest(values + i, count - i, 1.0F)));
    for (std::size_t j = 0; i + j < count; ++j) {
      values[i + j] = rest[j];
    }
  }
}

float sum_of(Vector v) {
  float lanes[kLanes];
  store(lanes, v);
  for (std::size_t width = kLanes / 2; width > 0; width /= 2) {
    for (std::size_t i = 0; i < width; ++i) {
      lanes[i] += lanes[i + width];
    }
  }
  return lanes[0];
}

Spread spread(const float* values, std::size_t count, float limit) {
  const Vector zero{};
  const Vector limits = splat(limit);
  Vector furthest = zero;
  Vector squares = zero;
  Vector beyond = zero;
  const auto look_at = [&](Vector x) {
    const Vector size = x < zero ? -x : x;
    const Vector over = size - limits;
    furthest = size > furthest ? size : furthest;
    squares += size * size;
    beyond += over > zero ? over : zero;
  };
  const std::size_t whole = count / kLanes * kLanes;
  for (std::size_t i = 0; i < whole; i += kLanes) {
    look_at(load(values + i));
  }
  look_at(load_rest(values + whole, count - whole, 0.0F));
  float largest[kLanes];
  store(largest, furthest);
  for (std::size_t width = kLanes / 2; width > 0; width /= 2) {
    for (std::size_t i = 0; i < width; ++i) {
      largest[i] = largest[i] > largest[i + width] ? largest[i] : largest[i + width];
    }
  }
  return {largest[0], sum_of(squares), sum_of(beyond)};
}

LogitSummary summarise(const float* logits, std::size_t count) {
  const Vector lowest = splat(-1e30F);
  Vector first = lowest;
  Vector second = lowest;
  const std::size_t whole = count / kLanes * kLanes;
  const Vector rest = load_rest(logits + whole, count - whole, -1e30F);
  const auto look_at = [&](Vector x) {
    const Vector smaller = x < first ? x : first;
    second = smaller > second ? smaller : second;
    first = x > first ? x : first;
  };
  for (std::size_t i = 0; i < whole; i += kLanes) {
    look_at(load(logits + i));
  }
  look_at(rest);
  // Halves upon halves.
  float firsts[kLanes];
  float seconds[kLanes];
  store(firsts, first);
  store(seconds, second);
  for (std::size_t width = kLanes / 2; width > 0; width /= 2) {
    for (std::size_t i = 0; i < width; ++i) {
      const float one = firsts[i];
      const float other = firsts[i + width];
      const float smaller = one < other ? one : other;
      const float larger = seconds[i] > seconds[i + width] ? seconds[i] : seconds[i + width];
      firsts[i] = one > other ? one : other;
      seconds[i] = smaller > larger ? smaller : larger;
    }
  }
  LogitSummary out;
  out.first = firsts[0];
  out.second = seconds[0];
  Vector sum{};
  Vector weighted{};
  const Vector shift = splat(out.first);
  const Vector vanished = splat(-87.0F);  // e^-87 is nothing beside 1
  const auto add = [&](Vector x) {
    Vector centred = x - shift;
    centred = centred < vanished ? vanished : centred;
    const Vector e = exp_in_range(centred);
    sum += e;
    weighted += e * centred;
  };
  for (std::size_t i = 0; i < whole; i += kLanes) {
    add(load(logits + i));
  }
  add(rest);
  out.sum = sum_of(sum);
  out.weighted = sum_of(weighted);
  return out;
}

// Groups of values whose largest are compared first: at least as many as anybody selects.
constexpr std::size_t kGroups = 16;
constexpr std::size_t kGroupVectors = kGroups / kLanes;

// A bound that at least `top` values reach, at most kGroups: the top-th largest of the groups'
// largest. `count` is at least kGroups.
float bound_of_top(const float* values, std::size_t count, std::size_t top) {
  Vector largest[kGroupVectors];
#pragma GCC unroll 4
  for (std::size_t v = 0; v < kGroupVectors; ++v) {
    largest[v] = load(values + v * kLanes);
  }
  for (std::size_t i = kGroups; i + kGroups <= count; i += kGroups) {
#pragma GCC unroll 4
    for (std::size_t v = 0; v < kGroupVectors; ++v) {
      const Vector x = load(values + i + v * kLanes);
      largest[v] = x > largest[v] ? x : largest[v];
    }
  }
  float groups[kGroups];
#pragma GCC unroll 4
  for (std::size_t v = 0; v < kGroupVectors; ++v) {
    store(groups + v * kLanes, largest[v]);
  }
  float bound = -__builtin_inff();
  for (const float candidate : groups) {
    int reached_by = 0;
#pragma GCC unroll 4
    for (std::size_t v = 0; v < kGroupVectors; ++v) {
      reached_by += __builtin_popcount(at_least(groups + v * kLanes, candidate));
    }
    const bool better = reached_by >= static_cast<int>(top) && candidate > bound;
    bound = better ? candidate : bound;
  }
  return bound;
}

std::size_t select_by_insertion(const float* values,
                                std::size_t count,
                                std::size_t top,
                                std::uint32_t* indices) {
  std::size_t found = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const float value = values[i];
    if (found == top && !(value > values[indices[found - 1]])) {
      continue;
    }
    std::size_t at = found < top ? found++ : found - 1;
    for (; at > 0 && values[indices[at - 1]] < value; --at) {
      indices[at] = indices[at - 1];
    }
    indices[at] = static_cast<std::uint32_t>(i);
  }
  return found;
}

// What reaches the bound: seldom many more than are selected. Beyond kMost they are only counted.
struct Gathered {
  static constexpr std::size_t kMost = 64;
  float values[kMost];
  std::uint32_t indices[kMost];
  std::size_t count = 0;

  void add(const float* all, std::size_t index) {
    if (count < kMost) {
      values[count] = all[index];
      indices[count] = static_cast<std::uint32_t>(index);
    }
    ++count;
  }
};

// Each value's place is the number of values before it: counted, because a processor cannot predict
// which way the comparisons of a sort go.
void write_in_order(Gathered& gathered, std::size_t top, std::uint32_t* indices) {
  const std::size_t vectors = (gathered.count + kLanes - 1) / kLanes;
  for (std::size_t i = gathered.count; i < vectors * kLanes; ++i) {
    gathered.values[i] = -__builtin_inff();
  }
  std::uint32_t ordered[Gathered::kMost];
  for (std::size_t i = 0; i < gathered.count; ++i) {
    std::uint64_t larger = 0;
    std::uint64_t as_large = 0;
    for (std::size_t v = 0; v < vectors; ++v) {
      const float* values = gathered.values + v * kLanes;
      larger |= std::uint64_t{more_than(values, gathered.values[i])} << (v * kLanes);
      as_large |= std::uint64_t{at_least(values, gathered.values[i])} << (v * kLanes);
    }
    const std::uint64_t earlier = (std::uint64_t{1} << i) - 1;
    ordered[__builtin_popcountll(larger | (as_large & earlier))] = gathered.indices[i];
  }
  __builtin_memcpy(indices, ordered, top * sizeof(std::uint32_t));
}

std::size_t select_top(const float* values,
                       std::size_t count,
                       std::size_t top,
                       std::uint32_t* indices) {
  if (top > kGroups || count < kGroups) {
    return select_by_insertion(values, count, top, indices);
  }
  const float bound = bound_of_top(values, count, top);
  Gathered gathered;
  std::size_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (std::uint32_t more = at_least(values + i, bound); more != 0; more &= more - 1) {
      gathered.add(values, i + static_cast<std::size_t>(__builtin_ctz(more)));
    }
  }
  for (; i < count; ++i) {
    if (values[i] >= bound) {
      gathered.add(values, i);
    }
  }
  // Many are equal, or some are not numbers.
  if (gathered.count > Gathered::kMost || gathered.count < top) {
    return select_by_insertion(values, count, top, indices);
  }
  write_in_order(gathered, top, indices);
  return top;
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
const Kernels kKernels = {REFORMER_ISA_NAME,
                          gemm,
                          dense,
                          apply<exp_vector>,
                          apply<log2_vector>,
                          summarise,
                          spread,
                          select_top,
                          adamw};

}  // namespace reformer::model::REFORMER_ISA
