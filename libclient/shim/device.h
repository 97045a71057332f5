#pragma once

#include "core/device.h"

#include <cstdint>

namespace reformer::shim {

// The GPU of the calling thread's current CUDA context, by the driver library that the process has
// loaded; initialises nothing. False if there is no driver, no context, or it does not say.
[[nodiscard]] bool current_device(core::DeviceFingerprint& device, std::int32_t& ordinal);

}  // namespace reformer::shim
