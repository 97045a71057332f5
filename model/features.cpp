#include "model/features.h"

#include "model/kernels.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <optional>

namespace reformer::model {
namespace {

// Raise by one when a feature or a combination changes its meaning without changing its name.
// 2: a tensor that is packed in both layouts decides no combination.
constexpr std::uint64_t kSchemaVersion = 2;

constexpr std::array<std::string_view, kViews.size()> kViewNames = {
    "all", "without_tensor_cores", "deterministic", "precompiled"};

// Features that are logarithms come first: they are taken all at once.
constexpr std::array<std::string_view, kNumericFeatures> kNames = {"log2 n",
                                                                   "log2 c",
                                                                   "log2 k",
                                                                   "log2 d",
                                                                   "log2 h",
                                                                   "log2 w",
                                                                   "log2 t",
                                                                   "log2 r",
                                                                   "log2 s",
                                                                   "log2 out d",
                                                                   "log2 out h",
                                                                   "log2 out w",
                                                                   "log2 (1 + pad d)",
                                                                   "log2 (1 + pad h)",
                                                                   "log2 (1 + pad w)",
                                                                   "log2 (1 + pad skew)",
                                                                   "log2 stride d",
                                                                   "log2 stride h",
                                                                   "log2 stride w",
                                                                   "log2 dilation d",
                                                                   "log2 dilation h",
                                                                   "log2 dilation w",
                                                                   "log2 groups",
                                                                   "log2 c / group",
                                                                   "log2 k / group",
                                                                   "log2 in pixels",
                                                                   "log2 out pixels",
                                                                   "log2 taps",
                                                                   "log2 batch in pixels",
                                                                   "log2 batch out pixels",
                                                                   "log2 gemm m",
                                                                   "log2 gemm n",
                                                                   "log2 gemm k",
                                                                   "log2 min(m, n)",
                                                                   "log2 m n groups",
                                                                   "log2 flops",
                                                                   "log2 x bytes",
                                                                   "log2 w bytes",
                                                                   "log2 y bytes",
                                                                   "log2 bytes",
                                                                   "log2 flops / byte",
                                                                   "log2 tiles 64x64",
                                                                   "log2 tiles 128x128",
                                                                   "log2 tiles 256x128",
                                                                   "log2 tiles 128x64",
                                                                   "log2 waves 64x64",
                                                                   "log2 waves 128x128",
                                                                   "log2 waves 256x128",
                                                                   "log2 waves 128x64",
                                                                   "log2 k steps",
                                                                   "log2 (1 + split room)",
                                                                   "log2 k / c",
                                                                   "log2 h / r",
                                                                   "log2 alignment",
                                                                   "log2 row stride slack",
                                                                   // From here on plain values.
                                                                   "wave fill 64x64",
                                                                   "wave fill 128x128",
                                                                   "wave fill 256x128",
                                                                   "wave fill 128x64",
                                                                   "tile fill m 64",
                                                                   "tile fill n 64",
                                                                   "tile fill m 128",
                                                                   "tile fill n 128",
                                                                   "tile fill m 256",
                                                                   "tile fill n 256",
                                                                   "tile fill k 64",
                                                                   "divisibility c",
                                                                   "divisibility k",
                                                                   "divisibility c / group",
                                                                   "divisibility k / group",
                                                                   "divisibility w",
                                                                   "divisibility out w",
                                                                   "divisibility m",
                                                                   "divisibility gemm k",
                                                                   "pointwise",
                                                                   "pure matrix product",
                                                                   "unit stride",
                                                                   "strided",
                                                                   "dilated",
                                                                   "same padding",
                                                                   "no padding",
                                                                   "winograd shape",
                                                                   "global filter",
                                                                   "stem",
                                                                   "one-dimensional",
                                                                   "non-overlapping",
                                                                   "over 2^31 elements",
                                                                   "square"};
constexpr std::size_t kLogarithms = 55;
static_assert(kNames[kLogarithms] == "wave fill 64x64");
static_assert(!kNames.back().empty());

// log2 of the largest power of two that divides x, at most 8, scaled to [0, 1].
float divisibility(std::int64_t x) {
  const int zeros = std::countr_zero(static_cast<std::uint64_t>(x));
  return static_cast<float>(std::min(zeros, 8)) / 8.0F;
}

float flag(bool condition) {
  return condition ? 1.0F : 0.0F;
}

// Share of the tiles' area that is used.
float fill(float extent, float tile) {
  return extent / (std::ceil(extent / tile) * tile);
}

struct Gemm {
  float m, n, k;  // of one group
};

// The matrix product that the convolution is, implicitly.
Gemm implicit_gemm(const core::Problem& p, float c_group, float k_group, float taps) {
  const auto n = static_cast<float>(p.x.dims[0]);
  const float in = static_cast<float>(p.x.dims[2]) * static_cast<float>(p.x.dims[3]) *
                   static_cast<float>(p.x.dims[4]);
  const float out = static_cast<float>(p.y.dims[2]) * static_cast<float>(p.y.dims[3]) *
                    static_cast<float>(p.y.dims[4]);
  switch (p.operation) {
    case core::Operation::kDataGradient:
      return {n * in, c_group, k_group * taps};
    case core::Operation::kFilterGradient:
      return {k_group, c_group * taps, n * out};
    case core::Operation::kForward:
      break;
  }
  return {n * out, k_group, c_group * taps};
}

struct Tiling {
  float m, n;
};
constexpr std::array<Tiling, 4> kTilings = {{{64, 64}, {128, 128}, {256, 128}, {128, 64}}};

// Elements of memory that the tensor spans for each element that it has.
float slack(const core::TensorSpec& t) {
  float span = 1;
  float elements = 1;
  for (std::size_t axis = 0; axis < core::kTensorAxes; ++axis) {
    span += static_cast<float>(t.dims[axis] - 1) * static_cast<float>(t.strides[axis]);
    elements *= static_cast<float>(t.dims[axis]);
  }
  return std::max(1.0F, span / elements);
}

float bytes(const core::TensorSpec& t) {
  float elements = static_cast<float>(core::size_of(t.type));
  for (const std::int64_t dim : t.dims) {
    elements *= static_cast<float>(dim);
  }
  return elements;
}

// Everything that more than one feature needs.
struct Terms {
  float c_group, k_group, taps, in_pixels, out_pixels, x_bytes, w_bytes, y_bytes, flops;
  Gemm gemm;
  std::array<float, kTilings.size()> tiles, waves;
};

Terms terms_of(const core::Problem& p, std::int32_t sm_count) {
  const auto dim = [](const core::TensorSpec& t, std::size_t axis) {
    return static_cast<float>(t.dims[axis]);
  };
  Terms t{};
  const auto groups = static_cast<float>(p.groups());
  t.c_group = dim(p.w, 1);
  t.k_group = dim(p.w, 0) / groups;
  t.taps = dim(p.w, 2) * dim(p.w, 3) * dim(p.w, 4);
  t.in_pixels = dim(p.x, 2) * dim(p.x, 3) * dim(p.x, 4);
  t.out_pixels = dim(p.y, 2) * dim(p.y, 3) * dim(p.y, 4);
  t.x_bytes = bytes(p.x);
  t.w_bytes = bytes(p.w);
  t.y_bytes = bytes(p.y);
  t.gemm = implicit_gemm(p, t.c_group, t.k_group, t.taps);
  t.flops = 2 * t.gemm.m * t.gemm.n * t.gemm.k * groups;
  for (std::size_t i = 0; i < kTilings.size(); ++i) {
    t.tiles[i] = std::ceil(t.gemm.m / kTilings[i].m) * std::ceil(t.gemm.n / kTilings[i].n) * groups;
    t.waves[i] = t.tiles[i] / static_cast<float>(sm_count);
  }
  return t;
}

float* write_dims(const core::Problem& p, const Terms& t, float* f) {
  const auto put = [&f](auto value) { *f++ = static_cast<float>(value); };
  put(p.x.dims[0]);
  put(p.x.dims[1]);
  put(p.w.dims[0]);
  for (std::size_t axis = 2; axis < core::kTensorAxes; ++axis) {
    put(p.x.dims[axis]);
  }
  for (std::size_t axis = 2; axis < core::kTensorAxes; ++axis) {
    put(p.w.dims[axis]);
  }
  for (std::size_t axis = 2; axis < core::kTensorAxes; ++axis) {
    put(p.y.dims[axis]);
  }
  std::int32_t skew = 0;
  for (std::size_t axis = 0; axis < core::kSpatialAxes; ++axis) {
    put(1.0F + 0.5F * static_cast<float>(p.pad_before[axis] + p.pad_after[axis]));
    skew += std::abs(p.pad_before[axis] - p.pad_after[axis]);
  }
  put(1 + skew);
  for (const std::int32_t stride : p.stride) {
    put(stride);
  }
  for (const std::int32_t dilation : p.dilation) {
    put(dilation);
  }
  put(p.groups());
  put(t.c_group);
  put(t.k_group);
  return f;
}

float* write_products(const core::Problem& p, const Terms& t, float* f) {
  const auto put = [&f](float value) { *f++ = value; };
  const auto n = static_cast<float>(p.x.dims[0]);
  const float bytes_moved = t.x_bytes + t.w_bytes + t.y_bytes;
  put(t.in_pixels);
  put(t.out_pixels);
  put(t.taps);
  put(n * t.in_pixels);
  put(n * t.out_pixels);
  put(t.gemm.m);
  put(t.gemm.n);
  put(t.gemm.k);
  put(std::min(t.gemm.m, t.gemm.n));
  put(t.gemm.m * t.gemm.n * static_cast<float>(p.groups()));
  put(t.flops);
  put(t.x_bytes);
  put(t.w_bytes);
  put(t.y_bytes);
  put(bytes_moved);
  put(t.flops / bytes_moved);
  for (const float tiles : t.tiles) {
    put(tiles);
  }
  for (const float waves : t.waves) {
    put(waves);
  }
  put(std::ceil(t.gemm.k / 32));
  put(1.0F + std::ceil(t.gemm.k / 32) / std::max(1.0F, t.waves[1]));
  put(static_cast<float>(p.w.dims[0]) / static_cast<float>(p.x.dims[1]));
  put(static_cast<float>(p.x.dims[3]) / static_cast<float>(p.w.dims[3]));
  put(std::min({p.x.alignment, p.w.alignment, p.y.alignment}));
  put(std::max({slack(p.x), slack(p.w), slack(p.y)}));
  return f;
}

float* write_fills(const core::Problem& p, const Terms& t, float* f) {
  const auto put = [&f](float value) { *f++ = value; };
  for (const float waves : t.waves) {
    put(waves / std::ceil(waves));
  }
  for (const float tile : {64.0F, 128.0F, 256.0F}) {
    put(fill(t.gemm.m, tile));
    put(fill(t.gemm.n, tile));
  }
  put(fill(t.gemm.k, 64));
  put(divisibility(p.x.dims[1]));
  put(divisibility(p.w.dims[0]));
  put(divisibility(p.w.dims[1]));
  // Canonical problems have groups. NOLINTNEXTLINE(clang-analyzer-core.DivideZero)
  put(divisibility(p.w.dims[0] / p.groups()));
  put(divisibility(p.x.dims[4]));
  put(divisibility(p.y.dims[4]));
  put(divisibility(static_cast<std::int64_t>(t.gemm.m)));
  put(divisibility(static_cast<std::int64_t>(t.gemm.k)));
  return f;
}

float* write_flags(const core::Problem& p, const Terms& t, float* f) {
  const auto put = [&f](bool condition) { *f++ = flag(condition); };
  bool strided = false;
  bool dilated = false;
  bool padded = false;
  bool same = true;
  bool non_overlapping = true;
  for (std::size_t axis = 0; axis < core::kSpatialAxes; ++axis) {
    const std::int64_t taps = p.w.dims[axis + 2];
    strided |= p.stride[axis] > 1;
    dilated |= p.dilation[axis] > 1;
    padded |= p.pad_before[axis] + p.pad_after[axis] > 0;
    same &= p.pad_before[axis] + p.pad_after[axis] == p.dilation[axis] * (taps - 1);
    non_overlapping &= p.stride[axis] >= taps;
  }
  const bool pointwise = t.taps == 1;
  put(pointwise);
  put(pointwise && !strided && !padded);
  put(!strided);
  put(strided);
  put(dilated);
  put(same);
  put(!padded);
  put(p.w.dims[3] == 3 && p.w.dims[4] == 3 && p.w.dims[2] == 1 && !strided && !dilated);
  put(t.out_pixels == 1);
  put(p.x.dims[1] <= 4);
  put(p.x.dims[3] == 1 || p.x.dims[4] == 1);
  put(!pointwise && non_overlapping);
  put(std::max({t.x_bytes / static_cast<float>(core::size_of(p.x.type)),
                t.y_bytes / static_cast<float>(core::size_of(p.y.type))}) > 2147483648.0F);
  put(p.x.dims[3] == p.x.dims[4] && p.w.dims[3] == p.w.dims[4]);
  return f;
}

// Packed [n, 1, 1, 1, 1], as a depthwise 1x1 filter: its strides are those of both layouts.
bool fits_any_layout(const core::TensorSpec& t) {
  const bool one_each =
      std::all_of(t.dims.begin() + 1, t.dims.end(), [](std::int64_t dim) { return dim == 1; });
  return one_each && core::layout_of(t) != core::Layout::kStrided;
}

// The packed layout of all tensors, kNchw where any fits; kStrided: they have none in common.
core::Layout common_layout(const core::Problem& problem) {
  std::optional<core::Layout> common;
  for (const core::TensorSpec* tensor : {&problem.x, &problem.y, &problem.w}) {
    if (fits_any_layout(*tensor)) {
      continue;
    }
    const core::Layout layout = core::layout_of(*tensor);
    if (common && *common != layout) {
      return core::Layout::kStrided;
    }
    common = layout;
  }
  return common.value_or(core::Layout::kNchw);
}

std::uint64_t mix(std::uint64_t hash, std::string_view text) {  // FNV-1a
  for (const char letter : text) {
    hash = (hash ^ static_cast<unsigned char>(letter)) * 0x100000001b3ULL;
  }
  return (hash ^ 0xff) * 0x100000001b3ULL;
}

}  // namespace

Combination combination_of(const core::Problem& problem, View view) {
  Combination combination;
  combination.operation = problem.operation;
  combination.mode = problem.mode;
  combination.type = problem.x.type;
  combination.weight_type = problem.w.type;
  combination.output_type = problem.y.type;
  combination.compute_type = problem.compute_type;
  combination.layout = common_layout(problem);
  combination.spatial_rank = problem.spatial_rank;
  if (problem.groups() > 1) {
    combination.grouping = problem.w.dims[1] == 1 ? Grouping::kDepthwise : Grouping::kGrouped;
  }
  combination.view = has_view(problem, view) ? view : View::kAll;
  return combination;
}

bool has_view(const core::Problem& problem, View view) {
  const bool is_f32 = problem.x.type == core::DataType::kF32;
  switch (view) {
    case View::kAll:
      return true;
    case View::kWithoutTensorCores:
    case View::kDeterministic:
      return is_f32;
    case View::kPrecompiled:
      return !is_f32 && problem.groups() > 1;
  }
  return false;
}

std::string_view to_string(View view) {
  return kViewNames[static_cast<std::size_t>(view)];
}

std::optional<View> parse_application_view(std::string_view name) {
  const auto found =
      std::ranges::find(kApplicationViews, name, [](View view) { return to_string(view); });
  return found != kApplicationViews.end() ? std::optional(*found) : std::nullopt;
}

std::string to_string(const Combination& combination) {
  static constexpr std::array<std::string_view, 3> kLayouts = {"nchw", "nhwc", "strided"};
  static constexpr std::array<std::string_view, 3> kGroupings = {"dense", "grouped", "depthwise"};
  std::string text(core::to_string(combination.operation));
  text += ' ';
  text += core::to_string(combination.type);
  text += ' ';
  text += kLayouts[static_cast<std::size_t>(combination.layout)];
  text += combination.spatial_rank == 3 ? " 3d " : " 2d ";
  text += kGroupings[static_cast<std::size_t>(combination.grouping)];
  static constexpr std::array<std::string_view, kViews.size()> kSuffixes = {
      "", " without tensor cores", " without tensor cores, deterministic", " precompiled"};
  text += kSuffixes[static_cast<std::size_t>(combination.view)];
  return text;
}

void numeric_features(const core::Problem& problem, std::int32_t sm_count, NumericFeatures& out) {
  const Terms terms = terms_of(problem, sm_count);
  float* logarithms_end = write_products(problem, terms, write_dims(problem, terms, out.data()));
  write_flags(problem, terms, write_fills(problem, terms, logarithms_end));
  best_kernels().log2(out.data(), kLogarithms);
}

IndicatorFeatures indicator_features(const Combination& combination) {
  IndicatorFeatures indicators{};
  const auto set = [&indicators](std::size_t first, auto value) {
    indicators[first + static_cast<std::size_t>(value)] = 1;
  };
  set(0, combination.operation);
  set(3, std::min<int>(static_cast<int>(combination.type), 8));
  set(12, combination.layout);
  set(15, combination.grouping);
  indicators[18] = combination.spatial_rank == 3 ? 1.0F : 0.0F;
  indicators[19] = flag(combination.mode == core::ConvolutionMode::kConvolution);
  indicators[20] = flag(combination.view == View::kWithoutTensorCores ||
                        combination.view == View::kDeterministic);
  indicators[21] = flag(combination.view == View::kDeterministic);
  indicators[22] = flag(combination.view == View::kPrecompiled);
  return indicators;
}

std::span<const std::string_view> numeric_feature_names() {
  return kNames;
}

std::uint64_t feature_schema_hash() {
  std::uint64_t hash = 0xcbf29ce484222325ULL ^ kSchemaVersion;
  for (const std::string_view name : kNames) {
    hash = mix(hash, name);
  }
  return mix(
      hash,
      "indicators: operation 3, type 9, layout 3, grouping 3, 3-D, convolution, without tensor "
      "cores, deterministic, precompiled");
}

}  // namespace reformer::model
