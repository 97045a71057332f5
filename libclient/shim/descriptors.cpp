#include "libclient/shim/descriptors.h"

#include <algorithm>
#include <cstring>
#include <iterator>

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

cudnnHandle_t handle_in(const void* values) {
  cudnnHandle_t handle = nullptr;
  std::memcpy(&handle, values, sizeof(void*));
  return handle;
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
      tensor.id = number(type, values);
      break;
    case CUDNN_ATTR_TENSOR_IS_VIRTUAL:
      tensor.is_virtual = number(type, values) != 0;
      break;
    case CUDNN_ATTR_TENSOR_VECTOR_COUNT:
      tensor.strange |= number(type, values) != 1;
      break;
    case CUDNN_ATTR_TENSOR_VECTORIZED_DIMENSION:
      break;
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

void note_pointwise(Descriptors& descriptors,
                    cudnnBackendDescriptor_t descriptor,
                    cudnnBackendAttributeName_t name,
                    cudnnBackendAttributeType_t type,
                    std::int64_t count,
                    const void* values) {
  constexpr cudnnBackendAttributeName_t kRoles[] = {CUDNN_ATTR_OPERATION_POINTWISE_XDESC,
                                                    CUDNN_ATTR_OPERATION_POINTWISE_BDESC,
                                                    CUDNN_ATTR_OPERATION_POINTWISE_YDESC,
                                                    CUDNN_ATTR_OPERATION_POINTWISE_TDESC,
                                                    CUDNN_ATTR_OPERATION_POINTWISE_DXDESC,
                                                    CUDNN_ATTR_OPERATION_POINTWISE_DYDESC};
  static_assert(std::size(kRoles) == PointwiseOperationRecord::kRoles);
  std::uint64_t settings = 0;
  std::optional<TensorRecord> tensor;
  const auto role = static_cast<std::size_t>(std::find(std::begin(kRoles), std::end(kRoles), name) -
                                             std::begin(kRoles));
  bool strange = false;
  if (role < std::size(kRoles)) {
    tensor = descriptors.copy<TensorRecord>(descriptor_in(values));
    strange = !tensor;
  } else if (name == CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR) {
    const auto pointwise = descriptors.copy<PointwiseRecord>(descriptor_in(values));
    strange = !pointwise;
    settings = pointwise ? pointwise->settings : 0;
  } else {
    settings = hash_attribute(name, type, count, values);
  }
  descriptors.with<PointwiseOperationRecord>(descriptor, [&](PointwiseOperationRecord& operation) {
    operation.settings += settings;
    operation.strange |= strange;
    if (tensor) {
      operation.tensors[role] = tensor;
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
  const auto* operations = static_cast<const cudnnBackendDescriptor_t*>(values);
  const std::optional<core::Problem> problem =
      problem_of_graph(descriptors, {operations, static_cast<std::size_t>(count)});
  TensorIds ids{};
  if (count == 1) {
    descriptors.with<OperationRecord>(operations[0], [&ids](const OperationRecord& operation) {
      if (operation.x && operation.w && operation.y) {
        ids = {operation.x->id, operation.w->id, operation.y->id};
      }
    });
  }
  descriptors.with<GraphRecord>(descriptor, [&](GraphRecord& graph) {
    graph.problem = problem;
    graph.ids = ids;
  });
}

void note(GraphRecord& graph,
          cudnnBackendAttributeName_t name,
          cudnnBackendAttributeType_t type,
          const void* values) {
  if (name == CUDNN_ATTR_OPERATIONGRAPH_HANDLE) {
    graph.handle = handle_in(values);
  } else if (name == CUDNN_ATTR_OPERATIONGRAPH_IS_DYNAMIC_SHAPE_ENABLED) {
    graph.strange |= number(type, values) != 0;  // its plans are for other sizes, too
  }
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

OperationRecord operation_record(core::Operation operation) {
  OperationRecord record;
  record.operation = operation;
  return record;
}

}  // namespace

void Descriptors::put(cudnnBackendDescriptor_t descriptor, Record record) {
  Shard& shard = shard_of(descriptor);
  const std::lock_guard lock(shard.mutex);
  const auto present = shard.records.find(descriptor);
  if (present != shard.records.end()) {
    present->second = std::move(record);
  } else if (shard.spare.empty()) {
    shard.records.emplace(descriptor, std::move(record));
  } else {
    auto node = std::move(shard.spare.back());
    shard.spare.pop_back();
    node.key() = descriptor;
    node.mapped() = std::move(record);
    shard.records.insert(std::move(node));
  }
}

Record Descriptors::take(cudnnBackendDescriptor_t descriptor) {
  Shard& shard = shard_of(descriptor);
  const std::lock_guard lock(shard.mutex);
  auto node = shard.records.extract(descriptor);
  if (node.empty()) {
    return Record{};
  }
  Record record = std::exchange(node.mapped(), Record{});
  if (shard.spare.size() < kSpare) {
    shard.spare.push_back(std::move(node));
  }
  return record;
}

void Descriptors::lock_all() {
  for (Shard& shard : shards_) {
    shard.mutex.lock();
  }
}

void Descriptors::unlock_all() {
  for (Shard& shard : shards_) {
    shard.mutex.unlock();
  }
}

Record record_for(cudnnBackendDescriptorType_t type) {
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
    case CUDNN_BACKEND_POINTWISE_DESCRIPTOR:
      return PointwiseRecord{};
    case CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR:
      return PointwiseOperationRecord{};
    case CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR:
      return GraphRecord{};
    case CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR:
      return DevicePropertiesRecord{};
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
  bool is_pointwise = false;
  descriptors.with_any(descriptor, [&](Record& record) {
    if (auto* tensor = std::get_if<TensorRecord>(&record)) {
      note(*tensor, name, type, count, values);
    } else if (auto* convolution = std::get_if<ConvolutionRecord>(&record)) {
      note(*convolution, name, type, count, values);
    } else if (auto* heuristics = std::get_if<HeuristicsRecord>(&record)) {
      note(*heuristics, name, type, values);
    } else if (auto* graph = std::get_if<GraphRecord>(&record)) {
      note(*graph, name, type, values);
    } else if (auto* plan = std::get_if<PlanRecord>(&record)) {
      if (name == CUDNN_ATTR_EXECUTION_PLAN_HANDLE) {
        plan->handle = handle_in(values);
      } else {
        plan->strange = true;
      }
    } else if (auto* properties = std::get_if<DevicePropertiesRecord>(&record)) {
      if (name == CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION) {
        properties->json.assign(static_cast<const char*>(values), static_cast<std::size_t>(count));
      }
    }
    if (auto* pointwise = std::get_if<PointwiseRecord>(&record)) {
      pointwise->settings += hash_attribute(name, type, count, values);
    }
    is_operation = std::holds_alternative<OperationRecord>(record);
    is_pointwise = std::holds_alternative<PointwiseOperationRecord>(record);
  });
  if (is_operation) {
    note_operation(descriptors, descriptor, name, type, values);
  } else if (is_pointwise) {
    note_pointwise(descriptors, descriptor, name, type, count, values);
  }
}

}  // namespace reformer::shim
