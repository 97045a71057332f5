// The exported symbols of cuDNN's API before the backend, and of its handles.
#include "libclient/shim/interpose.h"
#include "libclient/shim/legacy_choice.h"
#include "libclient/shim/libcudnn.h"

#include <array>

namespace reformer::shim {
namespace {

// The real function of a name that is called for its effect, found once.
template <typename Function>
Function function_of(std::atomic<Function>& known, const char* name) noexcept {
  Function function = known.load(std::memory_order_acquire);
  if (function == nullptr) {
    function = reinterpret_cast<Function>(real_function(name));
    known.store(function, std::memory_order_release);
  }
  return function;
}

}  // namespace
}  // namespace reformer::shim

using reformer::shim::assisted;
using reformer::shim::Results;
using reformer::shim::Session;
using reformer::shim::With;

// Begins a stand-in: `function` is the served library's of the same name.
#define REAL(name, ...)                                            \
  SERVED_OR_PASS_ON(name, __VA_ARGS__);                            \
  (void)real;                                                      \
  static std::atomic<decltype(&::name)> known{nullptr};            \
  const auto function = reformer::shim::function_of(known, #name); \
  if (function == nullptr) {                                       \
    return CUDNN_STATUS_NOT_INITIALIZED;                           \
  }                                                                \
  static_assert(true)

extern "C" {

EXPORT cudnnStatus_t cudnnCreate(cudnnHandle_t* handle) {
  REAL(cudnnCreate, handle);
  const cudnnStatus_t status = function(handle);
  if (status == CUDNN_STATUS_SUCCESS) {
    (void)assisted([&](Session& session) {
      session.contexts().note_handle(*handle);
      return true;
    });
  }
  return status;
}

EXPORT cudnnStatus_t cudnnDestroy(cudnnHandle_t handle) {
  REAL(cudnnDestroy, handle);
  (void)assisted([&](Session& session) {
    session.contexts().forget_handle(handle);
    return true;
  });
  return function(handle);
}

EXPORT cudnnStatus_t
cudnnGetConvolutionForwardAlgorithm_v7(cudnnHandle_t handle,
                                       const cudnnTensorDescriptor_t x,
                                       const cudnnFilterDescriptor_t w,
                                       const cudnnConvolutionDescriptor_t conv,
                                       const cudnnTensorDescriptor_t y,
                                       const int requested,
                                       int* returned,
                                       cudnnConvolutionFwdAlgoPerf_t* results) {
  REAL(cudnnGetConvolutionForwardAlgorithm_v7, handle, x, w, conv, y, requested, returned, results);
  return reformer::shim::get(
      function, handle, x, w, conv, y, Results{requested, returned, results});
}

EXPORT cudnnStatus_t cudnnFindConvolutionForwardAlgorithm(cudnnHandle_t handle,
                                                          const cudnnTensorDescriptor_t x,
                                                          const cudnnFilterDescriptor_t w,
                                                          const cudnnConvolutionDescriptor_t conv,
                                                          const cudnnTensorDescriptor_t y,
                                                          const int requested,
                                                          int* returned,
                                                          cudnnConvolutionFwdAlgoPerf_t* results) {
  REAL(cudnnFindConvolutionForwardAlgorithm, handle, x, w, conv, y, requested, returned, results);
  return reformer::shim::find(
      function, handle, x, w, conv, y, Results{requested, returned, results});
}

EXPORT cudnnStatus_t cudnnFindConvolutionForwardAlgorithmEx(cudnnHandle_t handle,
                                                            const cudnnTensorDescriptor_t x,
                                                            const void* x_data,
                                                            const cudnnFilterDescriptor_t w,
                                                            const void* w_data,
                                                            const cudnnConvolutionDescriptor_t conv,
                                                            const cudnnTensorDescriptor_t y,
                                                            void* y_data,
                                                            const int requested,
                                                            int* returned,
                                                            cudnnConvolutionFwdAlgoPerf_t* results,
                                                            void* workspace,
                                                            size_t bytes) {
  REAL(cudnnFindConvolutionForwardAlgorithmEx,
       handle,
       x,
       x_data,
       w,
       w_data,
       conv,
       y,
       y_data,
       requested,
       returned,
       results,
       workspace,
       bytes);
  return reformer::shim::find_ex(function,
                                 handle,
                                 With{x, x_data},
                                 With{w, w_data},
                                 conv,
                                 With{y, y_data},
                                 Results{requested, returned, results},
                                 {workspace, bytes});
}

EXPORT cudnnStatus_t
cudnnGetConvolutionBackwardDataAlgorithm_v7(cudnnHandle_t handle,
                                            const cudnnFilterDescriptor_t w,
                                            const cudnnTensorDescriptor_t dy,
                                            const cudnnConvolutionDescriptor_t conv,
                                            const cudnnTensorDescriptor_t dx,
                                            const int requested,
                                            int* returned,
                                            cudnnConvolutionBwdDataAlgoPerf_t* results) {
  REAL(cudnnGetConvolutionBackwardDataAlgorithm_v7,
       handle,
       w,
       dy,
       conv,
       dx,
       requested,
       returned,
       results);
  return reformer::shim::get(
      function, handle, w, dy, conv, dx, Results{requested, returned, results});
}

EXPORT cudnnStatus_t
cudnnFindConvolutionBackwardDataAlgorithm(cudnnHandle_t handle,
                                          const cudnnFilterDescriptor_t w,
                                          const cudnnTensorDescriptor_t dy,
                                          const cudnnConvolutionDescriptor_t conv,
                                          const cudnnTensorDescriptor_t dx,
                                          const int requested,
                                          int* returned,
                                          cudnnConvolutionBwdDataAlgoPerf_t* results) {
  REAL(cudnnFindConvolutionBackwardDataAlgorithm,
       handle,
       w,
       dy,
       conv,
       dx,
       requested,
       returned,
       results);
  return reformer::shim::find(
      function, handle, w, dy, conv, dx, Results{requested, returned, results});
}

EXPORT cudnnStatus_t
cudnnFindConvolutionBackwardDataAlgorithmEx(cudnnHandle_t handle,
                                            const cudnnFilterDescriptor_t w,
                                            const void* w_data,
                                            const cudnnTensorDescriptor_t dy,
                                            const void* dy_data,
                                            const cudnnConvolutionDescriptor_t conv,
                                            const cudnnTensorDescriptor_t dx,
                                            void* dx_data,
                                            const int requested,
                                            int* returned,
                                            cudnnConvolutionBwdDataAlgoPerf_t* results,
                                            void* workspace,
                                            size_t bytes) {
  REAL(cudnnFindConvolutionBackwardDataAlgorithmEx,
       handle,
       w,
       w_data,
       dy,
       dy_data,
       conv,
       dx,
       dx_data,
       requested,
       returned,
       results,
       workspace,
       bytes);
  return reformer::shim::find_ex(function,
                                 handle,
                                 With{w, w_data},
                                 With{dy, dy_data},
                                 conv,
                                 With{dx, dx_data},
                                 Results{requested, returned, results},
                                 {workspace, bytes});
}

EXPORT cudnnStatus_t
cudnnGetConvolutionBackwardFilterAlgorithm_v7(cudnnHandle_t handle,
                                              const cudnnTensorDescriptor_t x,
                                              const cudnnTensorDescriptor_t dy,
                                              const cudnnConvolutionDescriptor_t conv,
                                              const cudnnFilterDescriptor_t dw,
                                              const int requested,
                                              int* returned,
                                              cudnnConvolutionBwdFilterAlgoPerf_t* results) {
  REAL(cudnnGetConvolutionBackwardFilterAlgorithm_v7,
       handle,
       x,
       dy,
       conv,
       dw,
       requested,
       returned,
       results);
  return reformer::shim::get(
      function, handle, x, dy, conv, dw, Results{requested, returned, results});
}

EXPORT cudnnStatus_t
cudnnFindConvolutionBackwardFilterAlgorithm(cudnnHandle_t handle,
                                            const cudnnTensorDescriptor_t x,
                                            const cudnnTensorDescriptor_t dy,
                                            const cudnnConvolutionDescriptor_t conv,
                                            const cudnnFilterDescriptor_t dw,
                                            const int requested,
                                            int* returned,
                                            cudnnConvolutionBwdFilterAlgoPerf_t* results) {
  REAL(cudnnFindConvolutionBackwardFilterAlgorithm,
       handle,
       x,
       dy,
       conv,
       dw,
       requested,
       returned,
       results);
  return reformer::shim::find(
      function, handle, x, dy, conv, dw, Results{requested, returned, results});
}

EXPORT cudnnStatus_t
cudnnFindConvolutionBackwardFilterAlgorithmEx(cudnnHandle_t handle,
                                              const cudnnTensorDescriptor_t x,
                                              const void* x_data,
                                              const cudnnTensorDescriptor_t dy,
                                              const void* dy_data,
                                              const cudnnConvolutionDescriptor_t conv,
                                              const cudnnFilterDescriptor_t dw,
                                              void* dw_data,
                                              const int requested,
                                              int* returned,
                                              cudnnConvolutionBwdFilterAlgoPerf_t* results,
                                              void* workspace,
                                              size_t bytes) {
  REAL(cudnnFindConvolutionBackwardFilterAlgorithmEx,
       handle,
       x,
       x_data,
       dy,
       dy_data,
       conv,
       dw,
       dw_data,
       requested,
       returned,
       results,
       workspace,
       bytes);
  return reformer::shim::find_ex(function,
                                 handle,
                                 With{x, x_data},
                                 With{dy, dy_data},
                                 conv,
                                 With{dw, dw_data},
                                 Results{requested, returned, results},
                                 {workspace, bytes});
}

}  // extern "C"

namespace reformer::shim {

std::span<const Interposed> interposed_legacy() {
#define STAND_IN(name)                        \
  Interposed {                                \
#name, reinterpret_cast < void*>(&::name) \
  }
  static const std::array functions{STAND_IN(cudnnCreate),
                                    STAND_IN(cudnnDestroy),
                                    STAND_IN(cudnnGetConvolutionForwardAlgorithm_v7),
                                    STAND_IN(cudnnGetConvolutionBackwardDataAlgorithm_v7),
                                    STAND_IN(cudnnGetConvolutionBackwardFilterAlgorithm_v7),
                                    STAND_IN(cudnnFindConvolutionForwardAlgorithm),
                                    STAND_IN(cudnnFindConvolutionForwardAlgorithmEx),
                                    STAND_IN(cudnnFindConvolutionBackwardDataAlgorithm),
                                    STAND_IN(cudnnFindConvolutionBackwardDataAlgorithmEx),
                                    STAND_IN(cudnnFindConvolutionBackwardFilterAlgorithm),
                                    STAND_IN(cudnnFindConvolutionBackwardFilterAlgorithmEx)};
#undef STAND_IN
  return functions;
}

}  // namespace reformer::shim
