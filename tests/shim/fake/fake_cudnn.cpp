#include "tests/shim/fake/fake_cudnn.h"

#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <mutex>
#include <string_view>

namespace fake_cudnn {
namespace {

struct alignas(64) Descriptor {
  cudnnBackendDescriptorType_t type{};
  bool finalised = false;
  std::int64_t engine = -1;
  std::int64_t knobs = 0;  // a configuration takes no fewer than it was given before
  bool from_json = false;
  bool spoilt = false;
  Descriptor* next = nullptr;  // while it is free
};

constexpr std::size_t kMost = 16384;
Descriptor pool[kMost];
Descriptor* free_list = nullptr;
std::size_t used = 0;
std::mutex mutex;
State the_state;
// A child of a fork must not find it locked.
const int at_fork =
    ::pthread_atfork([] { mutex.lock(); }, [] { mutex.unlock(); }, [] { mutex.unlock(); });

// Counts the call; whether it is to fail.
bool fails(Function function) {
  ++the_state.calls[function];
  if (the_state.failing != function || the_state.countdown-- > 0) {
    return false;
  }
  return the_state.failures-- > 0;
}

// Of the GPU of any handle.
constexpr std::string_view kProfile =
    R"({"multiProcessorCount":132,"cudaDeviceId":3,"deviceVer":900,"driverVer":13000,)"
    R"("deviceName":"NVIDIA H200"})";

std::int64_t said(std::int64_t truth) {
  return the_state.lies ? the_state.lie.load() : truth;
}

int read_said(int truth) {
  return the_state.lies_reading ? static_cast<int>(the_state.lie.load()) : truth;
}

Descriptor* at(const void* descriptor) {
  return static_cast<Descriptor*>(const_cast<void*>(descriptor));
}

std::int64_t fill(std::int64_t requested, void* const* configurations) {
  std::int64_t filled = 0;
  for (; filled < std::min(requested, kOwnList); ++filled) {
    Descriptor* configuration = at(configurations[filled]);
    if (configuration == nullptr || configuration->finalised) {
      break;
    }
    configuration->engine = kOwnEngine + filled;
    configuration->finalised = true;
  }
  return filled;
}

template <typename Performance>
cudnnStatus_t answer(Function function, int requested, int* returned, Performance* results) {
  if (fails(function)) {
    return CUDNN_STATUS_EXECUTION_FAILED;
  }
  const int count = std::min(requested, kAlgorithms);
  for (int i = 0; i < count; ++i) {
    results[i] = {};
    results[i].algo = static_cast<decltype(results[i].algo)>(i);
    results[i].time = function == kFind ? static_cast<float>(i + 1) : -1;
  }
  *returned = static_cast<int>(said(count));
  return CUDNN_STATUS_SUCCESS;
}

}  // namespace

extern "C" State* fake_cudnn_state() {
  return &the_state;
}
extern "C" std::int64_t fake_cudnn_engine_of(cudnnBackendDescriptor_t configuration) {
  return at(configuration)->finalised ? at(configuration)->engine : -1;
}

}  // namespace fake_cudnn

using namespace fake_cudnn;

extern "C" {

size_t cudnnGetVersion() {
  return 91900;
}
size_t cudnnGetCudartVersion() {
  return 13000;
}
const char* cudnnGetErrorString(cudnnStatus_t) {
  return "fake";
}
cudnnStatus_t cudnnGetStream(cudnnHandle_t, cudaStream_t* stream) {
  *stream = nullptr;
  return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnCreate(cudnnHandle_t* handle) {
  if (fails(kCreateHandle)) {
    return CUDNN_STATUS_NOT_INITIALIZED;
  }
  static std::array<char, 64> handles;
  static std::atomic<std::size_t> made{0};
  *handle = reinterpret_cast<cudnnHandle_t>(&handles[made++ % handles.size()]);
  return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnDestroy(cudnnHandle_t) {
  return fails(kDestroyHandle) ? CUDNN_STATUS_INTERNAL_ERROR : CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendCreateDescriptor(cudnnBackendDescriptorType_t type,
                                           cudnnBackendDescriptor_t* descriptor) {
  if (fails(kCreate)) {
    return CUDNN_STATUS_ALLOC_FAILED;
  }
  const std::lock_guard lock(mutex);
  Descriptor* made = free_list;
  if (made != nullptr) {
    free_list = made->next;
  } else if (used < kMost) {
    made = &pool[used++];
  } else {
    return CUDNN_STATUS_ALLOC_FAILED;
  }
  *made = {};
  made->type = type;
  *descriptor = made;
  ++the_state.live;
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendDestroyDescriptor(cudnnBackendDescriptor_t descriptor) {
  if (fails(kDestroy)) {
    return CUDNN_STATUS_INTERNAL_ERROR;
  }
  const std::lock_guard lock(mutex);
  at(descriptor)->next = free_list;
  free_list = at(descriptor);
  --the_state.live;
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendSetAttribute(cudnnBackendDescriptor_t descriptor,
                                       cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t,
                                       int64_t count,
                                       const void* values) {
  if (fails(kSet)) {
    return CUDNN_STATUS_BAD_PARAM;
  }
  if (at(descriptor)->finalised) {
    return CUDNN_STATUS_NOT_INITIALIZED;
  }
  if (name == CUDNN_ATTR_ENGINE_GLOBAL_INDEX) {
    at(descriptor)->engine = *static_cast<const std::int64_t*>(values);
  } else if (name == CUDNN_ATTR_ENGINECFG_ENGINE) {
    at(descriptor)->engine = at(*static_cast<void* const*>(values))->engine;
  } else if (name == CUDNN_ATTR_ENGINECFG_KNOB_CHOICES) {
    if (count < at(descriptor)->knobs) {
      return CUDNN_STATUS_BAD_PARAM;
    }
    at(descriptor)->knobs = count;
  } else if (name == CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG) {
    const Descriptor* configuration = at(*static_cast<void* const*>(values));
    if (!configuration->finalised) {
      return CUDNN_STATUS_BAD_PARAM;
    }
    at(descriptor)->spoilt |= at(descriptor)->from_json;
    at(descriptor)->engine = configuration->engine;
  } else if (name == CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION) {
    at(descriptor)->spoilt |= at(descriptor)->engine >= 0 || at(descriptor)->from_json;
    at(descriptor)->from_json = true;
    const std::lock_guard lock(mutex);
    std::array<char, 4096>& json = the_state.json;
    const std::size_t length = std::min(json.size() - 1, static_cast<std::size_t>(count));
    std::copy_n(static_cast<const char*>(values), length, json.begin());
    json[length] = '\0';
  }
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendFinalize(cudnnBackendDescriptor_t descriptor) {
  if (fails(kFinalize)) {
    return CUDNN_STATUS_NOT_SUPPORTED;
  }
  if (at(descriptor)->type == CUDNN_BACKEND_ENGINE_DESCRIPTOR &&
      at(descriptor)->engine >= the_state.refused) {
    return CUDNN_STATUS_NOT_SUPPORTED;
  }
  if (at(descriptor)->type == CUDNN_BACKEND_ENGINECFG_DESCRIPTOR) {
    if (at(descriptor)->engine == the_state.refused_configuration) {
      return CUDNN_STATUS_NOT_SUPPORTED;
    }
    if (the_state.slow_configuration_us > 0) {
      ::usleep(static_cast<useconds_t>(the_state.slow_configuration_us));
    }
  }
  if (at(descriptor)->spoilt || (at(descriptor)->from_json && the_state.refuses_json)) {
    at(descriptor)->spoilt = true;
    return CUDNN_STATUS_BAD_PARAM;
  }
  the_state.loaded += at(descriptor)->from_json ? 1 : 0;
  at(descriptor)->finalised = true;
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendGetAttribute(cudnnBackendDescriptor_t descriptor,
                                       cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t,
                                       int64_t requested,
                                       int64_t* count,
                                       void* values) {
  if (fails(kGet) || !at(descriptor)->finalised) {
    return CUDNN_STATUS_BAD_PARAM;
  }
  std::int64_t answered = 1;
  if (name == CUDNN_ATTR_ENGINEHEUR_RESULTS) {
    answered = values == nullptr || requested == 0
                   ? kOwnList
                   : fill(requested, static_cast<void* const*>(values));
  }
  if (name == CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION) {
    answered = static_cast<std::int64_t>(kProfile.size());
    std::copy_n(kProfile.begin(),
                values == nullptr ? 0 : static_cast<std::size_t>(std::min(requested, answered)),
                static_cast<char*>(values));
  }
  if (count != nullptr) {
    *count = said(answered);
  }
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendExecute(cudnnHandle_t,
                                  cudnnBackendDescriptor_t,
                                  cudnnBackendDescriptor_t) {
  return fails(kExecute) ? CUDNN_STATUS_EXECUTION_FAILED : CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnBackendPopulateCudaGraph(cudnnHandle_t,
                                            cudnnBackendDescriptor_t,
                                            cudnnBackendDescriptor_t,
                                            cudaGraph_t) {
  return fails(kPopulate) ? CUDNN_STATUS_NOT_SUPPORTED : CUDNN_STATUS_SUCCESS;
}

const Table* fake_cudnn_table() {
  static const Table kTable{&cudnnBackendCreateDescriptor,
                            &cudnnBackendDestroyDescriptor,
                            &cudnnBackendSetAttribute,
                            &cudnnBackendGetAttribute,
                            &cudnnBackendFinalize};
  return &kTable;
}

cudnnStatus_t cudnnGetTensorNdDescriptor(const cudnnTensorDescriptor_t descriptor,
                                         int,
                                         cudnnDataType_t* type,
                                         int* count,
                                         int* dims,
                                         int* strides) {
  const auto* tensor = reinterpret_cast<const Tensor*>(descriptor);
  *type = tensor->type;
  *count = read_said(tensor->count);
  std::copy(tensor->dims.begin(), tensor->dims.end(), dims);
  std::copy(tensor->strides.begin(), tensor->strides.end(), strides);
  return fails(kRead) ? CUDNN_STATUS_BAD_PARAM : CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnGetFilterNdDescriptor(const cudnnFilterDescriptor_t descriptor,
                                         int,
                                         cudnnDataType_t* type,
                                         cudnnTensorFormat_t* format,
                                         int* count,
                                         int* dims) {
  const auto* filter = reinterpret_cast<const Tensor*>(descriptor);
  *type = filter->type;
  *format = CUDNN_TENSOR_NCHW;
  *count = read_said(filter->count);
  std::copy(filter->dims.begin(), filter->dims.end(), dims);
  return fails(kRead) ? CUDNN_STATUS_BAD_PARAM : CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnGetConvolutionNdDescriptor(const cudnnConvolutionDescriptor_t descriptor,
                                              int,
                                              int* rank,
                                              int* pad,
                                              int* stride,
                                              int* dilation,
                                              cudnnConvolutionMode_t* mode,
                                              cudnnDataType_t* type) {
  const int padding = reinterpret_cast<const Convolution*>(descriptor)->pad;
  *rank = read_said(2);
  std::fill_n(pad, 2, padding);
  std::fill_n(stride, 2, 1);
  std::fill_n(dilation, 2, 1);
  *mode = CUDNN_CROSS_CORRELATION;
  *type = CUDNN_DATA_FLOAT;
  return fails(kRead) ? CUDNN_STATUS_BAD_PARAM : CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnGetConvolutionMathType(cudnnConvolutionDescriptor_t, cudnnMathType_t* math) {
  *math = CUDNN_DEFAULT_MATH;
  return CUDNN_STATUS_SUCCESS;
}

// The searches differ in their arguments alone.
#define GET(name, First, Second, Third, Fourth, Performance)    \
  cudnnStatus_t name(cudnnHandle_t,                             \
                     First,                                     \
                     Second,                                    \
                     Third,                                     \
                     Fourth,                                    \
                     const int requested,                       \
                     int* returned,                             \
                     Performance* results) {                    \
    return answer(kGetAlgorithm, requested, returned, results); \
  }
#define FIND(name, First, Second, Third, Fourth, Performance) \
  cudnnStatus_t name(cudnnHandle_t,                           \
                     First,                                   \
                     Second,                                  \
                     Third,                                   \
                     Fourth,                                  \
                     const int requested,                     \
                     int* returned,                           \
                     Performance* results) {                  \
    return answer(kFind, requested, returned, results);       \
  }
#define FIND_EX(name, First, Second, Third, Fourth, Performance) \
  cudnnStatus_t name(cudnnHandle_t,                              \
                     First,                                      \
                     const void*,                                \
                     Second,                                     \
                     const void*,                                \
                     Third,                                      \
                     Fourth,                                     \
                     void*,                                      \
                     const int requested,                        \
                     int* returned,                              \
                     Performance* results,                       \
                     void*,                                      \
                     size_t) {                                   \
    return answer(kFind, requested, returned, results);          \
  }
using T = const cudnnTensorDescriptor_t;
using F = const cudnnFilterDescriptor_t;
using C = const cudnnConvolutionDescriptor_t;
GET(cudnnGetConvolutionForwardAlgorithm_v7, T, F, C, T, cudnnConvolutionFwdAlgoPerf_t)
GET(cudnnGetConvolutionBackwardDataAlgorithm_v7, F, T, C, T, cudnnConvolutionBwdDataAlgoPerf_t)
GET(cudnnGetConvolutionBackwardFilterAlgorithm_v7, T, T, C, F, cudnnConvolutionBwdFilterAlgoPerf_t)
FIND(cudnnFindConvolutionForwardAlgorithm, T, F, C, T, cudnnConvolutionFwdAlgoPerf_t)
FIND(cudnnFindConvolutionBackwardDataAlgorithm, F, T, C, T, cudnnConvolutionBwdDataAlgoPerf_t)
FIND(cudnnFindConvolutionBackwardFilterAlgorithm, T, T, C, F, cudnnConvolutionBwdFilterAlgoPerf_t)
FIND_EX(cudnnFindConvolutionForwardAlgorithmEx, T, F, C, T, cudnnConvolutionFwdAlgoPerf_t)
FIND_EX(cudnnFindConvolutionBackwardDataAlgorithmEx, F, T, C, T, cudnnConvolutionBwdDataAlgoPerf_t)
FIND_EX(
    cudnnFindConvolutionBackwardFilterAlgorithmEx, T, T, C, F, cudnnConvolutionBwdFilterAlgoPerf_t)

}  // extern "C"
