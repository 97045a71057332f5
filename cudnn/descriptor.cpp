#include "cudnn/descriptor.h"

namespace reformer::cudnn {
namespace {

using core::Problem;
using core::TensorSpec;

cudnnDataType_t data_type(core::DataType type) {
  switch (type) {
    case core::DataType::kF32:
      return CUDNN_DATA_FLOAT;
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
  }
  return CUDNN_DATA_FLOAT;
}

// Collects the first failure of a chain of calls.
class Steps {
 public:
  explicit Steps(const Functions& functions) : functions_(functions) {}
  Steps& operator()(const char* what, cudnnStatus_t status) {
    if (status_ == CUDNN_STATUS_SUCCESS && status != CUDNN_STATUS_SUCCESS) {
      status_ = status;
      what_ = what;
    }
    return *this;
  }
  [[nodiscard]] bool good() const { return status_ == CUDNN_STATUS_SUCCESS; }
  [[nodiscard]] core::Error error() const { return status_error(functions_, what_, status_); }

 private:
  const Functions& functions_;
  cudnnStatus_t status_ = CUDNN_STATUS_SUCCESS;
  const char* what_ = "";
};

// The axes that a problem of this rank has: batch, channels, then its spatial ones.
std::vector<std::int64_t> axes(const std::array<std::int64_t, core::kTensorAxes>& values,
                               int rank) {
  std::vector<std::int64_t> result{values[0], values[1]};
  for (std::size_t axis = core::kTensorAxes - static_cast<std::size_t>(rank);
       axis < core::kTensorAxes;
       ++axis) {
    result.push_back(values[axis]);
  }
  return result;
}

std::vector<std::int64_t> spatial(const std::array<std::int32_t, core::kSpatialAxes>& values,
                                  int rank) {
  return {values.end() - rank, values.end()};
}

core::Result<Descriptor> make_tensor(const Functions& functions,
                                     const TensorSpec& tensor,
                                     std::int64_t uid,
                                     int rank) {
  auto made = Descriptor::create(functions, CUDNN_BACKEND_TENSOR_DESCRIPTOR);
  if (!made) {
    return made;
  }
  const Descriptor& d = *made;
  const cudnnDataType_t type = data_type(tensor.type);
  const auto dims = axes(tensor.dims, rank);
  const auto strides = axes(tensor.strides, rank);
  const auto count = static_cast<std::int64_t>(dims.size());
  Steps steps(functions);
  steps("tensor type", d.set(CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type))(
      "tensor dims", d.set(CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, count, dims.data()))(
      "tensor strides", d.set(CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, count, strides.data()))(
      "tensor id", d.set_int(CUDNN_ATTR_TENSOR_UNIQUE_ID, uid))(
      "tensor alignment", d.set_int(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, tensor.alignment))(
      "tensor", d.finalize());
  if (!steps.good()) {
    return steps.error();
  }
  return made;
}

core::Result<Descriptor> make_convolution(const Functions& functions, const Problem& problem) {
  auto made = Descriptor::create(functions, CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
  if (!made) {
    return made;
  }
  const Descriptor& d = *made;
  const int rank = problem.spatial_rank;
  const cudnnDataType_t compute = data_type(problem.compute_type);
  const cudnnConvolutionMode_t mode = problem.mode == core::ConvolutionMode::kConvolution
                                          ? CUDNN_CONVOLUTION
                                          : CUDNN_CROSS_CORRELATION;
  const auto set = [&](cudnnBackendAttributeName_t name,
                       const std::array<std::int32_t, core::kSpatialAxes>& values) {
    const auto chosen = spatial(values, rank);
    return d.set(name, CUDNN_TYPE_INT64, rank, chosen.data());
  };
  Steps steps(functions);
  steps("convolution type",
        d.set(CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &compute))(
      "convolution mode",
      d.set(CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, &mode))(
      "convolution rank", d.set_int(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, rank))(
      "padding", set(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, problem.pad_before))(
      "padding", set(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, problem.pad_after))(
      "stride", set(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, problem.stride))(
      "dilation", set(CUDNN_ATTR_CONVOLUTION_DILATIONS, problem.dilation))("convolution",
                                                                           d.finalize());
  if (!steps.good()) {
    return steps.error();
  }
  return made;
}

// The attributes of the three operations, in the order x, w, y, convolution, alpha, beta.
struct OperationNames {
  cudnnBackendDescriptorType_t type;
  std::array<cudnnBackendAttributeName_t, 6> attributes;
};

OperationNames names_of(core::Operation operation) {
  switch (operation) {
    case core::Operation::kForward:
      break;
    case core::Operation::kDataGradient:
      return {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
              {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX,
               CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
               CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY,
               CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
               CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA,
               CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA}};
    case core::Operation::kFilterGradient:
      return {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
              {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X,
               CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
               CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
               CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
               CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA,
               CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA}};
  }
  return {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
          {CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
           CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
           CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
           CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
           CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA,
           CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA}};
}

core::Result<Descriptor> make_operation(const Functions& functions, const Problem& problem) {
  const int rank = problem.spatial_rank;
  auto x = make_tensor(functions, problem.x, kImageUid, rank);
  auto w = make_tensor(functions, problem.w, kFilterUid, rank);
  auto y = make_tensor(functions, problem.y, kOutputUid, rank);
  auto convolution = make_convolution(functions, problem);
  for (const auto* part : {&x, &w, &y, &convolution}) {
    if (!*part) {
      return part->error();
    }
  }
  const OperationNames names = names_of(problem.operation);
  auto made = Descriptor::create(functions, names.type);
  if (!made) {
    return made;
  }
  const Descriptor& d = *made;
  // cuDNN takes alpha and beta as double where the compute type is double, else as float.
  const bool wide = problem.compute_type == core::DataType::kF64;
  const double wide_factors[2] = {1, 0};
  const float factors[2] = {1, 0};
  const auto set_factor = [&](std::size_t i) {
    return wide ? d.set(names.attributes[4 + i], CUDNN_TYPE_DOUBLE, 1, &wide_factors[i])
                : d.set(names.attributes[4 + i], CUDNN_TYPE_FLOAT, 1, &factors[i]);
  };
  Steps steps(functions);
  steps("operation x", d.set_descriptor(names.attributes[0], *x))(
      "operation w", d.set_descriptor(names.attributes[1], *w))(
      "operation y", d.set_descriptor(names.attributes[2], *y))(
      "operation convolution", d.set_descriptor(names.attributes[3], *convolution))(
      "operation alpha", set_factor(0))("operation beta", set_factor(1))("operation", d.finalize());
  if (!steps.good()) {
    return steps.error();
  }
  return made;
}

}  // namespace

core::Result<Descriptor> Descriptor::create(const Functions& functions,
                                            cudnnBackendDescriptorType_t type) {
  cudnnBackendDescriptor_t handle = nullptr;
  const cudnnStatus_t status = functions.create_descriptor(type, &handle);
  if (status != CUDNN_STATUS_SUCCESS) {
    return status_error(functions, "cudnnBackendCreateDescriptor", status);
  }
  return Descriptor(functions, handle);
}

void Descriptor::reset() {
  if (handle_ != nullptr) {
    (void)functions_->destroy_descriptor(handle_);
    handle_ = nullptr;
  }
}

cudnnStatus_t Descriptor::set(cudnnBackendAttributeName_t name,
                              cudnnBackendAttributeType_t type,
                              std::int64_t count,
                              const void* values) const {
  return functions_->set_attribute(handle_, name, type, count, values);
}

cudnnStatus_t Descriptor::get(cudnnBackendAttributeName_t name,
                              cudnnBackendAttributeType_t type,
                              std::int64_t capacity,
                              std::int64_t& count,
                              void* values) const {
  return functions_->get_attribute(handle_, name, type, capacity, &count, values);
}

cudnnStatus_t Descriptor::finalize() const {
  return functions_->finalize(handle_);
}

core::Result<Descriptor> make_graph(const Functions& functions,
                                    cudnnHandle_t handle,
                                    const Problem& problem) {
  if (problem.fusion != 0) {
    return core::make_error(core::ErrorCode::kUnsupported,
                            "a fused graph cannot be rebuilt from its problem");
  }
  auto operation = make_operation(functions, problem);
  if (!operation) {
    return operation;
  }
  auto made = Descriptor::create(functions, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
  if (!made) {
    return made;
  }
  const Descriptor& d = *made;
  Steps steps(functions);
  if (handle != nullptr) {
    steps("graph handle", d.set_handle(CUDNN_ATTR_OPERATIONGRAPH_HANDLE, handle));
  }
  steps("graph operations", d.set_descriptor(CUDNN_ATTR_OPERATIONGRAPH_OPS, *operation))(
      "graph", d.finalize());
  if (!steps.good()) {
    return steps.error();
  }
  return made;
}

}  // namespace reformer::cudnn
