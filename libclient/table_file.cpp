#include "libclient/table_file.h"

#include "libclient/trusted_file.h"

#include <sys/mman.h>
#include <sys/stat.h>

#include <utility>

namespace reformer::client {
namespace {

namespace shared_table = core::shared_table;

constexpr off_t kMaxSnapshotBytes = off_t{4} << 30;

bool in_the_same_folder(const std::string& one, const std::string& other) {
  const auto a = folder_of(one);
  const auto b = folder_of(other);
  return a && b && a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

}  // namespace

void SharedTable::set_path(std::string path) {
  if (path != path_) {
    unmap();
    path_ = std::move(path);
  }
}

void SharedTable::set_path(std::string path, const std::string& socket) {
  if (path != path_ && in_the_same_folder(path, socket)) {
    set_path(std::move(path));
  }
}

void SharedTable::unmap() {
  view_.reset();
  if (memory_ != nullptr) {
    ::munmap(memory_, bytes_);
  }
  memory_ = nullptr;
  bytes_ = 0;
}

void SharedTable::map() {
  unmap();
  const File file(path_);
  const auto status = file.status();
  if (!status || status->st_size <= 0 || !trusted(*status, S_IFREG, folder_of(path_))) {
    return;
  }
  const auto bytes = static_cast<std::size_t>(status->st_size);
  void* memory = ::mmap(nullptr, bytes, PROT_READ, MAP_SHARED, file.fd(), 0);
  if (memory == MAP_FAILED) {
    return;
  }
  memory_ = memory;
  bytes_ = bytes;
  inode_ = status->st_ino;
  auto view = shared_table::View::open({static_cast<const std::byte*>(memory), bytes});
  if (!view) {
    unmap();
    return;
  }
  view_.emplace(*view);
}

bool SharedTable::replaced() const {
  struct stat status {};
  return ::stat(path_.c_str(), &status) == 0 && status.st_ino != inode_;
}

std::optional<core::Decision> SharedTable::find(const core::KeyHash& key) {
  if (path_.empty()) {
    return std::nullopt;
  }
  if (!view_ || view_->superseded()) {
    map();
  }
  if (!view_) {
    return std::nullopt;
  }
  std::optional<core::Decision> decision = view_->find(key);
  // A daemon that was killed could not mark its table as superseded.
  if (!decision && replaced()) {
    map();
    decision = view_ ? view_->find(key) : std::nullopt;
  }
  return decision;
}

core::Result<std::unique_ptr<const Snapshot>> Snapshot::open(const std::string& path) {
  const auto unreadable = [&path](std::string_view why) {
    return core::make_error(core::ErrorCode::kUnavailable,
                            "snapshot " + path + ": " + std::string(why));
  };
  const File file(path);
  const auto status = file.status();
  if (!status || !S_ISREG(status->st_mode)) {
    return unreadable("cannot be read");
  }
  if (status->st_size > kMaxSnapshotBytes) {
    return unreadable("longer than 4 GiB");
  }
  auto bytes = file.read(static_cast<std::size_t>(status->st_size));
  if (!bytes) {
    return unreadable("cannot be read to its end");
  }
  std::unique_ptr<Snapshot> snapshot(new Snapshot);
  snapshot->bytes_ = std::move(*bytes);
  auto view = shared_table::View::open(snapshot->bytes_);
  if (!view) {
    return core::in_context("snapshot " + path, view.error());
  }
  snapshot->view_.emplace(*view);
  return std::unique_ptr<const Snapshot>(std::move(snapshot));
}

std::optional<core::Decision> Snapshot::find(const core::KeyHash& key) const {
  std::optional<core::Decision> decision = view_->find(key);
  if (decision && decision->source != core::Source::kAbstain) {
    decision->source = core::Source::kFrozen;
  }
  return decision;
}

}  // namespace reformer::client
