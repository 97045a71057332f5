#include "libclient/shim/device.h"

#include "libclient/shim/libcudnn.h"

#include <array>
#include <atomic>
#include <memory>

namespace reformer::shim {
namespace {

constexpr int kMultiprocessorCount = 16;
constexpr int kComputeCapabilityMajor = 75;
constexpr int kComputeCapabilityMinor = 76;

template <typename Function>
bool find(const std::string& path, const char* name, Function& function) {
  function = reinterpret_cast<Function>(loaded_symbol(path, name));
  return function != nullptr;
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

const Driver* driver() {
  static std::atomic<const Driver*> found{nullptr};
  if (const Driver* known = found.load(std::memory_order_acquire)) {
    return known;
  }
  const std::string path = loaded_library("libcuda.so");
  if (path.empty()) {
    return nullptr;
  }
  auto fresh = std::make_unique<Driver>();
  if (!find(path, "cuCtxGetDevice", fresh->ctx_get_device) ||
      !find(path, "cuDeviceGetName", fresh->device_get_name) ||
      !find(path, "cuDeviceGetAttribute", fresh->device_get_attribute)) {
    return nullptr;
  }
  if (!find(path, "cuCtxGetCurrent", fresh->ctx_get_current) ||
      !find(path, "cuEventCreate", fresh->event_create) ||
      !find(path, "cuEventRecord", fresh->event_record) ||
      !find(path, "cuEventQuery", fresh->event_query) ||
      (!find(path, "cuEventElapsedTime_v2", fresh->event_elapsed) &&
       !find(path, "cuEventElapsedTime", fresh->event_elapsed)) ||
      !find(path, "cuStreamIsCapturing", fresh->stream_is_capturing) ||
      !find(path, "cuThreadExchangeStreamCaptureMode", fresh->exchange_capture_mode)) {
    fresh->exchange_capture_mode = nullptr;
  }
  const Driver* expected = nullptr;
  if (found.compare_exchange_strong(expected, fresh.get())) {
    return fresh.release();  // lives as long as the process
  }
  return expected;
}

std::optional<CuDevice> current_ordinal() {
  const Driver* loaded = driver();
  CuDevice current = 0;
  if (loaded == nullptr || loaded->ctx_get_device(&current) != 0) {
    return std::nullopt;
  }
  return current;
}

bool describe_device(CuDevice ordinal, core::DeviceFingerprint& device) {
  const Driver* loaded = driver();
  return loaded != nullptr && read_device(*loaded, ordinal, device);
}

}  // namespace reformer::shim
