#include "libclient/shim/device.h"

#include "libclient/shim/libcudnn.h"

#include <array>
#include <atomic>
#include <memory>

namespace reformer::shim {
namespace {

// Of cuda.h, which is not needed for these three.
using CuDevice = int;
using CuResult = int;
constexpr int kMultiprocessorCount = 16;
constexpr int kComputeCapabilityMajor = 75;
constexpr int kComputeCapabilityMinor = 76;

struct Driver {
  CuResult (*ctx_get_device)(CuDevice*) = nullptr;
  CuResult (*device_get_name)(char*, int, CuDevice) = nullptr;
  CuResult (*device_get_attribute)(int*, int, CuDevice) = nullptr;
};

const Driver* driver() {
  static std::atomic<const Driver*> found{nullptr};
  if (const Driver* known = found.load(std::memory_order_acquire)) {
    return known;
  }
  const std::string path = loaded_library("libcuda.so");
  auto fresh = std::make_unique<Driver>();
  fresh->ctx_get_device =
      reinterpret_cast<CuResult (*)(CuDevice*)>(loaded_symbol(path, "cuCtxGetDevice"));
  fresh->device_get_name =
      reinterpret_cast<CuResult (*)(char*, int, CuDevice)>(loaded_symbol(path, "cuDeviceGetName"));
  fresh->device_get_attribute = reinterpret_cast<CuResult (*)(int*, int, CuDevice)>(
      loaded_symbol(path, "cuDeviceGetAttribute"));
  if (fresh->ctx_get_device == nullptr || fresh->device_get_name == nullptr ||
      fresh->device_get_attribute == nullptr) {
    return nullptr;
  }
  const Driver* expected = nullptr;
  if (found.compare_exchange_strong(expected, fresh.get())) {
    return fresh.release();  // lives as long as the process
  }
  return expected;
}

bool read_device(const Driver& driver, CuDevice ordinal, core::DeviceFingerprint& device) {
  std::array<char, core::kMaxDeviceNameBytes + 1> name{};
  int major = 0;
  int minor = 0;
  int multiprocessors = 0;
  if (driver.device_get_name(name.data(), static_cast<int>(name.size()) - 1, ordinal) != 0 ||
      driver.device_get_attribute(&major, kComputeCapabilityMajor, ordinal) != 0 ||
      driver.device_get_attribute(&minor, kComputeCapabilityMinor, ordinal) != 0 ||
      driver.device_get_attribute(&multiprocessors, kMultiprocessorCount, ordinal) != 0) {
    return false;
  }
  device = {name.data(), major * 10 + minor, multiprocessors};
  return true;
}

}  // namespace

bool current_device(core::DeviceFingerprint& device, std::int32_t& ordinal) {
  const Driver* loaded = driver();
  CuDevice current = 0;
  if (loaded == nullptr || loaded->ctx_get_device(&current) != 0) {
    return false;
  }
  ordinal = current;
  return read_device(*loaded, current, device);
}

}  // namespace reformer::shim
