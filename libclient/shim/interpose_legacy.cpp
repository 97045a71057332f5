// The exported symbols of cuDNN's API before the backend, and of its handles.
#include "libclient/shim/interpose.h"
#include "libclient/shim/legacy.h"
#include "libclient/shim/libcudnn.h"

#include <array>

namespace reformer::shim {
namespace {

// The real function of a name that is called for its effect, found once.
template <typename Function>
Function real(std::atomic<Function>& known, const char* name) noexcept {
  Function function = known.load(std::memory_order_acquire);
  if (function == nullptr) {
    function = reinterpret_cast<Function>(real_function(name));
    known.store(function, std::memory_order_release);
  }
  return function;
}

// cuDNN's own answer comes first, as it is needed for the workspaces; then its order is looked at.
template <typename Performance>
void reorder(cudnnHandle_t handle,
             const LegacyProblem& legacy,
             int requested,
             const int* returned,
             Performance* results) noexcept {
  (void)assisted([&](Session& session) {
    if (returned == nullptr || results == nullptr || *returned <= 0 || *returned > requested) {
      return false;
    }
    const core::Decision* decision = session.legacy_decision(handle, problem_of(legacy));
    if (decision != nullptr) {
      order_by_measurements(legacy.operation,
                            *decision,
                            math_type_of(legacy),
                            std::span(results, static_cast<std::size_t>(*returned)));
    }
    return true;
  });
}

// Runs the application's own search, or repeats what the same search found before.
template <typename Performance, typename Search>
cudnnStatus_t search_once(cudnnHandle_t handle,
                          const LegacyProblem& legacy,
                          std::size_t workspace,
                          int requested,
                          int* returned,
                          Performance* results,
                          Search search) noexcept {
  std::optional<core::KeyHash> key;
  const bool known = assisted([&](Session& session) {
    if (returned == nullptr || results == nullptr || requested <= 0) {
      return false;
    }
    key = session.legacy_key(handle,
                             problem_of(legacy),
                             static_cast<std::uint64_t>(math_type_of(legacy)),
                             static_cast<std::uint64_t>(requested),
                             workspace);
    return key && session.found_algorithms().recall(*key, requested, returned, results);
  });
  if (known) {
    return CUDNN_STATUS_SUCCESS;
  }
  const cudnnStatus_t status = search();
  if (status == CUDNN_STATUS_SUCCESS && key && *returned > 0 && *returned <= requested) {
    (void)assisted([&](Session& session) {
      session.found_algorithms().keep(
          *key, std::span<const Performance>(results, static_cast<std::size_t>(*returned)));
      return true;
    });
  }
  return status;
}

}  // namespace
}  // namespace reformer::shim

using reformer::core::Operation;
using reformer::shim::assisted;
using reformer::shim::LegacyProblem;
using reformer::shim::Session;

// The real function of the same name as the one that this stands in.
#define REAL(name)                                          \
  static std::atomic<decltype(&::name)> known{nullptr};     \
  const auto function = reformer::shim::real(known, #name); \
  if (function == nullptr) {                                \
    return CUDNN_STATUS_NOT_INITIALIZED;                    \
  }                                                         \
  static_assert(true)

extern "C" {

EXPORT cudnnStatus_t cudnnCreate(cudnnHandle_t* handle) {
  REAL(cudnnCreate);
  const cudnnStatus_t status = function(handle);
  if (status == CUDNN_STATUS_SUCCESS) {
    (void)assisted([&](Session& session) {
      session.note_handle(*handle);
      return true;
    });
  }
  return status;
}

EXPORT cudnnStatus_t cudnnDestroy(cudnnHandle_t handle) {
  REAL(cudnnDestroy);
  (void)assisted([&](Session& session) {
    session.forget_handle(handle);
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
  REAL(cudnnGetConvolutionForwardAlgorithm_v7);
  const cudnnStatus_t status = function(handle, x, w, conv, y, requested, returned, results);
  if (status == CUDNN_STATUS_SUCCESS) {
    reformer::shim::reorder(
        handle, {Operation::kForward, x, w, y, conv}, requested, returned, results);
  }
  return status;
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
  REAL(cudnnGetConvolutionBackwardDataAlgorithm_v7);
  const cudnnStatus_t status = function(handle, w, dy, conv, dx, requested, returned, results);
  if (status == CUDNN_STATUS_SUCCESS) {
    reformer::shim::reorder(
        handle, {Operation::kDataGradient, dx, w, dy, conv}, requested, returned, results);
  }
  return status;
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
  REAL(cudnnGetConvolutionBackwardFilterAlgorithm_v7);
  const cudnnStatus_t status = function(handle, x, dy, conv, dw, requested, returned, results);
  if (status == CUDNN_STATUS_SUCCESS) {
    reformer::shim::reorder(
        handle, {Operation::kFilterGradient, x, dw, dy, conv}, requested, returned, results);
  }
  return status;
}

EXPORT cudnnStatus_t cudnnFindConvolutionForwardAlgorithm(cudnnHandle_t handle,
                                                          const cudnnTensorDescriptor_t x,
                                                          const cudnnFilterDescriptor_t w,
                                                          const cudnnConvolutionDescriptor_t conv,
                                                          const cudnnTensorDescriptor_t y,
                                                          const int requested,
                                                          int* returned,
                                                          cudnnConvolutionFwdAlgoPerf_t* results) {
  REAL(cudnnFindConvolutionForwardAlgorithm);
  return reformer::shim::search_once(
      handle, {Operation::kForward, x, w, y, conv}, 0, requested, returned, results, [&] {
        return function(handle, x, w, conv, y, requested, returned, results);
      });
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
  REAL(cudnnFindConvolutionForwardAlgorithmEx);
  return reformer::shim::search_once(
      handle, {Operation::kForward, x, w, y, conv}, bytes + 1, requested, returned, results, [&] {
        return function(handle,
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
      });
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
  REAL(cudnnFindConvolutionBackwardDataAlgorithm);
  return reformer::shim::search_once(
      handle, {Operation::kDataGradient, dx, w, dy, conv}, 0, requested, returned, results, [&] {
        return function(handle, w, dy, conv, dx, requested, returned, results);
      });
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
  REAL(cudnnFindConvolutionBackwardDataAlgorithmEx);
  return reformer::shim::search_once(handle,
                                     {Operation::kDataGradient, dx, w, dy, conv},
                                     bytes + 1,
                                     requested,
                                     returned,
                                     results,
                                     [&] {
                                       return function(handle,
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
                                     });
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
  REAL(cudnnFindConvolutionBackwardFilterAlgorithm);
  return reformer::shim::search_once(
      handle, {Operation::kFilterGradient, x, dw, dy, conv}, 0, requested, returned, results, [&] {
        return function(handle, x, dy, conv, dw, requested, returned, results);
      });
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
  REAL(cudnnFindConvolutionBackwardFilterAlgorithmEx);
  return reformer::shim::search_once(handle,
                                     {Operation::kFilterGradient, x, dw, dy, conv},
                                     bytes + 1,
                                     requested,
                                     returned,
                                     results,
                                     [&] {
                                       return function(handle,
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
                                     });
}

}  // extern "C"

namespace reformer::shim {

std::span<const Interposed> interposed_legacy() {
#define STAND_IN(name)                        \
  Interposed {                                \
#name, reinterpret_cast < void*>(&::name) \
  }
  static const std::array kFunctions{STAND_IN(cudnnCreate),
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
  return kFunctions;
}

}  // namespace reformer::shim
