#pragma once

#include "core/device.h"

#include <cstdint>
#include <optional>

// The CUDA driver library that the process has loaded. Initialises nothing.
namespace reformer::shim {

// Of cuda.h, which is not needed for these few.
using CuDevice = int;
using CuResult = int;
using CuContext = void*;
using CuStream = void*;
using CuEvent = void*;

// Null functions: the driver does not have them. Found once, then constant.
struct Driver {
  CuResult (*ctx_get_device)(CuDevice*) = nullptr;
  CuResult (*device_get_name)(char*, int, CuDevice) = nullptr;
  CuResult (*device_get_attribute)(int*, int, CuDevice) = nullptr;
  // For observation; all or none of them.
  CuResult (*ctx_get_current)(CuContext*) = nullptr;
  CuResult (*event_create)(CuEvent*, unsigned) = nullptr;
  CuResult (*event_record)(CuEvent, CuStream) = nullptr;
  CuResult (*event_query)(CuEvent) = nullptr;
  CuResult (*event_elapsed)(float*, CuEvent, CuEvent) = nullptr;
  CuResult (*stream_is_capturing)(CuStream, int*) = nullptr;
  CuResult (*exchange_capture_mode)(int*) = nullptr;
  [[nodiscard]] bool can_time() const { return exchange_capture_mode != nullptr; }
};
// Null while there is no driver. Threads: any.
[[nodiscard]] const Driver* driver();

// The GPU of the calling thread's current CUDA context; empty if there is no driver or no context.
[[nodiscard]] std::optional<CuDevice> current_ordinal();
// What a GPU is. False if the driver does not say.
[[nodiscard]] bool describe_device(CuDevice ordinal, core::DeviceFingerprint& device);

}  // namespace reformer::shim
