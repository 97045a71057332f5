#include "libclient/plan_folder.h"

#include "libclient/trusted_file.h"

#include <fcntl.h>

#include <cstddef>
#include <utility>

namespace reformer::client {
namespace {

constexpr off_t kMaxFileBytes = static_cast<off_t>(core::kMaxPlanBytes) + 4096;

}  // namespace

std::optional<core::StoredPlan> read_plan(const std::string& folder,
                                          const core::KeyHash& key,
                                          const core::EngineConfig& config) {
  const File plans(folder, O_DIRECTORY);  // by a link, which the daemon made
  const auto about_plans = plans.status();
  const auto beside = about_plans ? folder_of(folder) : std::nullopt;
  if (!about_plans || !trusted(*about_plans, S_IFDIR, beside)) {
    return std::nullopt;
  }
  const File file(plans, core::plan_file_name(key, config));
  const auto about = file.status();
  if (!about || !trusted(*about, S_IFREG, beside) || about->st_size <= 0 ||
      about->st_size > kMaxFileBytes) {
    return std::nullopt;
  }
  const auto bytes = file.read(static_cast<std::size_t>(about->st_size));
  auto plan = bytes ? core::decode_plan_file(*bytes)
                    : core::make_error(core::ErrorCode::kUnavailable, "cannot be read");
  return plan && plan->key == key && plan->config == config ? std::optional(std::move(*plan))
                                                            : std::nullopt;
}

}  // namespace reformer::client
