#include "core/device.h"

#include <array>
#include <charconv>
#include <utility>

namespace reformer::core {
namespace {

// SM counts of whole GPUs (NVIDIA's data sheets and architecture white papers).
constexpr std::array<std::pair<std::string_view, std::int32_t>, 13> kSmCounts{{
    {"NVIDIA H200", 132},
    {"NVIDIA H100 80GB HBM3", 132},
    {"NVIDIA H100 SXM5 80GB", 132},
    {"NVIDIA H100 PCIe", 114},
    {"NVIDIA H100 NVL", 132},
    {"NVIDIA GH200 480GB", 132},
    {"NVIDIA A100-SXM4-80GB", 108},
    {"NVIDIA A100-SXM4-40GB", 108},
    {"NVIDIA A100 80GB PCIe", 108},
    {"NVIDIA A100-PCIE-40GB", 108},
    {"NVIDIA L40S", 142},
    {"NVIDIA L4", 58},
    {"NVIDIA A10", 72},
}};

bool parse_positive(std::string_view text, std::int32_t& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() && value > 0;
}

bool sane_name(std::string_view name) {
  if (name.empty() || name.size() > kMaxDeviceNameBytes) {
    return false;
  }
  for (const char c : name) {
    if (c < ' ' || c == '/' || c == 0x7f) {
      return false;
    }
  }
  return true;
}

// What follows `"field":` with leading blanks removed; empty if there is no such field. cuDNN's
// JSON is flat and does not repeat names, so that no parser is needed.
std::string_view find_field(std::string_view json, std::string_view field) {
  const std::string quoted = "\"" + std::string(field) + "\"";
  std::size_t at = json.find(quoted);
  if (at == std::string_view::npos) {
    return {};
  }
  json.remove_prefix(at + quoted.size());
  at = json.find_first_not_of(" \t\r\n");
  if (at == std::string_view::npos || json[at] != ':') {
    return {};
  }
  at = json.find_first_not_of(" \t\r\n", at + 1);
  return at == std::string_view::npos ? std::string_view() : json.substr(at);
}

bool find_int(std::string_view json, std::string_view field, std::int32_t& value) {
  const std::string_view text = find_field(json, field);
  return !text.empty() &&
         std::from_chars(text.data(), text.data() + text.size(), value).ec == std::errc();
}

}  // namespace

std::string format_device(const DeviceFingerprint& device) {
  return device.name + "/sm" + std::to_string(device.compute_capability) + "/" +
         std::to_string(device.sm_count);
}

Result<DeviceFingerprint> parse_device(std::string_view text) {
  const std::size_t last = text.rfind('/');
  const std::size_t middle =
      last == std::string_view::npos || last == 0 ? last : text.rfind('/', last - 1);
  DeviceFingerprint device;
  if (middle != std::string_view::npos && last != middle) {
    const std::string_view capability = text.substr(middle + 1, last - middle - 1);
    device.name = text.substr(0, middle);
    if (sane_name(device.name) && capability.starts_with("sm") &&
        parse_positive(capability.substr(2), device.compute_capability) &&
        parse_positive(text.substr(last + 1), device.sm_count)) {
      return device;
    }
  }
  return make_error(ErrorCode::kInvalidArgument,
                    "device '" + std::string(text) +
                        "': expected NAME/smCAPABILITY/SMS such as "
                        "NVIDIA H200/sm90/132");
}

std::optional<std::int32_t> known_sm_count(std::string_view name) {
  for (const auto& [known, count] : kSmCounts) {
    if (known == name) {
      return count;
    }
  }
  return std::nullopt;
}

Result<DeviceFingerprint> device_from_properties_json(std::string_view json) {
  const auto bad = [](std::string_view field) {
    return make_error(ErrorCode::kCorrupt,
                      "device properties: no usable \"" + std::string(field) + "\"");
  };
  DeviceFingerprint device;
  std::string_view name = find_field(json, "deviceName");
  const std::size_t close = name.size() > 1 ? name.find('"', 1) : std::string_view::npos;
  if (close == std::string_view::npos || name.front() != '"' ||
      !sane_name(name.substr(1, close - 1))) {
    return bad("deviceName");
  }
  device.name = name.substr(1, close - 1);
  // cuDNN writes 900 for compute capability 9.0.
  if (!find_int(json, "deviceVer", device.compute_capability) || device.compute_capability < 10 ||
      device.compute_capability > 100000) {
    return bad("deviceVer");
  }
  device.compute_capability /= 10;
  if (!find_int(json, "multiProcessorCount", device.sm_count) || device.sm_count <= 0 ||
      device.sm_count > 100000) {
    return bad("multiProcessorCount");
  }
  return device;
}

}  // namespace reformer::core
