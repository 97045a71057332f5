#pragma once

#include "libclient/shim/interpose.h"
#include "libclient/shim/legacy.h"

#include <cudnn.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

// What the older API's stand-ins do, once for the three operations, whose calls differ in the order
// of their descriptors alone.
namespace reformer::shim {

using Tensor = cudnnTensorDescriptor_t;
using Filter = cudnnFilterDescriptor_t;
using Convolution = cudnnConvolutionDescriptor_t;

// The types of its descriptors say which operation a call is about.
inline LegacyProblem describe(Tensor x, Filter w, Convolution convolution, Tensor y) {
  return {core::Operation::kForward, x, w, y, convolution};
}
inline LegacyProblem describe(Filter w, Tensor dy, Convolution convolution, Tensor dx) {
  return {core::Operation::kDataGradient, dx, w, dy, convolution};
}
inline LegacyProblem describe(Tensor x, Tensor dy, Convolution convolution, Filter dw) {
  return {core::Operation::kFilterGradient, x, dw, dy, convolution};
}

// Where a call wants its results.
template <typename Performance>
struct Results {
  int requested;
  int* returned;
  Performance* values;
  // cuDNN may say anything.
  [[nodiscard]] bool usable() const {
    return returned != nullptr && values != nullptr && *returned > 0 && *returned <= requested;
  }
  [[nodiscard]] std::span<Performance> all() const {
    return {values, static_cast<std::size_t>(*returned)};
  }
};

template <typename Performance>
Results(int, int*, Performance*) -> Results<Performance>;

// cuDNN's own answer comes first, as it is needed for the workspaces; then its order is looked at.
template <typename Performance, typename Get>
cudnnStatus_t get_and_order(cudnnHandle_t handle,
                            const LegacyProblem& legacy,
                            const Results<Performance>& results,
                            Get get) {
  const cudnnStatus_t status = get();
  (void)assisted([&](Session& session) {
    if (status != CUDNN_STATUS_SUCCESS || !results.usable()) {
      return false;
    }
    const core::Decision* decision = session.legacy_decision(handle, problem_of(legacy));
    if (decision != nullptr) {
      order_by_measurements(legacy.operation, *decision, math_type_of(legacy), results.all());
    }
    return true;
  });
  return status;
}

// Runs the application's own search, or repeats what the same search found before. `workspace` is 0
// for a search that brings its own, else what it may use, plus 1.
template <typename Performance, typename Search>
cudnnStatus_t search_once(cudnnHandle_t handle,
                          const LegacyProblem& legacy,
                          std::size_t workspace,
                          const Results<Performance>& results,
                          Search search) {
  std::optional<core::KeyHash> key;
  const bool known = assisted([&](Session& session) {
    if (results.returned == nullptr || results.values == nullptr || results.requested <= 0) {
      return false;
    }
    key = session.legacy_key(handle,
                             problem_of(legacy),
                             static_cast<std::uint64_t>(math_type_of(legacy)),
                             static_cast<std::uint64_t>(results.requested),
                             workspace);
    return key && session.found_algorithms().recall(
                      *key, results.requested, results.returned, results.values);
  });
  if (known) {
    return CUDNN_STATUS_SUCCESS;
  }
  const cudnnStatus_t status = search();
  // What could not be tried for want of memory is found by a later search.
  const auto untried = [](const Performance& result) {
    return result.status == CUDNN_STATUS_ALLOC_FAILED ||
           result.status == CUDNN_STATUS_INTERNAL_ERROR;
  };
  if (status == CUDNN_STATUS_SUCCESS && key && results.usable() &&
      std::ranges::none_of(results.all(), untried)) {
    (void)assisted([&](Session& session) {
      session.found_algorithms().keep(*key, std::span<const Performance>(results.all()));
      return true;
    });
  }
  return status;
}

// The three forms of a choice, for any operation: `first`, `second`, the convolution and `last` are
// descriptors in the order of cuDNN's arguments.
template <typename Function, typename First, typename Second, typename Last, typename Performance>
cudnnStatus_t get(Function function,
                  cudnnHandle_t handle,
                  First first,
                  Second second,
                  Convolution convolution,
                  Last last,
                  const Results<Performance>& r) {
  return get_and_order(handle, describe(first, second, convolution, last), r, [&] {
    return function(handle, first, second, convolution, last, r.requested, r.returned, r.values);
  });
}
template <typename Function, typename First, typename Second, typename Last, typename Performance>
cudnnStatus_t find(Function function,
                   cudnnHandle_t handle,
                   First first,
                   Second second,
                   Convolution convolution,
                   Last last,
                   const Results<Performance>& r) {
  return search_once(handle, describe(first, second, convolution, last), 0, r, [&] {
    return function(handle, first, second, convolution, last, r.requested, r.returned, r.values);
  });
}
// A descriptor and its data.
template <typename Descriptor, typename Data>
struct With {
  Descriptor descriptor;
  Data* data;
};
template <typename Descriptor, typename Data>
With(Descriptor, Data*) -> With<Descriptor, Data>;
struct Workspace {
  void* data;
  std::size_t bytes;
};
template <typename Function, typename First, typename Second, typename Last, typename Performance>
cudnnStatus_t find_ex(Function function,
                      cudnnHandle_t handle,
                      With<First, const void> first,
                      With<Second, const void> second,
                      Convolution convolution,
                      With<Last, void> last,
                      const Results<Performance>& results,
                      Workspace workspace) {
  const LegacyProblem legacy =
      describe(first.descriptor, second.descriptor, convolution, last.descriptor);
  return search_once(handle, legacy, workspace.bytes + 1, results, [&] {
    return function(handle,
                    first.descriptor,
                    first.data,
                    second.descriptor,
                    second.data,
                    convolution,
                    last.descriptor,
                    last.data,
                    results.requested,
                    results.returned,
                    results.values,
                    workspace.data,
                    workspace.bytes);
  });
}

}  // namespace reformer::shim
