#include "libclient/shim/contexts.h"

#include <string>
#include <utility>

namespace reformer::shim {

std::optional<std::size_t> Contexts::of(const RealCudnn& real,
                                        cudnnBackendDescriptor_t device_properties) {
  std::optional<std::size_t> known;
  std::string json;
  descriptors_.with<DevicePropertiesRecord>(device_properties,
                                            [&](const DevicePropertiesRecord& record) {
                                              known = record.context;
                                              json = known ? std::string() : record.json;
                                            });
  if (known) {
    return known;
  }
  const auto device = core::device_from_properties_json(json);
  if (!device) {
    return std::nullopt;
  }
  client::ContextInfo info;
  info.context = {*device, static_cast<std::int64_t>(real.get_version())};
  info.library = real.path;
  const core::Result<std::size_t> context = client_.add_context(std::move(info));
  if (!context) {
    return std::nullopt;
  }
  descriptors_.with<DevicePropertiesRecord>(
      device_properties, [&](DevicePropertiesRecord& record) { record.context = *context; });
  return *context;
}

std::optional<std::size_t> Contexts::of(const RealCudnn& real, std::optional<CuDevice> ordinal) {
  if (!ordinal || *ordinal < 0 || static_cast<std::size_t>(*ordinal) >= kOrdinals) {
    return std::nullopt;
  }
  std::atomic<std::size_t>& known = known_[static_cast<std::size_t>(*ordinal)];
  if (const std::size_t context = known.load(std::memory_order_acquire)) {
    return context - 1;
  }
  client::ContextInfo info;
  if (!describe_device(*ordinal, info.context.device)) {
    return std::nullopt;
  }
  info.context.cudnn_version = static_cast<std::int64_t>(real.get_version());
  info.library = real.path;
  info.gpu = *ordinal;
  const core::Result<std::size_t> context = client_.add_context(std::move(info));
  if (!context) {
    return std::nullopt;
  }
  known.store(*context + 1, std::memory_order_release);
  return *context;
}

std::optional<CuDevice> Contexts::ordinal_of(cudnnHandle_t handle) {
  const std::lock_guard lock(mutex_);
  for (const Handle& known : handles_) {
    if (known.handle == handle && handle != nullptr) {
      return known.ordinal;
    }
  }
  return std::nullopt;
}

std::optional<std::size_t> Contexts::of(const RealCudnn& real, cudnnHandle_t handle) {
  const std::optional<CuDevice> ordinal = ordinal_of(handle);
  return of(real, ordinal ? ordinal : current_ordinal());
}

void Contexts::note_handle(cudnnHandle_t handle) {
  const auto ordinal = current_ordinal();
  const std::lock_guard lock(mutex_);
  for (Handle& place : handles_) {
    if (ordinal && (place.handle == nullptr || place.handle == handle)) {
      place = {handle, *ordinal};
      return;
    }
  }
}

void Contexts::forget_handle(cudnnHandle_t handle) {
  const std::lock_guard lock(mutex_);
  for (Handle& place : handles_) {
    if (place.handle == handle) {
      place = {};
    }
  }
}

}  // namespace reformer::shim
