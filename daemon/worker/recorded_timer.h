#pragma once

#include "core/key.h"
#include "daemon/worker/timer.h"

#include <filesystem>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

namespace reformer::worker {

// Replays measurements from files, so that everything but the GPU itself runs on any machine. The
// files are read at the first request.
class RecordedTimer final : public Timer {
 public:
  explicit RecordedTimer(std::vector<std::filesystem::path> files) : files_(std::move(files)) {}

  [[nodiscard]] std::string kind() const override { return "recorded"; }
  [[nodiscard]] std::optional<core::Context> context() const override { return std::nullopt; }
  [[nodiscard]] std::string library() const override { return {}; }
  core::Result<core::Record> measure(const Job& job, const std::atomic<bool>& cancelled) override;

 private:
  core::Status load(const std::atomic<bool>& cancelled);

  std::vector<std::filesystem::path> files_;
  bool loaded_ = false;
  std::unordered_map<core::KeyHash, core::Record, core::KeyHasher> records_;
  std::vector<core::Context> contexts_;  // that the files hold
};

}  // namespace reformer::worker
