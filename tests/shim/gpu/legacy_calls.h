#pragma once

#include "examples/graph.h"

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
    const cudnnDataType_t type = example::data_type(problem.x.type);
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

// An operand: its descriptor and its data.
template <auto Descriptor, auto Data>
struct Operand {
  static auto descriptor(const Call& c) { return c.described.*Descriptor; }
  static void* data(const Call& c) { return c.*Data; }
};
using OperandX = Operand<&Described::x, &Call::x>;
using OperandW = Operand<&Described::w, &Call::w>;
using OperandY = Operand<&Described::y, &Call::y>;

// An operation of the interface. The three differ in their functions and in which operands are the
// first, the second and the last, which is the result.
template <typename Performance,
          auto Get,
          auto Find,
          auto FindEx,
          auto Run,
          typename First,
          typename Second,
          typename Last>
struct Operation {
  using Result = Performance;
  static cudnnStatus_t get(const Call& c, int* returned, Result* results) {
    return choose(Get, c, returned, results);
  }
  static cudnnStatus_t find(const Call& c, int* returned, Result* results) {
    return choose(Find, c, returned, results);
  }
  static cudnnStatus_t find_ex(const Call& c, const Buffer& space, int* returned, Result* results) {
    return FindEx(c.handle.get(),
                  First::descriptor(c),
                  First::data(c),
                  Second::descriptor(c),
                  Second::data(c),
                  c.described.convolution,
                  Last::descriptor(c),
                  Last::data(c),
                  kMost,
                  returned,
                  results,
                  space.get(),
                  space.bytes());
  }
  static cudnnStatus_t run(const Call& c, const Result& result, const Buffer& space) {
    return Run(c.handle.get(),
               &kOne,
               First::descriptor(c),
               First::data(c),
               Second::descriptor(c),
               Second::data(c),
               c.described.convolution,
               result.algo,
               space.get(),
               space.bytes(),
               &kZero,
               Last::descriptor(c),
               Last::data(c));
  }

 private:
  template <typename Function>
  static cudnnStatus_t choose(Function function, const Call& c, int* returned, Result* results) {
    return function(c.handle.get(),
                    First::descriptor(c),
                    Second::descriptor(c),
                    c.described.convolution,
                    Last::descriptor(c),
                    kMost,
                    returned,
                    results);
  }
};

using Forward = Operation<cudnnConvolutionFwdAlgoPerf_t,
                          &cudnnGetConvolutionForwardAlgorithm_v7,
                          &cudnnFindConvolutionForwardAlgorithm,
                          &cudnnFindConvolutionForwardAlgorithmEx,
                          &cudnnConvolutionForward,
                          OperandX,
                          OperandW,
                          OperandY>;
using BackwardData = Operation<cudnnConvolutionBwdDataAlgoPerf_t,
                               &cudnnGetConvolutionBackwardDataAlgorithm_v7,
                               &cudnnFindConvolutionBackwardDataAlgorithm,
                               &cudnnFindConvolutionBackwardDataAlgorithmEx,
                               &cudnnConvolutionBackwardData,
                               OperandW,
                               OperandY,
                               OperandX>;
using BackwardFilter = Operation<cudnnConvolutionBwdFilterAlgoPerf_t,
                                 &cudnnGetConvolutionBackwardFilterAlgorithm_v7,
                                 &cudnnFindConvolutionBackwardFilterAlgorithm,
                                 &cudnnFindConvolutionBackwardFilterAlgorithmEx,
                                 &cudnnConvolutionBackwardFilter,
                                 OperandX,
                                 OperandY,
                                 OperandW>;

}  // namespace gpu_check
