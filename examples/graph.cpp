#include "examples/graph.h"

#include <cstddef>
#include <vector>

namespace example {

namespace core = reformer::core;

cudnnDataType_t data_type(core::DataType type) {
  switch (type) {
    case core::DataType::kF64:
      return CUDNN_DATA_DOUBLE;
    case core::DataType::kF16:
      return CUDNN_DATA_HALF;
    case core::DataType::kBf16:
      return CUDNN_DATA_BFLOAT16;
    case core::DataType::kI8:
      return CUDNN_DATA_INT8;
    case core::DataType::kU8:
      return CUDNN_DATA_UINT8;
    case core::DataType::kI32:
      return CUDNN_DATA_INT32;
    case core::DataType::kI64:
      return CUDNN_DATA_INT64;
    case core::DataType::kFp8E4m3:
      return CUDNN_DATA_FP8_E4M3;
    case core::DataType::kFp8E5m2:
      return CUDNN_DATA_FP8_E5M2;
    case core::DataType::kFastFloatForFp8:
      return CUDNN_DATA_FAST_FLOAT_FOR_FP8;
    case core::DataType::kF32:
      break;
  }
  return CUDNN_DATA_FLOAT;
}

namespace {

// The axes of a 2-D or 3-D problem, without a flat depth.
template <typename Array>
std::vector<std::int64_t> axes(const Array& values, bool deep) {
  std::vector<std::int64_t> chosen;
  const std::size_t depth = values.size() - 3;
  for (std::size_t axis = 0; axis < values.size(); ++axis) {
    if (deep || axis != depth) {
      chosen.push_back(values[axis]);
    }
  }
  return chosen;
}

std::unique_ptr<Descriptor> make_tensor(const core::TensorSpec& spec, bool deep, std::int64_t uid) {
  auto tensor = std::make_unique<Descriptor>(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
  const cudnnDataType_t type = data_type(spec.type);
  tensor->set(CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type);
  tensor->set_ints(CUDNN_ATTR_TENSOR_DIMENSIONS, axes(spec.dims, deep));
  tensor->set_ints(CUDNN_ATTR_TENSOR_STRIDES, axes(spec.strides, deep));
  tensor->set_int(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, spec.alignment);
  tensor->set_int(CUDNN_ATTR_TENSOR_UNIQUE_ID, uid);
  tensor->finalize();
  return tensor;
}

std::unique_ptr<Descriptor> make_convolution(const core::Problem& problem, bool deep) {
  auto convolution = std::make_unique<Descriptor>(CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
  const cudnnDataType_t compute = data_type(problem.compute_type);
  const cudnnConvolutionMode_t mode = problem.mode == core::ConvolutionMode::kConvolution
                                          ? CUDNN_CONVOLUTION
                                          : CUDNN_CROSS_CORRELATION;
  convolution->set(CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &compute);
  convolution->set(CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, &mode);
  convolution->set_int(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, deep ? 3 : 2);
  convolution->set_ints(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, axes(problem.pad_before, deep));
  convolution->set_ints(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, axes(problem.pad_after, deep));
  convolution->set_ints(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, axes(problem.stride, deep));
  convolution->set_ints(CUDNN_ATTR_CONVOLUTION_DILATIONS, axes(problem.dilation, deep));
  convolution->finalize();
  return convolution;
}

}  // namespace

std::unique_ptr<Descriptor> make_graph(const core::Problem& problem, cudnnHandle_t handle) {
  const bool deep = problem.spatial_rank == 3;
  const auto x = make_tensor(problem.x, deep, 'x');
  const auto w = make_tensor(problem.w, deep, 'w');
  const auto y = make_tensor(problem.y, deep, 'y');
  const auto convolution = make_convolution(problem, deep);
  const OperationNames& names = kOperations.at(static_cast<std::size_t>(problem.operation));
  Descriptor operation(names.type);
  const Descriptor* parts[] = {convolution.get(), x.get(), w.get(), y.get()};
  for (std::size_t i = 0; i < 4; ++i) {
    operation.set_descriptor(names.attributes[i], *parts[i]);
  }
  const float factors[] = {1, 0};
  operation.set(names.attributes[4], CUDNN_TYPE_FLOAT, 1, &factors[0]);
  operation.set(names.attributes[5], CUDNN_TYPE_FLOAT, 1, &factors[1]);
  operation.finalize();
  auto graph = std::make_unique<Descriptor>(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
  graph->set_descriptor(CUDNN_ATTR_OPERATIONGRAPH_OPS, operation);
  if (handle != nullptr) {
    graph->set(CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, &handle);
  }
  graph->finalize();
  return graph;
}

std::unique_ptr<Descriptor> device_properties(const std::string& json) {
  auto properties = std::make_unique<Descriptor>(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR);
  properties->set(CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION,
                  CUDNN_TYPE_CHAR,
                  static_cast<std::int64_t>(json.size()),
                  json.data());
  properties->finalize();
  return properties;
}

}  // namespace example
