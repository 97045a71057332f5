#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace reformer::daemon {

// In the place of the user of a job (storage::QueuedJob::uid), because no user has this number: its
// library is a trusted one, whoever named it, and may be loaded for all as long as it is.
inline constexpr std::uint32_t kTrustedLibrary = UINT32_MAX;

// The file that `path` leads to, if root alone could have put it there and can change it: a regular
// file that belongs to root, as do all folders above it, none of them writable for others. Free of
// symbolic links, so that it stays that file whatever the owner of `path` does. What it measures
// may answer everyone. Threads: any; asks the file system.
[[nodiscard]] std::optional<std::string> trusted_library(const std::string& path);

}  // namespace reformer::daemon
