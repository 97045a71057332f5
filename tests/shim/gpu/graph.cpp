#include "tests/shim/gpu/checks.h"

#include <array>
#include <utility>
#include <vector>

namespace gpu_check {
namespace {

namespace core = reformer::core;
using example::Descriptor;

cudnnDataType_t data_type(core::DataType type) {
  return type == core::DataType::kF16    ? CUDNN_DATA_HALF
         : type == core::DataType::kBf16 ? CUDNN_DATA_BFLOAT16
                                         : CUDNN_DATA_FLOAT;
}

// 2-D problems only: without the depth, which is the last axis but two.
template <typename Array>
std::vector<std::int64_t> flat(const Array& values) {
  std::vector<std::int64_t> chosen(values.begin(), values.end());
  chosen.erase(chosen.end() - 3);
  return chosen;
}

void describe(Descriptor& tensor, const core::TensorSpec& spec, std::int64_t uid) {
  const cudnnDataType_t type = data_type(spec.type);
  tensor.set(CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type);
  tensor.set_ints(CUDNN_ATTR_TENSOR_DIMENSIONS, flat(spec.dims));
  tensor.set_ints(CUDNN_ATTR_TENSOR_STRIDES, flat(spec.strides));
  tensor.set_int(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, spec.alignment);
  tensor.set_int(CUDNN_ATTR_TENSOR_UNIQUE_ID, uid);
  tensor.finalize();
}

void describe(Descriptor& convolution, const core::Problem& problem) {
  const cudnnDataType_t compute = data_type(problem.compute_type);
  const cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;
  convolution.set(CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &compute);
  convolution.set(CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, &mode);
  convolution.set_int(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, 2);
  convolution.set_ints(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, flat(problem.pad_before));
  convolution.set_ints(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, flat(problem.pad_after));
  convolution.set_ints(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, flat(problem.stride));
  convolution.set_ints(CUDNN_ATTR_CONVOLUTION_DILATIONS, flat(problem.dilation));
  convolution.finalize();
}

// Attributes of an operation in the order convolution, x, w, y, alpha, beta.
struct Names {
  cudnnBackendDescriptorType_t type;
  std::array<cudnnBackendAttributeName_t, 6> attributes;
};
constexpr std::array<Names, 3> kNames{{
    {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
     {CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
      CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
      CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
      CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
      CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA,
      CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA}},
    {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
     {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
      CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX,
      CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
      CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY,
      CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA,
      CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA}},
    {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
     {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
      CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X,
      CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
      CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
      CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA,
      CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA}},
}};

}  // namespace

std::unique_ptr<Descriptor> make_graph(const core::Problem& problem, cudnnHandle_t handle) {
  Descriptor x(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
  Descriptor w(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
  Descriptor y(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
  Descriptor convolution(CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
  describe(x, problem.x, 'x');
  describe(w, problem.w, 'w');
  describe(y, problem.y, 'y');
  describe(convolution, problem);
  const Names& names = kNames.at(static_cast<std::size_t>(problem.operation));
  Descriptor operation(names.type);
  const Descriptor* parts[] = {&convolution, &x, &w, &y};
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

}  // namespace gpu_check
