#pragma once

#include "core/result.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace reformer::core {

// What of a GPU decides which kernel is fastest: part of every key. A MIG slice differs from the
// whole GPU in its SM count.
struct DeviceFingerprint {
  std::string name;                     // as CUDA reports it: "NVIDIA H200"
  std::int32_t compute_capability = 0;  // major * 10 + minor: 90
  std::int32_t sm_count = 0;
  friend bool operator==(const DeviceFingerprint&, const DeviceFingerprint&) = default;
};

inline constexpr std::size_t kMaxDeviceNameBytes = 255;

// "NVIDIA H200/sm90/132".
[[nodiscard]] std::string format_device(const DeviceFingerprint& device);
[[nodiscard]] Result<DeviceFingerprint> parse_device(std::string_view text);

// SM count of a whole GPU of that name, for measurement files that do not say it; empty if unknown.
[[nodiscard]] std::optional<std::int32_t> known_sm_count(std::string_view name);

// Reads the fields that make a fingerprint out of cuDNN's device-property JSON
// (CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION: deviceName, deviceVer, multiProcessorCount).
// A small scanner, so that the shim needs no JSON library; it never throws.
// Errors: kCorrupt if a field is missing or absurd.
[[nodiscard]] Result<DeviceFingerprint> device_from_properties_json(std::string_view json);

}  // namespace reformer::core
