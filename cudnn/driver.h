#pragma once

#include "core/device.h"
#include "core/result.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace reformer::cudnn {

struct DriverFunctions;  // cudnn/driver_functions.h

// Turns the driver's compile cache off for this process and its children, unless the environment
// says something of it (CUDA_CACHE_DISABLE): what building a plan takes is then what it takes an
// application that is the first to build it. Before the first use of CUDA, while the process has
// one thread.
void turn_compile_cache_off();

// The CUDA driver and one GPU's primary context, through libcuda.so.1 loaded with dlopen. Threads:
// a thread that uses the GPU calls make_current() first.
class Gpu {
 public:
  // Errors: kUnavailable without a driver or a GPU of that ordinal.
  static core::Result<std::shared_ptr<const Gpu>> open(int ordinal);
  ~Gpu();
  Gpu(const Gpu&) = delete;
  Gpu& operator=(const Gpu&) = delete;

  [[nodiscard]] core::Status make_current() const;
  [[nodiscard]] const core::DeviceFingerprint& fingerprint() const { return fingerprint_; }
  [[nodiscard]] int ordinal() const { return ordinal_; }
  // "00000000:17:00.0", by which NVML finds the same GPU.
  [[nodiscard]] const std::string& pci_bus_id() const { return pci_bus_id_; }
  // Bytes that are free now.
  [[nodiscard]] core::Result<std::size_t> free_memory() const;
  [[nodiscard]] const DriverFunctions& functions() const { return *functions_; }

 private:
  Gpu();
  std::unique_ptr<DriverFunctions> functions_;
  void* context_ = nullptr;  // CUcontext
  int device_ = 0;
  int ordinal_ = 0;
  core::DeviceFingerprint fingerprint_;
  std::string pci_bus_id_;
};

}  // namespace reformer::cudnn
