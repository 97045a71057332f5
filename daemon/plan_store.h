#pragma once

#include "core/plan_file.h"
#include "core/record.h"
#include "core/result.h"

#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <utility>

namespace reformer::daemon {

// The plans that workers compiled, as files for the shim (core/plan_file.h). When they are more
// than `max_bytes` the oldest go.
//
// Threads: put() from one thread at a time, the rest from any. Files are replaced by renaming, so a
// reader sees a whole one or none.
class PlanStore {
 public:
  // Makes the folder and looks what is there. Errors: kUnavailable.
  static core::Result<std::unique_ptr<PlanStore>> open(std::filesystem::path folder,
                                                       std::int64_t max_bytes);

  // Lets readers find the folder beside the socket (core::plans_path). Errors: kUnavailable.
  core::Status link(const std::filesystem::path& socket) const;
  // Errors: kUnavailable (the disk), kExhausted (too long), kInvalidArgument (no plan of cuDNN's).
  core::Status put(const core::StoredPlan& plan);
  [[nodiscard]] bool has(const core::KeyHash& key, const core::EngineConfig& config) const;
  // The record with what loading takes in place of what building takes, where the plan is kept: so
  // the policy on building (core::BuildPolicy) counts what it costs on this host.
  [[nodiscard]] core::Record with_loading_times(core::Record record) const;

  struct Size {
    std::uint64_t plans = 0;
    std::uint64_t bytes = 0;
  };
  [[nodiscard]] Size size() const;
  [[nodiscard]] const std::filesystem::path& folder() const { return folder_; }

 private:
  PlanStore(std::filesystem::path folder, std::int64_t max_bytes)
      : folder_(std::move(folder)), max_bytes_(max_bytes) {}
  void look();
  void make_room();

  const std::filesystem::path folder_;
  const std::int64_t max_bytes_;
  mutable std::mutex mutex_;
  std::set<std::string> names_;  // of files; guarded by mutex_
  std::uint64_t bytes_ = 0;      // of all of them; guarded by mutex_
};

// What loading a plan takes at most, microseconds (one H200: 19 to 38 ms for the first one in a
// process, docs/shim.md); of what is compiled and of what is not.
inline constexpr float kLoadingUs = 20000;

}  // namespace reformer::daemon
