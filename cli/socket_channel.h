#pragma once

#include "cli/channel.h"

#include <string>

namespace reformer::cli {

// A running daemon, through libreformer. Errors: kUnavailable, saying what to do, where nobody
// listens at `socket`.
[[nodiscard]] core::Result<std::unique_ptr<AdminChannel>> open_socket_channel(
    const std::string& socket);

}  // namespace reformer::cli
