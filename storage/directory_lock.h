#pragma once

#include "core/result.h"

#include <filesystem>

namespace reformer::storage {

// flock(2) on a directory: no file of its own, needs no write permission, gone with the process. It
// stays with the directory when that is renamed. Not inherited over exec.
class DirectoryLock {
 public:
  enum class Kind { kShared, kExclusive };
  // Errors: kUnavailable where somebody else holds it, or the directory cannot be opened.
  static core::Result<DirectoryLock> acquire(const std::filesystem::path& directory, Kind kind);

  DirectoryLock() = default;
  ~DirectoryLock();
  DirectoryLock(DirectoryLock&& other) noexcept;
  DirectoryLock& operator=(DirectoryLock&& other) noexcept;
  DirectoryLock(const DirectoryLock&) = delete;
  DirectoryLock& operator=(const DirectoryLock&) = delete;

 private:
  explicit DirectoryLock(int descriptor) : descriptor_(descriptor) {}
  int descriptor_ = -1;
};

}  // namespace reformer::storage
