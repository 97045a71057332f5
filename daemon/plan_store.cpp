#include "daemon/plan_store.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <system_error>
#include <utility>
#include <vector>

namespace reformer::daemon {
namespace {

namespace fs = std::filesystem;

core::Error unavailable(const fs::path& path, const std::string& why) {
  return core::make_error(core::ErrorCode::kUnavailable, path.string() + ": " + why);
}

// For everybody to read, whatever the umask.
core::Status make_folder(const fs::path& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (!error) {
    fs::permissions(path, static_cast<fs::perms>(0755), error);
  }
  return error ? core::Status(unavailable(path, error.message())) : core::ok_status();
}

core::Status write_file(const fs::path& path, std::span<const std::byte> bytes) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
  if (fd < 0) {
    return unavailable(path, std::strerror(errno));
  }
  int failed = ::fchmod(fd, 0644) == 0 ? 0 : errno;
  while (failed == 0 && !bytes.empty()) {
    const ssize_t written = ::write(fd, bytes.data(), bytes.size());
    if (written >= 0) {
      bytes = bytes.subspan(static_cast<std::size_t>(written));
    } else if (errno != EINTR) {
      failed = errno;
    }
  }
  if (::close(fd) != 0 && failed == 0) {
    failed = errno;
  }
  return failed != 0 ? core::Status(unavailable(path, std::strerror(failed))) : core::ok_status();
}

struct File {
  fs::path path;
  fs::file_time_type written;
  std::uint64_t bytes = 0;
};

// What vanishes meanwhile is left out; what a crash left half-written is removed.
std::vector<File> list(const fs::path& folder) {
  std::vector<File> files;
  std::error_code error;
  for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    std::error_code ignored;
    if (!at->is_regular_file(ignored)) {
      continue;
    }
    if (at->path().extension() == ".plan") {
      const auto written = at->last_write_time(ignored);
      files.push_back({at->path(), written, at->file_size(ignored)});
    } else if (at->path().extension() == ".new") {
      fs::remove(at->path(), ignored);
    }
  }
  return files;
}

}  // namespace

core::Result<std::unique_ptr<PlanStore>> PlanStore::open(fs::path folder, std::int64_t max_bytes) {
  std::error_code error;
  folder = fs::absolute(folder, error);
  if (const core::Status made = make_folder(folder); !made) {
    return made.error();
  }
  std::unique_ptr<PlanStore> store(new PlanStore(std::move(folder), max_bytes));
  store->look();
  store->make_room();
  return store;
}

void PlanStore::look() {
  const auto files = list(folder_);
  const std::lock_guard lock(mutex_);
  bytes_ = 0;
  names_.clear();
  for (const File& file : files) {
    bytes_ += file.bytes;
    names_.insert(file.path.filename());
  }
}

core::Status PlanStore::link(const fs::path& socket) const {
  const fs::path name = core::plans_path(socket.string());
  const fs::path fresh = name.string() + ".new";
  std::error_code error;
  fs::remove(fresh, error);
  fs::create_directory_symlink(folder_, fresh, error);
  if (!error) {
    fs::rename(fresh, name, error);
  }
  return error ? core::Status(unavailable(name, error.message())) : core::ok_status();
}

core::Status PlanStore::put(const core::StoredPlan& plan) {
  if (plan.json.size() > core::kMaxPlanBytes) {
    return core::make_error(core::ErrorCode::kExhausted, "a plan over 1 MiB");
  }
  if (!plan.json.starts_with('{') || !plan.json.ends_with('}')) {
    return core::make_error(core::ErrorCode::kInvalidArgument, "not a plan of cuDNN's");
  }
  const auto bytes = core::encode_plan_file(plan);
  if (bytes.size() > static_cast<std::uint64_t>(max_bytes_)) {
    return core::make_error(core::ErrorCode::kExhausted, "a plan over max_plan_bytes");
  }
  const std::string name = core::plan_file_name(plan.key, plan.config);
  const fs::path fresh = folder_ / (name + ".new");
  std::error_code error;
  if (const core::Status written = write_file(fresh, bytes); !written) {
    fs::remove(fresh, error);
    return written;
  }
  const std::uintmax_t before = fs::file_size(folder_ / name, error);
  const bool is_new = static_cast<bool>(error);
  fs::rename(fresh, folder_ / name, error);
  if (error) {
    return unavailable(folder_ / name, error.message());
  }
  {
    const std::lock_guard lock(mutex_);
    names_.insert(name);
    bytes_ += bytes.size() - (is_new ? 0 : std::min<std::uintmax_t>(before, bytes_));
  }
  make_room();
  return core::ok_status();
}

// Down to nine tenths, so that not every new plan looks through all of them.
void PlanStore::make_room() {
  if (size().bytes <= static_cast<std::uint64_t>(max_bytes_)) {
    return;
  }
  std::vector<File> files = list(folder_);
  std::sort(files.begin(), files.end(), [](const File& one, const File& other) {
    return one.written < other.written;
  });
  std::uint64_t bytes = 0;
  for (const File& file : files) {
    bytes += file.bytes;
  }
  const auto enough = static_cast<std::uint64_t>(max_bytes_) / 10 * 9;
  for (const File& file : files) {
    if (bytes <= enough) {
      break;
    }
    std::error_code error;
    if (fs::remove(file.path, error)) {
      bytes -= file.bytes;
    }
  }
  look();
}

bool PlanStore::has(const core::KeyHash& key, const core::EngineConfig& config) const {
  const std::lock_guard lock(mutex_);
  return !names_.empty() && names_.contains(core::plan_file_name(key, config));
}

std::optional<core::Record> PlanStore::with_loading_times(const core::Record& record) const {
  const core::KeyHash key = core::hash_key(record.key);
  std::optional<core::Record> changed;
  for (std::size_t i = 0; i < record.candidates.size(); ++i) {
    const core::Candidate& candidate = record.candidates[i];
    if (candidate.build_us > kLoadingUs && has(key, candidate.config)) {
      if (!changed) {
        changed = record;
      }
      changed->candidates[i].build_us = kLoadingUs;
    }
  }
  return changed;
}

PlanStore::Size PlanStore::size() const {
  const std::lock_guard lock(mutex_);
  return {names_.size(), bytes_};
}

core::Decision decide_with_plans(const PlanStore* plans,
                                 const core::Record& record,
                                 const core::Constraints& constraints,
                                 const core::BuildPolicy& policy,
                                 std::size_t max_entries,
                                 std::size_t max_engines) {
  const auto changed = plans != nullptr ? plans->with_loading_times(record) : std::nullopt;
  return core::decide_measured(
      changed ? *changed : record, constraints, policy, max_entries, max_engines);
}

}  // namespace reformer::daemon
