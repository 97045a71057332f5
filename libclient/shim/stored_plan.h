#pragma once

#include "core/plan_file.h"
#include "libclient/shim/descriptors.h"
#include "libclient/shim/libcudnn.h"

#include <cudnn.h>

#include <cstdint>
#include <optional>
#include <string>

// Loading a plan that another process has compiled (docs/shim.md).
namespace reformer::shim {

struct CudnnBuild {
  std::uint64_t version = 0;       // cudnnGetVersion()
  std::uint64_t cuda_version = 0;  // cudnnGetCudartVersion()
};
// Of the library that is served.
[[nodiscard]] CudnnBuild build_of(const RealCudnn& real);

// The plan as cuDNN would have serialised it in the application: with its names of the tensors, and
// on its GPU, which `gpu_profile` (JSON, of CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR) describes. Empty
// where it is not of that engine and build of cuDNN, not for such a GPU, or not understood.
[[nodiscard]] std::optional<std::string> adapt_plan(const core::StoredPlan& plan,
                                                    const TensorIds& ids,
                                                    const std::string& gpu_profile,
                                                    const CudnnBuild& build);

// cuDNN's description of the GPU that the handle is of; empty if it gives none.
[[nodiscard]] std::string gpu_profile_of(const RealCudnn& real, cudnnHandle_t handle);

// Finalises the application's plan descriptor, to which nothing but perhaps the handle has been
// given, from `json`. A descriptor that cuDNN has refused a serialised plan for is of no use any
// more, so one of the shim's own is tried first: false, and `plan` as it was, where that fails.
// `has_handle`: the application has given the plan its handle. (With cuDNN 9 it need not: a graph's
// is enough, but not for loading.)
[[nodiscard]] bool load_plan(const RealCudnn& real,
                             cudnnHandle_t handle,
                             bool has_handle,
                             cudnnBackendDescriptor_t plan,
                             const std::string& json);

}  // namespace reformer::shim
