#include "storage/problem_bits.h"

#include <bit>
#include <limits>

namespace reformer::storage {
namespace {

using core::Layout;
using core::Problem;
using core::TensorSpec;

constexpr int kDimOrder = 3;
constexpr int kStrideOrder = 8;
constexpr int kTypeBits = 4;
constexpr int kAlignmentBits = 3;  // the exponent: at most log2 of kMaxAlignment

// What the first bit of a part says: that it is what one expects, or that it follows.
bool expected(BitReader& in) {
  return !in.flag();
}
void write_expected(BitWriter& out, bool as_expected) {
  out.flag(!as_expected);
}

template <typename Array>
void write_values(BitWriter& out, const Array& values, int order) {
  for (const auto value : values) {
    out.golomb(static_cast<std::uint64_t>(value), order);
  }
}

// Values that do not fit become -1, which no canonical problem has.
template <typename Array>
void read_values(BitReader& in, Array& values, int order) {
  using Value = typename Array::value_type;
  for (Value& value : values) {
    const std::uint64_t wide = in.golomb(order);
    value = wide <= static_cast<std::uint64_t>(std::numeric_limits<Value>::max())
                ? static_cast<Value>(wide)
                : Value{-1};
  }
}

void write_strides(BitWriter& out, const TensorSpec& tensor) {
  const Layout layout = core::layout_of(tensor);
  const bool packed =
      layout != Layout::kStrided && tensor.strides == core::packed_strides(tensor.dims, layout);
  out.bits(static_cast<std::uint64_t>(packed ? layout : Layout::kStrided), 2);
  if (!packed) {
    write_values(out, tensor.strides, kStrideOrder);
  }
}

// False for an unknown layout. The dims must be sane.
bool read_strides(BitReader& in, TensorSpec& tensor) {
  const auto layout = static_cast<Layout>(in.bits(2));
  switch (layout) {
    case Layout::kNchw:
    case Layout::kNhwc:
      tensor.strides = core::packed_strides(tensor.dims, layout);
      return true;
    case Layout::kStrided:
      read_values(in, tensor.strides, kStrideOrder);
      return true;
  }
  return false;
}

// What core::output_dims() and core::packed_strides() need in order not to overflow or divide by
// zero; canonicalise() looks at the rest.
bool dims_are_sane(const TensorSpec& tensor) {
  constexpr std::int64_t kMaxDim = std::int64_t{1} << 32;
  constexpr std::int64_t kMaxElements = std::int64_t{1} << 40;
  std::int64_t elements = 1;
  for (const std::int64_t dim : tensor.dims) {
    if (dim <= 0 || dim > kMaxDim || dim > kMaxElements / elements) {
      return false;
    }
    elements *= dim;
  }
  return true;
}
bool spatial_parameters_are_sane(const Problem& problem) {
  constexpr std::int32_t kMaxParameter = 1 << 24;
  for (std::size_t axis = 0; axis < core::kSpatialAxes; ++axis) {
    for (const std::int32_t value : {problem.pad_before[axis],
                                     problem.pad_after[axis],
                                     problem.stride[axis] - 1,
                                     problem.dilation[axis] - 1}) {
      if (value < 0 || value > kMaxParameter) {
        return false;
      }
    }
  }
  return true;
}

void write_types(BitWriter& out, const Problem& problem) {
  const auto write_type = [&out](core::DataType type) {
    out.bits(static_cast<std::uint64_t>(type), kTypeBits);
  };
  write_type(problem.compute_type);
  write_type(problem.x.type);
  const bool same = problem.w.type == problem.x.type && problem.y.type == problem.x.type;
  write_expected(out, same);
  if (!same) {
    write_type(problem.w.type);
    write_type(problem.y.type);
  }
  const TensorSpec* const tensors[] = {&problem.x, &problem.w, &problem.y};
  bool aligned = true;
  for (const TensorSpec* tensor : tensors) {
    aligned = aligned && tensor->alignment == core::kMaxAlignment;
  }
  write_expected(out, aligned);
  for (const TensorSpec* tensor : tensors) {
    if (!aligned) {
      out.bits(static_cast<std::uint64_t>(std::countr_zero(tensor->alignment)), kAlignmentBits);
    }
  }
}

void read_types(BitReader& in, Problem& problem) {
  const auto read_type = [&in] { return static_cast<core::DataType>(in.bits(kTypeBits)); };
  problem.compute_type = read_type();
  problem.x.type = read_type();
  const bool same = expected(in);
  problem.w.type = same ? problem.x.type : read_type();
  problem.y.type = same ? problem.x.type : read_type();
  const bool aligned = expected(in);
  for (TensorSpec* tensor : {&problem.x, &problem.w, &problem.y}) {
    tensor->alignment =
        aligned ? core::kMaxAlignment : static_cast<std::uint16_t>(1U << in.bits(kAlignmentBits));
  }
}

}  // namespace

void write_problem(BitWriter& out, const Problem& problem) {
  out.bits(static_cast<std::uint64_t>(problem.operation), 2);
  out.bits(static_cast<std::uint64_t>(problem.mode), 1);
  out.bits(problem.spatial_rank, 2);
  write_types(out, problem);
  write_values(out, problem.x.dims, kDimOrder);
  write_values(out, problem.w.dims, kDimOrder);
  write_values(out, problem.pad_before, 0);
  write_expected(out, problem.pad_after == problem.pad_before);
  if (problem.pad_after != problem.pad_before) {
    write_values(out, problem.pad_after, 0);
  }
  write_values(out, problem.stride, 0);
  write_values(out, problem.dilation, 0);
  write_strides(out, problem.x);
  write_strides(out, problem.w);
  write_strides(out, problem.y);
  write_expected(out, problem.fusion == 0);
  if (problem.fusion != 0) {
    out.bits(problem.fusion, 64);
  }
}

bool read_problem(BitReader& in, Problem& problem) {
  problem = Problem{};
  problem.operation = static_cast<core::Operation>(in.bits(2));
  problem.mode = static_cast<core::ConvolutionMode>(in.bits(1));
  problem.spatial_rank = static_cast<std::uint8_t>(in.bits(2));
  read_types(in, problem);
  read_values(in, problem.x.dims, kDimOrder);
  read_values(in, problem.w.dims, kDimOrder);
  read_values(in, problem.pad_before, 0);
  problem.pad_after = problem.pad_before;
  if (!expected(in)) {
    read_values(in, problem.pad_after, 0);
  }
  read_values(in, problem.stride, 0);
  read_values(in, problem.dilation, 0);
  if (!in.ok() || !dims_are_sane(problem.x) || !dims_are_sane(problem.w) ||
      !spatial_parameters_are_sane(problem)) {
    return false;
  }
  problem.y.dims = core::output_dims(problem);
  if (!dims_are_sane(problem.y) || !read_strides(in, problem.x) || !read_strides(in, problem.w) ||
      !read_strides(in, problem.y)) {
    return false;
  }
  problem.fusion = expected(in) ? 0 : in.bits(64);
  if (!in.ok()) {
    return false;
  }
  const core::Result<Problem> canonical = core::canonicalise(problem);
  return canonical.ok() && *canonical == problem;
}

}  // namespace reformer::storage
