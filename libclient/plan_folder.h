#pragma once

#include "core/plan_file.h"

#include <optional>
#include <string>

namespace reformer::client {

// A compiled plan that the daemon has kept in `folder` (core::plans_path), for this problem and
// configuration. Absent where there is none, or none that may be trusted: what is loaded runs in
// this process. The folder and the file must belong to root, this user or the owner of the folder
// that `folder` lies in, and nobody else may write them; the file's length, checksum and key must
// be right. Never waits for more than a disk.
[[nodiscard]] std::optional<core::StoredPlan> read_plan(const std::string& folder,
                                                        const core::KeyHash& key,
                                                        const core::EngineConfig& config);

}  // namespace reformer::client
