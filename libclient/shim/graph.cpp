// From what was recorded of an operation or a graph to the problem that it is.
#include "libclient/shim/descriptors.h"

#include <algorithm>
#include <cstring>

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace reformer::shim {
namespace {

std::optional<core::DataType> data_type(std::int64_t type) {
  switch (type) {
    case CUDNN_DATA_FLOAT:
      return core::DataType::kF32;
    case CUDNN_DATA_DOUBLE:
      return core::DataType::kF64;
    case CUDNN_DATA_HALF:
      return core::DataType::kF16;
    case CUDNN_DATA_BFLOAT16:
      return core::DataType::kBf16;
    case CUDNN_DATA_INT8:
      return core::DataType::kI8;
    case CUDNN_DATA_UINT8:
      return core::DataType::kU8;
    case CUDNN_DATA_INT32:
      return core::DataType::kI32;
    case CUDNN_DATA_INT64:
      return core::DataType::kI64;
    case CUDNN_DATA_FP8_E4M3:
      return core::DataType::kFp8E4m3;
    case CUDNN_DATA_FP8_E5M2:
      return core::DataType::kFp8E5m2;
    case CUDNN_DATA_FAST_FLOAT_FOR_FP8:
      return core::DataType::kFastFloatForFp8;
    default:
      return std::nullopt;
  }
}

// Five axes out of three (1-D), four (2-D) or five (3-D).
bool fill(const TensorRecord& from, std::int64_t rank, core::TensorSpec& to) {
  const auto type = data_type(from.type);
  const auto count = static_cast<std::size_t>(rank) + 2;
  if (!type || from.strange || from.dim_count != count || from.stride_count != count ||
      from.alignment <= 0) {
    return false;
  }
  to.type = *type;
  to.alignment =
      static_cast<std::uint16_t>(std::min<std::int64_t>(from.alignment, core::kMaxAlignment));
  const std::size_t missing = core::kTensorAxes - count;
  for (std::size_t axis = 0; axis < count; ++axis) {
    const std::size_t place = axis < 2 ? axis : axis + missing;
    to.dims[place] = from.dims[axis];
    to.strides[place] = from.strides[axis];
  }
  return true;
}

bool fill(const std::array<std::int64_t, 3>& from,
          std::int64_t rank,
          std::array<std::int32_t, core::kSpatialAxes>& to) {
  const auto missing = core::kSpatialAxes - static_cast<std::size_t>(rank);
  for (std::size_t axis = 0; axis < static_cast<std::size_t>(rank); ++axis) {
    if (from[axis] < 0 || from[axis] > INT32_MAX) {
      return false;
    }
    to[axis + missing] = static_cast<std::int32_t>(from[axis]);
  }
  return true;
}

// Hashes what a graph is besides its convolution. Tensors are known by the order in which they
// first appear.
class FusionHash {
 public:
  void add(std::uint64_t word) { hash_ = XXH3_64bits_withSeed(&word, sizeof word, hash_); }
  // False if two tensors cannot be told apart.
  [[nodiscard]] bool add(const TensorRecord& tensor) {
    if (tensor.strange || tensor.id == 0) {
      return false;
    }
    const auto known = std::find(ids_.begin(), ids_.begin() + count_, tensor.id);
    add(static_cast<std::uint64_t>(known - ids_.begin()));
    if (known != ids_.begin() + count_) {
      return true;
    }
    if (count_ == kMostTensors) {
      return false;
    }
    ids_[static_cast<std::size_t>(count_++)] = tensor.id;
    add(static_cast<std::uint64_t>(tensor.type) * 2 + (tensor.is_virtual ? 1 : 0));
    add(static_cast<std::uint64_t>(std::min<std::int64_t>(tensor.alignment, core::kMaxAlignment)));
    for (std::size_t axis = 0; axis < tensor.dim_count; ++axis) {
      add(static_cast<std::uint64_t>(tensor.dims[axis]));
      add(static_cast<std::uint64_t>(tensor.strides[axis]));
    }
    return true;
  }
  [[nodiscard]] std::uint64_t value() const { return hash_ == 0 ? 1 : hash_; }

 private:
  static constexpr std::ptrdiff_t kMostTensors = 64;
  std::array<std::int64_t, kMostTensors> ids_{};
  std::ptrdiff_t count_ = 0;
  std::uint64_t hash_ = 0;
};

bool add_pointwise(const PointwiseOperationRecord& operation, FusionHash& fusion) {
  fusion.add(operation.settings);
  for (std::size_t role = 0; role < PointwiseOperationRecord::kRoles; ++role) {
    if (operation.tensors[role]) {
      fusion.add(role + 1);
      if (!fusion.add(*operation.tensors[role])) {
        return false;
      }
    }
  }
  return !operation.strange;
}

}  // namespace

std::optional<core::Problem> problem_of(const OperationRecord& operation, Alone alone) {
  if (operation.strange || !operation.convolution || operation.convolution->strange ||
      !operation.x || !operation.w || !operation.y) {
    return std::nullopt;
  }
  if (alone == Alone::kYes &&
      (operation.x->is_virtual || operation.w->is_virtual || operation.y->is_virtual)) {
    return std::nullopt;
  }
  const ConvolutionRecord& convolution = *operation.convolution;
  const auto compute_type = data_type(convolution.compute_type);
  const std::int64_t rank = convolution.rank;
  if (!compute_type || rank < 1 || rank > 3 ||
      (convolution.mode != CUDNN_CONVOLUTION && convolution.mode != CUDNN_CROSS_CORRELATION)) {
    return std::nullopt;
  }
  core::Problem problem;
  problem.operation = operation.operation;
  problem.mode = convolution.mode == CUDNN_CONVOLUTION ? core::ConvolutionMode::kConvolution
                                                       : core::ConvolutionMode::kCrossCorrelation;
  problem.compute_type = *compute_type;
  problem.spatial_rank = rank == 3 ? 3 : 2;
  if (!fill(*operation.x, rank, problem.x) || !fill(*operation.w, rank, problem.w) ||
      !fill(*operation.y, rank, problem.y) ||
      !fill(convolution.pad_before, rank, problem.pad_before) ||
      !fill(convolution.pad_after, rank, problem.pad_after) ||
      !fill(convolution.stride, rank, problem.stride) ||
      !fill(convolution.dilation, rank, problem.dilation)) {
    return std::nullopt;
  }
  const core::Result<core::Problem> canonical = core::canonicalise(problem);
  return canonical ? std::optional(*canonical) : std::nullopt;
}

std::optional<core::Problem> problem_of_graph(
    Descriptors& descriptors, std::span<const cudnnBackendDescriptor_t> operations) {
  if (operations.size() == 1) {
    const auto operation = descriptors.copy<OperationRecord>(operations[0]);
    return operation ? problem_of(*operation) : std::nullopt;
  }
  std::optional<core::Problem> problem;
  FusionHash fusion;
  for (const cudnnBackendDescriptor_t descriptor : operations) {
    if (const auto convolution = descriptors.copy<OperationRecord>(descriptor)) {
      if (problem || !convolution->x || !convolution->w || !convolution->y ||
          !fusion.add(*convolution->x) || !fusion.add(*convolution->w) ||
          !fusion.add(*convolution->y)) {
        return std::nullopt;
      }
      problem = problem_of(*convolution, Alone::kNo);
      if (!problem) {
        return std::nullopt;
      }
      continue;
    }
    const auto pointwise = descriptors.copy<PointwiseOperationRecord>(descriptor);
    if (!pointwise || !add_pointwise(*pointwise, fusion)) {
      return std::nullopt;
    }
  }
  if (problem) {
    problem->fusion = fusion.value();
  }
  return problem;
}

std::uint64_t hash_attribute(cudnnBackendAttributeName_t name,
                             cudnnBackendAttributeType_t type,
                             std::int64_t count,
                             const void* values) {
  std::size_t bytes = 4;  // the enumerations, and float
  if (type == CUDNN_TYPE_INT64 || type == CUDNN_TYPE_DOUBLE) {
    bytes = 8;
  } else if (type == CUDNN_TYPE_BOOLEAN || type == CUDNN_TYPE_CHAR) {
    bytes = 1;
  } else if (type == CUDNN_TYPE_BACKEND_DESCRIPTOR || type == CUDNN_TYPE_HANDLE ||
             type == CUDNN_TYPE_VOID_PTR) {
    bytes = 0;  // an address says nothing
  }
  const std::uint64_t hash = XXH3_64bits_withSeed(
      values, bytes * static_cast<std::size_t>(count), static_cast<std::uint64_t>(name));
  return hash == 0 ? 1 : hash;
}

}  // namespace reformer::shim
