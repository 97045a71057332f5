#pragma once

#include "core/plan_file.h"
#include "core/problem.h"
#include "core/result.h"
#include "cudnn/functions.h"

#include <cudnn.h>

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

// Owners of cuDNN backend descriptors. Private to cudnn/.
namespace reformer::cudnn {

class Descriptor {
 public:
  static core::Result<Descriptor> create(const Functions& functions,
                                         cudnnBackendDescriptorType_t type);
  Descriptor(Descriptor&& other) noexcept
      : functions_(other.functions_), handle_(std::exchange(other.handle_, nullptr)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    if (this != &other) {
      reset();
      functions_ = other.functions_;
      handle_ = std::exchange(other.handle_, nullptr);
    }
    return *this;
  }
  ~Descriptor() { reset(); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;

  [[nodiscard]] cudnnBackendDescriptor_t get() const { return handle_; }

  [[nodiscard]] cudnnStatus_t set(cudnnBackendAttributeName_t name,
                                  cudnnBackendAttributeType_t type,
                                  std::int64_t count,
                                  const void* values) const;
  // Writes at most `capacity` values; the number that is there goes to `count`.
  [[nodiscard]] cudnnStatus_t get(cudnnBackendAttributeName_t name,
                                  cudnnBackendAttributeType_t type,
                                  std::int64_t capacity,
                                  std::int64_t& count,
                                  void* values) const;
  [[nodiscard]] cudnnStatus_t finalize() const;

  [[nodiscard]] cudnnStatus_t set_int(cudnnBackendAttributeName_t name, std::int64_t value) const {
    return set(name, CUDNN_TYPE_INT64, 1, &value);
  }
  [[nodiscard]] cudnnStatus_t set_descriptor(cudnnBackendAttributeName_t name,
                                             const Descriptor& value) const {
    return set(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &value.handle_);
  }
  [[nodiscard]] cudnnStatus_t set_handle(cudnnBackendAttributeName_t name,
                                         cudnnHandle_t value) const {
    return set(name, CUDNN_TYPE_HANDLE, 1, static_cast<const void*>(&value));
  }

 private:
  Descriptor(const Functions& functions, cudnnBackendDescriptor_t handle)
      : functions_(&functions), handle_(handle) {}
  void reset();

  const Functions* functions_;
  cudnnBackendDescriptor_t handle_;
};

// Unique ids of the tensors in an operation graph, by which a variant pack names them.
inline constexpr std::int64_t kImageUid = core::kPlanTensorIds[0];
inline constexpr std::int64_t kFilterUid = core::kPlanTensorIds[1];
inline constexpr std::int64_t kOutputUid = core::kPlanTensorIds[2];

// The finalised graph of one convolution. What it was made of may go; so may the graph itself once
// configurations have been made from it.
[[nodiscard]] core::Result<Descriptor> make_graph(const Functions& functions,
                                                  cudnnHandle_t handle,
                                                  const core::Problem& problem);

}  // namespace reformer::cudnn
