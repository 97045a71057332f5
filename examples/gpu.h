#pragma once

#include <cudnn.h>

#include <array>
#include <cstdint>
#include <memory>

namespace example {

// The GPU, by the driver library; loaded at run time, because there may be none.
class Gpu {
 public:
  // Null without a GPU.
  static std::unique_ptr<Gpu> find();
  ~Gpu();
  Gpu(const Gpu&) = delete;
  Gpu& operator=(const Gpu&) = delete;

  [[nodiscard]] cudnnHandle_t handle() const { return handle_; }
  // Runs a plan on zeroed tensors ('x', 'w', 'y') `repeat` times; microseconds an execution, or a
  // negative number if it did not run.
  double time(cudnnBackendDescriptor_t plan,
              const std::array<std::size_t, 3>& tensor_bytes,
              std::size_t workspace_bytes,
              int repeat);

 private:
  struct Driver;
  Gpu();
  std::unique_ptr<Driver> driver_;
  cudnnHandle_t handle_ = nullptr;
};

}  // namespace example
