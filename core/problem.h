#pragma once

#include "core/result.h"
#include "core/types.h"

#include <array>
#include <cstddef>
#include <cstdint>

namespace reformer::core {

// Axis order of every five-element tensor array: batch (or output channels of the filter),
// channels, depth, height, width. A 2-D problem has depth 1.
inline constexpr std::size_t kTensorAxes = 5;
// Axis order of padding, stride and dilation: depth, height, width.
inline constexpr std::size_t kSpatialAxes = 3;
// The largest pointer alignment that makes a difference; larger ones count as this. See
// docs/problems.md.
inline constexpr std::uint16_t kMaxAlignment = 16;

struct TensorSpec {
  DataType type = DataType::kF32;
  std::uint8_t reserved = 0;                // always 0: part of the hashed bytes
  std::uint16_t alignment = kMaxAlignment;  // bytes, a power of two
  std::uint32_t reserved2 = 0;              // always 0
  std::array<std::int64_t, kTensorAxes> dims{1, 1, 1, 1, 1};
  std::array<std::int64_t, kTensorAxes> strides{1, 1, 1, 1, 1};  // elements

  friend bool operator==(const TensorSpec&, const TensorSpec&) = default;
};

// One convolution, complete enough that equal problems have the same fastest kernel on the same GPU
// and cuDNN. x is the image [n, c, d, h, w], w the filter [k, c / groups, t, r, s], y the output
// [n, k, d', h', w'], whichever of the three the operation computes.
//
// The object is plain data without padding bytes: its bytes are what is hashed and what travels.
// Only a canonical problem (see canonicalise) may be hashed, stored or compared.
struct Problem {
  Operation operation = Operation::kForward;
  ConvolutionMode mode = ConvolutionMode::kCrossCorrelation;
  DataType compute_type = DataType::kF32;
  std::uint8_t spatial_rank = 2;  // 2 or 3; 1-D problems are 2-D with height 1
  std::uint32_t reserved = 0;     // always 0
  TensorSpec x;
  TensorSpec w;
  TensorSpec y;
  std::array<std::int32_t, kSpatialAxes> pad_before{0, 0, 0};
  std::array<std::int32_t, kSpatialAxes> pad_after{0, 0, 0};
  std::array<std::int32_t, kSpatialAxes> stride{1, 1, 1};
  std::array<std::int32_t, kSpatialAxes> dilation{1, 1, 1};
  // 0 for a single convolution; otherwise a hash of the operations fused with it, because those
  // make it another problem.
  std::uint64_t fusion = 0;

  friend bool operator==(const Problem&, const Problem&) = default;

  [[nodiscard]] std::int64_t groups() const { return w.dims[1] > 0 ? x.dims[1] / w.dims[1] : 0; }
};
static_assert(sizeof(TensorSpec) == 88);
static_assert(sizeof(Problem) == 8 + 3 * 88 + 4 * 12 + 8);

enum class Layout : std::uint8_t { kNchw = 0, kNhwc = 1, kStrided = 2 };

// Packed strides of `dims` in the given layout (kStrided is treated as kNchw).
[[nodiscard]] std::array<std::int64_t, kTensorAxes> packed_strides(
    const std::array<std::int64_t, kTensorAxes>& dims, Layout layout);
// The layout whose packed strides these are, axes of size 1 not looked at; where both fit, the one
// whose strides are written out, else kNchw.
[[nodiscard]] Layout layout_of(const TensorSpec& tensor);

// Dims that the output must have, from x, w, padding, stride and dilation:
// y = floor((x + pad_before + pad_after - dilation * (w - 1) - 1) / stride) + 1.
[[nodiscard]] std::array<std::int64_t, kTensorAxes> output_dims(const Problem& problem);

// Checks every field against what cuDNN can express (positive dims that agree with each other,
// channels divisible by groups, known enumeration values, no overflow) and brings the problem into
// its canonical form, so that two descriptions of the same problem become equal bytes:
// alignment above kMaxAlignment counts as kMaxAlignment; strides of axes of size 1 (which address
// nothing) are those of the tensor's packed layout; dilation along a filter axis of size 1 is 1;
// where a tensor fits both layouts, it takes the layout of the first of x, y, w that fits only one.
//
// Errors: kInvalidArgument with the field's name.
[[nodiscard]] Result<Problem> canonicalise(const Problem& problem);

// Multiply-adds x 2 of one execution: 2 * n * k * prod(y spatial) * (c / groups) * prod(filter).
[[nodiscard]] double flops(const Problem& problem);

}  // namespace reformer::core
