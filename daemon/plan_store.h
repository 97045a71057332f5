#pragma once

#include "core/decision.h"
#include "core/plan_file.h"
#include "core/record.h"
#include "core/result.h"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
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
  // The record with what loading takes in place of what building takes, where a plan is kept; empty
  // where none of its plans is.
  [[nodiscard]] std::optional<core::Record> with_loading_times(const core::Record& record) const;

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

// What a plan that is kept counts with in place of building it, microseconds: no more than what is
// cheap to build by default (core::BuildPolicy). One H200: 19 to 38 ms for the first one in a
// process (docs/shim.md).
inline constexpr float kLoadingUs = 20000;

// core::decide_measured() by what building costs on this host: a plan that is kept in `plans`
// (null: none are) is loaded.
[[nodiscard]] core::Decision decide_with_plans(const PlanStore* plans,
                                               const core::Record& record,
                                               const core::Constraints& constraints,
                                               const core::BuildPolicy& policy,
                                               std::size_t max_entries,
                                               std::size_t max_engines = core::kMaxDecisionEntries);

}  // namespace reformer::daemon
