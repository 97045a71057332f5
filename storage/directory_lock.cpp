#include "storage/directory_lock.h"

#include <fmt/core.h>

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

namespace reformer::storage {

core::Result<DirectoryLock> DirectoryLock::acquire(const std::filesystem::path& directory,
                                                   Kind kind) {
  const auto failure = [&directory](int error) {
    return core::make_error(
        core::ErrorCode::kUnavailable,
        fmt::format("{}: {}", directory.string(), std::generic_category().message(error)));
  };
  const int descriptor = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) {
    return failure(errno);
  }
  DirectoryLock lock(descriptor);
  if (::flock(descriptor, (kind == Kind::kShared ? LOCK_SH : LOCK_EX) | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) {
      return failure(errno);
    }
    return core::make_error(
        core::ErrorCode::kUnavailable,
        fmt::format("{}: another process has this database open", directory.string()));
  }
  return lock;
}

DirectoryLock::~DirectoryLock() {
  if (descriptor_ >= 0) {
    ::close(descriptor_);
  }
}

DirectoryLock::DirectoryLock(DirectoryLock&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)) {}

DirectoryLock& DirectoryLock::operator=(DirectoryLock&& other) noexcept {
  std::swap(descriptor_, other.descriptor_);
  return *this;
}

}  // namespace reformer::storage
