#pragma once

#include <cudnn.h>

#include <cstdint>
#include <string>
#include <vector>

// A thin owner of cuDNN backend descriptors, as applications have one.
namespace example {

// Ends the program with a message if a call failed: an example has nothing better to do.
void check(cudnnStatus_t status, const char* what);

class Descriptor {
 public:
  explicit Descriptor(cudnnBackendDescriptorType_t type) {
    check(cudnnBackendCreateDescriptor(type, &descriptor_), "cudnnBackendCreateDescriptor");
  }
  ~Descriptor() { (void)cudnnBackendDestroyDescriptor(descriptor_); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;

  [[nodiscard]] const cudnnBackendDescriptor_t& get() const { return descriptor_; }
  void set(cudnnBackendAttributeName_t name,
           cudnnBackendAttributeType_t type,
           std::int64_t count,
           const void* values) {
    check(cudnnBackendSetAttribute(descriptor_, name, type, count, values), "SetAttribute");
  }
  void set_int(cudnnBackendAttributeName_t name, std::int64_t value) {
    set(name, CUDNN_TYPE_INT64, 1, &value);
  }
  void set_ints(cudnnBackendAttributeName_t name, const std::vector<std::int64_t>& values) {
    set(name, CUDNN_TYPE_INT64, static_cast<std::int64_t>(values.size()), values.data());
  }
  void set_descriptor(cudnnBackendAttributeName_t name, const Descriptor& value) {
    set(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &value.descriptor_);
  }
  [[nodiscard]] cudnnStatus_t try_finalize() { return cudnnBackendFinalize(descriptor_); }
  void finalize() { check(try_finalize(), "cudnnBackendFinalize"); }
  // How many values were written.
  std::int64_t get(cudnnBackendAttributeName_t name,
                   cudnnBackendAttributeType_t type,
                   std::int64_t capacity,
                   void* values) const {
    std::int64_t count = 0;
    check(cudnnBackendGetAttribute(descriptor_, name, type, capacity, &count, values),
          "GetAttribute");
    return count;
  }

 private:
  cudnnBackendDescriptor_t descriptor_ = nullptr;
};

}  // namespace example
