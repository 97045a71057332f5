#pragma once

#include "tests/shim/fake/use.h"

// The older API's calls, with arrays that show what is written beyond them.
namespace fake_cudnn {

template <typename Performance>
struct Results {
  std::array<Performance, 4> asked{};
  std::array<unsigned char, 4096> guard{};
  int returned = 0;
};

struct LegacyDescriptors {
  Tensor x{CUDNN_DATA_HALF, 4, {8, 32, 16, 16}, {8192, 256, 16, 1}};
  Tensor w{CUDNN_DATA_HALF, 4, {64, 32, 3, 3}, {288, 9, 3, 1}};
  Tensor y{CUDNN_DATA_HALF, 4, {8, 64, 16, 16}, {16384, 256, 16, 1}};
  Convolution convolution;
  cudnnHandle_t handle = nullptr;

  LegacyDescriptors() { expect(cudnnCreate(&handle) == CUDNN_STATUS_SUCCESS, "cudnnCreate"); }
  ~LegacyDescriptors() { (void)cudnnDestroy(handle); }
  cudnnTensorDescriptor_t tensor(Tensor& of) {
    return reinterpret_cast<cudnnTensorDescriptor_t>(&of);
  }
  cudnnFilterDescriptor_t filter() { return reinterpret_cast<cudnnFilterDescriptor_t>(&w); }
  cudnnConvolutionDescriptor_t conv() {
    return reinterpret_cast<cudnnConvolutionDescriptor_t>(&convolution);
  }
  cudnnStatus_t get(Results<cudnnConvolutionFwdAlgoPerf_t>& results) {
    return cudnnGetConvolutionForwardAlgorithm_v7(
        handle, tensor(x), filter(), conv(), tensor(y), 4, &results.returned, results.asked.data());
  }
  cudnnStatus_t find(Results<cudnnConvolutionFwdAlgoPerf_t>& results) {
    return cudnnFindConvolutionForwardAlgorithm(
        handle, tensor(x), filter(), conv(), tensor(y), 4, &results.returned, results.asked.data());
  }
  cudnnStatus_t find_data(Results<cudnnConvolutionBwdDataAlgoPerf_t>& results) {
    return cudnnFindConvolutionBackwardDataAlgorithm(
        handle, filter(), tensor(y), conv(), tensor(x), 4, &results.returned, results.asked.data());
  }
  cudnnStatus_t find_filter(Results<cudnnConvolutionBwdFilterAlgoPerf_t>& results) {
    return cudnnFindConvolutionBackwardFilterAlgorithm(
        handle, tensor(x), tensor(y), conv(), filter(), 4, &results.returned, results.asked.data());
  }
  cudnnStatus_t find_ex(Results<cudnnConvolutionFwdAlgoPerf_t>& results, std::size_t bytes) {
    return cudnnFindConvolutionForwardAlgorithmEx(handle,
                                                  tensor(x),
                                                  nullptr,
                                                  filter(),
                                                  nullptr,
                                                  conv(),
                                                  tensor(y),
                                                  nullptr,
                                                  4,
                                                  &results.returned,
                                                  results.asked.data(),
                                                  nullptr,
                                                  bytes);
  }
};

}  // namespace fake_cudnn
