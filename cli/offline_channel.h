#pragma once

#include "cli/channel.h"

#include <string>

namespace reformer::cli {

// The database in a stopped daemon's state directory, answered by the daemon's own code in this
// process. Errors: kUnavailable while a daemon has it open, kCorrupt, kUnsupported.
[[nodiscard]] core::Result<std::unique_ptr<AdminChannel>> open_offline_channel(
    const std::string& state_dir);

}  // namespace reformer::cli
