#include "core/problem.h"

#include <algorithm>
#include <bit>
#include <string>
#include <utility>

namespace reformer::core {
namespace {

constexpr std::int64_t kMaxDim = std::int64_t{1} << 32;
constexpr std::int64_t kMaxElements = std::int64_t{1} << 40;
constexpr std::int32_t kMaxSpatialParameter = 1 << 24;

Error invalid(std::string_view field, std::string_view why) {
  return make_error(ErrorCode::kInvalidArgument, std::string(field) + ": " + std::string(why));
}

// Element count of a tensor with sane dims, or -1.
std::int64_t element_count(const std::array<std::int64_t, kTensorAxes>& dims) {
  std::int64_t count = 1;
  for (const std::int64_t dim : dims) {
    if (dim <= 0 || dim > kMaxDim || count > kMaxElements / dim) {
      return -1;
    }
    count *= dim;
  }
  return count;
}

bool fits(const TensorSpec& tensor, Layout layout) {
  const auto packed = packed_strides(tensor.dims, layout);
  for (std::size_t axis = 0; axis < kTensorAxes; ++axis) {
    if (tensor.dims[axis] != 1 && tensor.strides[axis] != packed[axis]) {
      return false;
    }
  }
  return true;
}

Status check_tensor(const TensorSpec& tensor, std::string_view name) {
  if (static_cast<int>(tensor.type) >= kDataTypeCount ||
      tensor.type == DataType::kFastFloatForFp8) {
    return invalid(name, "unknown data type");
  }
  if (element_count(tensor.dims) < 0) {
    return invalid(name, "dims must be positive, with at most 2^40 elements in all");
  }
  for (std::size_t axis = 0; axis < kTensorAxes; ++axis) {
    if (tensor.dims[axis] != 1 &&
        (tensor.strides[axis] <= 0 || tensor.strides[axis] > kMaxElements)) {
      return invalid(name, "strides must be positive, at most 2^40");
    }
  }
  if (!std::has_single_bit(tensor.alignment)) {
    return invalid(name, "alignment must be a power of two");
  }
  return ok_status();
}

Status check_spatial(const Problem& problem) {
  for (std::size_t axis = 0; axis < kSpatialAxes; ++axis) {
    const auto in_range = [](std::int32_t value, std::int32_t low) {
      return value >= low && value <= kMaxSpatialParameter;
    };
    if (!in_range(problem.pad_before[axis], 0) || !in_range(problem.pad_after[axis], 0)) {
      return invalid("padding", "must be 0 to 2^24");
    }
    if (!in_range(problem.stride[axis], 1)) {
      return invalid("stride", "must be 1 to 2^24");
    }
    if (!in_range(problem.dilation[axis], 1)) {
      return invalid("dilation", "must be 1 to 2^24");
    }
  }
  const bool flat = problem.x.dims[2] == 1 && problem.w.dims[2] == 1 && problem.y.dims[2] == 1 &&
                    problem.pad_before[0] == 0 && problem.pad_after[0] == 0 &&
                    problem.stride[0] == 1;
  if (problem.spatial_rank == 2 && !flat) {
    return invalid("spatial_rank", "a 2-D problem has depth 1");
  }
  return ok_status();
}

Status check_channels(const Problem& problem) {
  const std::int64_t channels = problem.x.dims[1];
  const std::int64_t per_group = problem.w.dims[1];
  if (channels % per_group != 0) {
    return invalid("w", "channels must divide those of x");
  }
  if (problem.w.dims[0] % (channels / per_group) != 0) {
    return invalid("w", "output channels must be a multiple of the groups");
  }
  return ok_status();
}

// Strides of axes of size 1 address nothing: they become those of the tensor's packed layout.
void normalise_strides(Problem& problem) {
  TensorSpec* const tensors[] = {&problem.x, &problem.y, &problem.w};
  Layout common = Layout::kNchw;
  for (const TensorSpec* tensor : tensors) {
    const bool nchw = fits(*tensor, Layout::kNchw);
    const bool nhwc = fits(*tensor, Layout::kNhwc);
    if (nchw != nhwc) {
      common = nchw ? Layout::kNchw : Layout::kNhwc;
      break;
    }
  }
  for (TensorSpec* tensor : tensors) {
    const bool nchw = fits(*tensor, Layout::kNchw);
    const bool nhwc = fits(*tensor, Layout::kNhwc);
    if (nchw || nhwc) {
      const Layout layout = nchw && nhwc ? common : nchw ? Layout::kNchw : Layout::kNhwc;
      tensor->strides = packed_strides(tensor->dims, layout);
      continue;
    }
    for (std::size_t axis = 0; axis < kTensorAxes; ++axis) {
      if (tensor->dims[axis] == 1) {
        tensor->strides[axis] = 1;
      }
    }
  }
}

}  // namespace

std::array<std::int64_t, kTensorAxes> packed_strides(
    const std::array<std::int64_t, kTensorAxes>& dims, Layout layout) {
  std::array<std::int64_t, kTensorAxes> strides{};
  // Axes from the fastest-varying one outwards.
  constexpr std::array<std::size_t, kTensorAxes> kNchwOrder{4, 3, 2, 1, 0};
  constexpr std::array<std::size_t, kTensorAxes> kNhwcOrder{1, 4, 3, 2, 0};
  // Without a sign: dims that are too large wrap around, and are refused later.
  std::uint64_t stride = 1;
  for (const std::size_t axis : layout == Layout::kNhwc ? kNhwcOrder : kNchwOrder) {
    strides[axis] = static_cast<std::int64_t>(stride);
    stride *= static_cast<std::uint64_t>(dims[axis]);
  }
  return strides;
}

Layout layout_of(const TensorSpec& tensor) {
  if (fits(tensor, Layout::kNchw)) {
    // Both fit where they differ in nothing that is addressed; canonical strides then say which.
    const bool only_nhwc_strides = tensor.strides == packed_strides(tensor.dims, Layout::kNhwc) &&
                                   tensor.strides != packed_strides(tensor.dims, Layout::kNchw);
    return only_nhwc_strides ? Layout::kNhwc : Layout::kNchw;
  }
  return fits(tensor, Layout::kNhwc) ? Layout::kNhwc : Layout::kStrided;
}

std::array<std::int64_t, kTensorAxes> output_dims(const Problem& problem) {
  std::array<std::int64_t, kTensorAxes> dims{problem.x.dims[0], problem.w.dims[0], 1, 1, 1};
  for (std::size_t axis = 0; axis < kSpatialAxes; ++axis) {
    const std::int64_t filter = problem.dilation[axis] * (problem.w.dims[axis + 2] - 1) + 1;
    const std::int64_t room =
        problem.x.dims[axis + 2] + problem.pad_before[axis] + problem.pad_after[axis] - filter;
    dims[axis + 2] = room < 0 ? 0 : room / problem.stride[axis] + 1;
  }
  return dims;
}

Result<Problem> canonicalise(const Problem& problem) {
  if (static_cast<int>(problem.operation) > 2) {
    return invalid("operation", "unknown");
  }
  if (static_cast<int>(problem.mode) > 1) {
    return invalid("mode", "unknown");
  }
  if (static_cast<int>(problem.compute_type) >= kDataTypeCount) {
    return invalid("compute type", "unknown");
  }
  if (problem.spatial_rank != 2 && problem.spatial_rank != 3) {
    return invalid("spatial_rank", "must be 2 or 3");
  }
  for (const auto& [tensor, name] :
       {std::pair{&problem.x, "x"}, std::pair{&problem.w, "w"}, std::pair{&problem.y, "y"}}) {
    if (const Status checked = check_tensor(*tensor, name); !checked) {
      return checked.error();
    }
  }
  if (const Status checked = check_spatial(problem); !checked) {
    return checked.error();
  }
  if (const Status checked = check_channels(problem); !checked) {
    return checked.error();
  }
  if (problem.y.dims != output_dims(problem)) {
    return invalid("y", "dims do not follow from x, w, padding, stride and dilation");
  }
  Problem canonical = problem;
  canonical.reserved = 0;
  for (TensorSpec* tensor : {&canonical.x, &canonical.w, &canonical.y}) {
    tensor->reserved = 0;
    tensor->reserved2 = 0;
    tensor->alignment = std::min(tensor->alignment, kMaxAlignment);
  }
  for (std::size_t axis = 0; axis < kSpatialAxes; ++axis) {
    if (canonical.w.dims[axis + 2] == 1) {
      canonical.dilation[axis] = 1;
    }
  }
  normalise_strides(canonical);
  return canonical;
}

double flops(const Problem& problem) {
  double product = 2.0 * static_cast<double>(problem.w.dims[1]);
  for (const std::int64_t dim : problem.y.dims) {
    product *= static_cast<double>(dim);
  }
  for (std::size_t axis = 2; axis < kTensorAxes; ++axis) {
    product *= static_cast<double>(problem.w.dims[axis]);
  }
  return product;
}

}  // namespace reformer::core
