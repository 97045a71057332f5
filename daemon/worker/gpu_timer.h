#pragma once

#include "core/result.h"
#include "daemon/worker/timer.h"

#include <memory>
#include <string>

namespace reformer::worker {

// Times on a GPU of this machine with one cuDNN library (empty: libcudnn.so.9).
// Errors: kUnavailable without GPU, driver or library.
core::Result<std::unique_ptr<Timer>> make_gpu_timer(const std::string& library, int gpu);

}  // namespace reformer::worker
