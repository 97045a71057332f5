#pragma once

#include "examples/backend.h"

#include "core/problem.h"
#include "tests/shim/gpu/device.h"

#include <array>

// The API before the backend: its descriptors, and its three operations by one set of names.
namespace gpu_check {

inline constexpr int kMost = 12;  // results asked for; cuDNN has at most ten algorithms
inline constexpr float kOne = 1;
inline constexpr float kZero = 0;

// The four descriptors of a problem.
class Described {
 public:
  explicit Described(const reformer::core::Problem& problem) {
    example::check(cudnnCreateTensorDescriptor(&x), "cudnnCreateTensorDescriptor");
    example::check(cudnnCreateTensorDescriptor(&y), "cudnnCreateTensorDescriptor");
    example::check(cudnnCreateTensorDescriptor(&bias), "cudnnCreateTensorDescriptor");
    example::check(cudnnCreateFilterDescriptor(&w), "cudnnCreateFilterDescriptor");
    example::check(cudnnCreateConvolutionDescriptor(&convolution),
                   "cudnnCreateConvolutionDescriptor");
    example::check(cudnnCreateActivationDescriptor(&relu), "cudnnCreateActivationDescriptor");
    const cudnnDataType_t type = data_type(problem.x.type);
    set(x, type, problem.x);
    set(y, type, problem.y);
    const bool nhwc = reformer::core::layout_of(problem.w) == reformer::core::Layout::kNhwc;
    const std::array<int, 4> filter = four(problem.w.dims);
    example::check(cudnnSetFilterNdDescriptor(
                       w, type, nhwc ? CUDNN_TENSOR_NHWC : CUDNN_TENSOR_NCHW, 4, filter.data()),
                   "cudnnSetFilterNdDescriptor");
    example::check(cudnnSetTensor4dDescriptor(
                       bias, CUDNN_TENSOR_NCHW, type, 1, static_cast<int>(problem.y.dims[1]), 1, 1),
                   "cudnnSetTensor4dDescriptor");
    example::check(cudnnSetConvolutionNdDescriptor(convolution,
                                                   2,
                                                   problem.pad_before.data() + 1,
                                                   problem.stride.data() + 1,
                                                   problem.dilation.data() + 1,
                                                   CUDNN_CROSS_CORRELATION,
                                                   CUDNN_DATA_FLOAT),
                   "cudnnSetConvolutionNdDescriptor");
    example::check(cudnnSetConvolutionGroupCount(convolution, static_cast<int>(problem.groups())),
                   "cudnnSetConvolutionGroupCount");
    example::check(cudnnSetConvolutionMathType(convolution, CUDNN_TENSOR_OP_MATH),
                   "cudnnSetConvolutionMathType");
    example::check(
        cudnnSetActivationDescriptor(relu, CUDNN_ACTIVATION_RELU, CUDNN_NOT_PROPAGATE_NAN, 0),
        "cudnnSetActivationDescriptor");
  }
  ~Described() {
    (void)cudnnDestroyTensorDescriptor(x);
    (void)cudnnDestroyTensorDescriptor(y);
    (void)cudnnDestroyTensorDescriptor(bias);
    (void)cudnnDestroyFilterDescriptor(w);
    (void)cudnnDestroyConvolutionDescriptor(convolution);
    (void)cudnnDestroyActivationDescriptor(relu);
  }
  Described(const Described&) = delete;
  Described& operator=(const Described&) = delete;

  cudnnTensorDescriptor_t x = nullptr;
  cudnnTensorDescriptor_t y = nullptr;
  cudnnTensorDescriptor_t bias = nullptr;
  cudnnFilterDescriptor_t w = nullptr;
  cudnnConvolutionDescriptor_t convolution = nullptr;
  cudnnActivationDescriptor_t relu = nullptr;

 private:
  static cudnnDataType_t data_type(reformer::core::DataType type) {
    return type == reformer::core::DataType::kF16    ? CUDNN_DATA_HALF
           : type == reformer::core::DataType::kBf16 ? CUDNN_DATA_BFLOAT16
                                                     : CUDNN_DATA_FLOAT;
  }
  // Without the depth.
  static std::array<int, 4> four(const std::array<std::int64_t, 5>& values) {
    return {static_cast<int>(values[0]),
            static_cast<int>(values[1]),
            static_cast<int>(values[3]),
            static_cast<int>(values[4])};
  }
  static void set(cudnnTensorDescriptor_t tensor,
                  cudnnDataType_t type,
                  const reformer::core::TensorSpec& spec) {
    example::check(cudnnSetTensorNdDescriptor(
                       tensor, type, 4, four(spec.dims).data(), four(spec.strides).data()),
                   "cudnnSetTensorNdDescriptor");
  }
};

// Everything that a call needs.
struct Call {
  const reformer::core::Problem& problem;
  const Described& described;
  const Handle& handle;
  void* x;
  void* w;
  void* y;
};

// The three operations of the interface by one set of names.
struct Forward {
  using Result = cudnnConvolutionFwdAlgoPerf_t;
  static cudnnStatus_t get(const Call& c, int* returned, Result* results) {
    return cudnnGetConvolutionForwardAlgorithm_v7(c.handle.get(),
                                                  c.described.x,
                                                  c.described.w,
                                                  c.described.convolution,
                                                  c.described.y,
                                                  kMost,
                                                  returned,
                                                  results);
  }
  static cudnnStatus_t find(const Call& c, int* returned, Result* results) {
    return cudnnFindConvolutionForwardAlgorithm(c.handle.get(),
                                                c.described.x,
                                                c.described.w,
                                                c.described.convolution,
                                                c.described.y,
                                                kMost,
                                                returned,
                                                results);
  }
  static cudnnStatus_t find_ex(const Call& c, const Buffer& space, int* returned, Result* results) {
    return cudnnFindConvolutionForwardAlgorithmEx(c.handle.get(),
                                                  c.described.x,
                                                  c.x,
                                                  c.described.w,
                                                  c.w,
                                                  c.described.convolution,
                                                  c.described.y,
                                                  c.y,
                                                  kMost,
                                                  returned,
                                                  results,
                                                  space.get(),
                                                  space.bytes());
  }
  static cudnnStatus_t run(const Call& c, const Result& result, const Buffer& space) {
    return cudnnConvolutionForward(c.handle.get(),
                                   &kOne,
                                   c.described.x,
                                   c.x,
                                   c.described.w,
                                   c.w,
                                   c.described.convolution,
                                   result.algo,
                                   space.get(),
                                   space.bytes(),
                                   &kZero,
                                   c.described.y,
                                   c.y);
  }
};

struct BackwardData {
  using Result = cudnnConvolutionBwdDataAlgoPerf_t;
  static cudnnStatus_t get(const Call& c, int* returned, Result* results) {
    return cudnnGetConvolutionBackwardDataAlgorithm_v7(c.handle.get(),
                                                       c.described.w,
                                                       c.described.y,
                                                       c.described.convolution,
                                                       c.described.x,
                                                       kMost,
                                                       returned,
                                                       results);
  }
  static cudnnStatus_t find(const Call& c, int* returned, Result* results) {
    return cudnnFindConvolutionBackwardDataAlgorithm(c.handle.get(),
                                                     c.described.w,
                                                     c.described.y,
                                                     c.described.convolution,
                                                     c.described.x,
                                                     kMost,
                                                     returned,
                                                     results);
  }
  static cudnnStatus_t find_ex(const Call& c, const Buffer& space, int* returned, Result* results) {
    return cudnnFindConvolutionBackwardDataAlgorithmEx(c.handle.get(),
                                                       c.described.w,
                                                       c.w,
                                                       c.described.y,
                                                       c.y,
                                                       c.described.convolution,
                                                       c.described.x,
                                                       c.x,
                                                       kMost,
                                                       returned,
                                                       results,
                                                       space.get(),
                                                       space.bytes());
  }
  static cudnnStatus_t run(const Call& c, const Result& result, const Buffer& space) {
    return cudnnConvolutionBackwardData(c.handle.get(),
                                        &kOne,
                                        c.described.w,
                                        c.w,
                                        c.described.y,
                                        c.y,
                                        c.described.convolution,
                                        result.algo,
                                        space.get(),
                                        space.bytes(),
                                        &kZero,
                                        c.described.x,
                                        c.x);
  }
};

struct BackwardFilter {
  using Result = cudnnConvolutionBwdFilterAlgoPerf_t;
  static cudnnStatus_t get(const Call& c, int* returned, Result* results) {
    return cudnnGetConvolutionBackwardFilterAlgorithm_v7(c.handle.get(),
                                                         c.described.x,
                                                         c.described.y,
                                                         c.described.convolution,
                                                         c.described.w,
                                                         kMost,
                                                         returned,
                                                         results);
  }
  static cudnnStatus_t find(const Call& c, int* returned, Result* results) {
    return cudnnFindConvolutionBackwardFilterAlgorithm(c.handle.get(),
                                                       c.described.x,
                                                       c.described.y,
                                                       c.described.convolution,
                                                       c.described.w,
                                                       kMost,
                                                       returned,
                                                       results);
  }
  static cudnnStatus_t find_ex(const Call& c, const Buffer& space, int* returned, Result* results) {
    return cudnnFindConvolutionBackwardFilterAlgorithmEx(c.handle.get(),
                                                         c.described.x,
                                                         c.x,
                                                         c.described.y,
                                                         c.y,
                                                         c.described.convolution,
                                                         c.described.w,
                                                         c.w,
                                                         kMost,
                                                         returned,
                                                         results,
                                                         space.get(),
                                                         space.bytes());
  }
  static cudnnStatus_t run(const Call& c, const Result& result, const Buffer& space) {
    return cudnnConvolutionBackwardFilter(c.handle.get(),
                                          &kOne,
                                          c.described.x,
                                          c.x,
                                          c.described.y,
                                          c.y,
                                          c.described.convolution,
                                          result.algo,
                                          space.get(),
                                          space.bytes(),
                                          &kZero,
                                          c.described.w,
                                          c.w);
  }
};

}  // namespace gpu_check
