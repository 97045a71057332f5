#pragma once

#include "examples/backend.h"

#include "core/problem.h"

#include <cudnn.h>

#include <array>
#include <memory>
#include <string>

// Problems as cuDNN's backend API describes them.
namespace example {

[[nodiscard]] cudnnDataType_t data_type(reformer::core::DataType type);

// The descriptor type and attributes of each operation: convolution, x, w, y, alpha, beta.
struct OperationNames {
  cudnnBackendDescriptorType_t type;
  std::array<cudnnBackendAttributeName_t, 6> attributes;
};
inline constexpr std::array<OperationNames, 3> kOperations{{
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

// A graph of one convolution, whose tensors have the unique ids 'x', 'w' and 'y'. Without a handle
// it belongs to no GPU.
[[nodiscard]] std::unique_ptr<Descriptor> make_graph(const reformer::core::Problem& problem,
                                                     cudnnHandle_t handle);

// The properties of a GPU that is not there.
[[nodiscard]] std::unique_ptr<Descriptor> device_properties(const std::string& json);

}  // namespace example
