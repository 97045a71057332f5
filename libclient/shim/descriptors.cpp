#include "libclient/shim/descriptors.h"

#include <algorithm>
#include <cstring>

namespace reformer::shim {
namespace {

// The first value as a number, whatever its width.
std::int64_t number(cudnnBackendAttributeType_t type, const void* values) {
  if (type == CUDNN_TYPE_INT64) {
    std::int64_t wide = 0;
    std::memcpy(&wide, values, sizeof wide);
    return wide;
  }
  if (type == CUDNN_TYPE_BOOLEAN) {
    bool flag = false;
    std::memcpy(&flag, values, sizeof flag);
    return flag ? 1 : 0;
  }
  std::int32_t narrow = 0;  // the enumerations
  std::memcpy(&narrow, values, sizeof narrow);
  return narrow;
}

double real_number(cudnnBackendAttributeType_t type, const void* values) {
  double wide = 0;
  float narrow = 0;
  if (type == CUDNN_TYPE_DOUBLE) {
    std::memcpy(&wide, values, sizeof wide);
    return wide;
  }
  std::memcpy(&narrow, values, sizeof narrow);
  return narrow;
}

cudnnBackendDescriptor_t descriptor_in(const void* values) {
  cudnnBackendDescriptor_t descriptor = nullptr;
  std::memcpy(&descriptor, values, sizeof descriptor);
  return descriptor;
}

template <std::size_t kSize>
bool read_numbers(std::int64_t count, const void* values, std::array<std::int64_t, kSize>& out) {
  if (count < 0 || static_cast<std::size_t>(count) > kSize) {
    return false;
  }
  std::memcpy(out.data(), values, static_cast<std::size_t>(count) * sizeof out[0]);
  return true;
}

void note(TensorRecord& tensor,
          cudnnBackendAttributeName_t name,
          cudnnBackendAttributeType_t type,
          std::int64_t count,
          const void* values) {
  switch (name) {
    case CUDNN_ATTR_TENSOR_DATA_TYPE:
      tensor.type = number(type, values);
      break;
    case CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT:
      tensor.alignment = number(type, values);
      break;
    case CUDNN_ATTR_TENSOR_DIMENSIONS:
      tensor.strange |= !read_numbers(count, values, tensor.dims);
      tensor.dim_count = static_cast<std::size_t>(count);
      break;
    case CUDNN_ATTR_TENSOR_STRIDES:
      tensor.strange |= !read_numbers(count, values, tensor.strides);
      tensor.stride_count = static_cast<std::size_t>(count);
      break;
    case CUDNN_ATTR_TENSOR_UNIQUE_ID:
      break;
    case CUDNN_ATTR_TENSOR_VECTOR_COUNT:
      tensor.strange |= number(type, values) != 1;
      break;
    case CUDNN_ATTR_TENSOR_VECTORIZED_DIMENSION:
      break;
    case CUDNN_ATTR_TENSOR_IS_VIRTUAL:
    case CUDNN_ATTR_TENSOR_IS_BY_VALUE:
    case CUDNN_ATTR_TENSOR_REORDERING_MODE:
      tensor.strange |= number(type, values) != 0;
      break;
    default:
      tensor.strange = true;
  }
}

void note(ConvolutionRecord& convolution,
          cudnnBackendAttributeName_t name,
          cudnnBackendAttributeType_t type,
          std::int64_t count,
          const void* values) {
  switch (name) {
    case CUDNN_ATTR_CONVOLUTION_COMP_TYPE:
      convolution.compute_type = number(type, values);
      break;
    case CUDNN_ATTR_CONVOLUTION_CONV_MODE:
      convolution.mode = number(type, values);
      break;
    case CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS:
      convolution.rank = number(type, values);
      break;
    case CUDNN_ATTR_CONVOLUTION_DILATIONS:
      convolution.strange |= !read_numbers(count, values, convolution.dilation);
      break;
    case CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES:
      convolution.strange |= !read_numbers(count, values, convolution.stride);
      break;
    case CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS:
      convolution.strange |= !read_numbers(count, values, convolution.pad_before);
      break;
    case CUDNN_ATTR_CONVOLUTION_POST_PADDINGS:
      convolution.strange |= !read_numbers(count, values, convolution.pad_after);
      break;
    default:
      convolution.strange = true;
  }
}

// Which part of an operation an attribute sets.
enum class Part { kConvolution, kX, kW, kY, kAlpha, kBeta, kOther };

Part part_of(cudnnBackendAttributeName_t name) {
  switch (name) {
    case CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC:
    case CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC:
    case CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC:
      return Part::kConvolution;
    case CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X:
    case CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX:
    case CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X:
      return Part::kX;
    case CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W:
    case CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W:
    case CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW:
      return Part::kW;
    case CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y:
    case CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY:
    case CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY:
      return Part::kY;
    case CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA:
    case CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA:
    case CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA:
      return Part::kAlpha;
    case CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA:
    case CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA:
    case CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA:
      return Part::kBeta;
    default:
      return Part::kOther;
  }
}

void note_operation(Descriptors& descriptors,
                    cudnnBackendDescriptor_t descriptor,
                    cudnnBackendAttributeName_t name,
                    cudnnBackendAttributeType_t type,
                    const void* values) {
  const Part part = part_of(name);
  std::optional<ConvolutionRecord> convolution;
  std::optional<TensorRecord> tensor;
  if (part == Part::kConvolution) {
    convolution = descriptors.copy<ConvolutionRecord>(descriptor_in(values));
  } else if (part == Part::kX || part == Part::kW || part == Part::kY) {
    tensor = descriptors.copy<TensorRecord>(descriptor_in(values));
  }
  descriptors.with<OperationRecord>(descriptor, [&](OperationRecord& operation) {
    switch (part) {
      case Part::kConvolution:
        operation.convolution = convolution;
        break;
      case Part::kX:
        operation.x = tensor;
        break;
      case Part::kW:
        operation.w = tensor;
        break;
      case Part::kY:
        operation.y = tensor;
        break;
      case Part::kAlpha:  // other factors were not measured
        operation.strange |= real_number(type, values) != 1;
        break;
      case Part::kBeta:
        operation.strange |= real_number(type, values) != 0;
        break;
      case Part::kOther:
        operation.strange = true;
    }
  });
}

void note_graph(Descriptors& descriptors,
                cudnnBackendDescriptor_t descriptor,
                cudnnBackendAttributeName_t name,
                std::int64_t count,
                const void* values) {
  if (name != CUDNN_ATTR_OPERATIONGRAPH_OPS) {
    return;
  }
  std::optional<core::Problem> problem;
  if (count == 1) {
    if (const auto operation = descriptors.copy<OperationRecord>(descriptor_in(values))) {
      problem = problem_of(*operation);
    }
  }
  descriptors.with<GraphRecord>(descriptor, [&](GraphRecord& graph) { graph.problem = problem; });
}

void note(HeuristicsRecord& heuristics,
          cudnnBackendAttributeName_t name,
          cudnnBackendAttributeType_t type,
          const void* values) {
  switch (name) {
    case CUDNN_ATTR_ENGINEHEUR_MODE:
      heuristics.mode = number(type, values);
      break;
    case CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH:
      heuristics.graph = descriptor_in(values);
      break;
    case CUDNN_ATTR_ENGINEHEUR_DEVICEPROP:
      heuristics.device_properties = descriptor_in(values);
      break;
    case CUDNN_ATTR_ENGINEHEUR_SM_COUNT_TARGET:  // part of a GPU: nobody measured that
      heuristics.strange |= number(type, values) != 0;
      break;
    default:
      heuristics.strange = true;
  }
}

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

OperationRecord operation_record(core::Operation operation) {
  OperationRecord record;
  record.operation = operation;
  return record;
}

}  // namespace

void Descriptors::put(cudnnBackendDescriptor_t descriptor, Record record) {
  Shard& shard = shard_of(descriptor);
  const std::lock_guard lock(shard.mutex);
  shard.records.insert_or_assign(descriptor, std::move(record));
}

Record Descriptors::take(cudnnBackendDescriptor_t descriptor) {
  Shard& shard = shard_of(descriptor);
  const std::lock_guard lock(shard.mutex);
  const auto node = shard.records.extract(descriptor);
  return node.empty() ? Record{} : std::move(node.mapped());
}

Record record_for(cudnnBackendDescriptorType_t type, cudnnBackendDescriptor_t descriptor) {
  switch (type) {
    case CUDNN_BACKEND_TENSOR_DESCRIPTOR:
      return TensorRecord{};
    case CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR:
      return ConvolutionRecord{};
    case CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR:
      return operation_record(core::Operation::kForward);
    case CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR:
      return operation_record(core::Operation::kDataGradient);
    case CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR:
      return operation_record(core::Operation::kFilterGradient);
    case CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR:
      return GraphRecord{std::make_shared<Kept>(descriptor), std::nullopt};
    case CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR:
      return DevicePropertiesRecord{std::make_shared<Kept>(descriptor), {}};
    case CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR:
      return HeuristicsRecord{};
    case CUDNN_BACKEND_ENGINECFG_DESCRIPTOR:
      return ConfigurationRecord{};
    case CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR:
      return PlanRecord{};
    default:
      return std::monostate{};
  }
}

void note_attribute(Descriptors& descriptors,
                    cudnnBackendDescriptor_t descriptor,
                    cudnnBackendAttributeName_t name,
                    cudnnBackendAttributeType_t type,
                    std::int64_t count,
                    const void* values) {
  if (values == nullptr || count <= 0) {
    return;
  }
  if (name == CUDNN_ATTR_OPERATIONGRAPH_OPS) {
    note_graph(descriptors, descriptor, name, count, values);
    return;
  }
  if (name == CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG) {
    client::UseCounter* counter = nullptr;
    descriptors.with<ConfigurationRecord>(
        descriptor_in(values),
        [&counter](const ConfigurationRecord& config) { counter = config.counter; });
    descriptors.with<PlanRecord>(descriptor,
                                 [counter](PlanRecord& plan) { plan.counter = counter; });
    return;
  }
  bool is_operation = false;
  descriptors.with_any(descriptor, [&](Record& record) {
    if (auto* tensor = std::get_if<TensorRecord>(&record)) {
      note(*tensor, name, type, count, values);
    } else if (auto* convolution = std::get_if<ConvolutionRecord>(&record)) {
      note(*convolution, name, type, count, values);
    } else if (auto* heuristics = std::get_if<HeuristicsRecord>(&record)) {
      note(*heuristics, name, type, values);
    } else if (auto* properties = std::get_if<DevicePropertiesRecord>(&record)) {
      if (name == CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION) {
        properties->json.assign(static_cast<const char*>(values), static_cast<std::size_t>(count));
      }
    }
    is_operation = std::holds_alternative<OperationRecord>(record);
  });
  if (is_operation) {
    note_operation(descriptors, descriptor, name, type, values);
  }
}

std::optional<core::Problem> problem_of(const OperationRecord& operation) {
  if (operation.strange || !operation.convolution || operation.convolution->strange ||
      !operation.x || !operation.w || !operation.y) {
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

}  // namespace reformer::shim
