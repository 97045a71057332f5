#pragma once

#include "libclient/shim/libcudnn.h"

#include <cudnn.h>

#include <utility>

namespace reformer::shim {

// Owns a descriptor of the real library.
class Owned {
 public:
  Owned(const RealCudnn& real, cudnnBackendDescriptorType_t type) : real_(real) {
    if (real.create(type, &descriptor_) != CUDNN_STATUS_SUCCESS) {
      descriptor_ = nullptr;
    }
  }
  ~Owned() {
    if (descriptor_ != nullptr) {
      real_.destroy(descriptor_);
    }
  }
  Owned(const Owned&) = delete;
  Owned& operator=(const Owned&) = delete;
  [[nodiscard]] cudnnBackendDescriptor_t get() const { return descriptor_; }
  cudnnBackendDescriptor_t release() { return std::exchange(descriptor_, nullptr); }

  bool set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, const void* value) {
    return descriptor_ != nullptr &&
           real_.set(descriptor_, name, type, 1, value) == CUDNN_STATUS_SUCCESS;
  }
  bool finalize() { return real_.finalize(descriptor_) == CUDNN_STATUS_SUCCESS; }

 private:
  const RealCudnn& real_;
  cudnnBackendDescriptor_t descriptor_ = nullptr;
};

}  // namespace reformer::shim
