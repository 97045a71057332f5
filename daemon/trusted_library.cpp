#include "daemon/trusted_library.h"

#include <sys/stat.h>

#include <cstdlib>
#include <memory>

namespace reformer::daemon {
namespace {

// Of this folder or file itself, not of what a symbolic link leads to.
bool only_root_can_change(const std::string& path, mode_t type) {
  struct stat found {};
  return ::lstat(path.c_str(), &found) == 0 && (found.st_mode & S_IFMT) == type &&
         found.st_uid == 0 && (found.st_mode & (S_IWGRP | S_IWOTH)) == 0;
}

}  // namespace

std::optional<std::string> trusted_library(const std::string& path) {
  if (!path.starts_with('/')) {
    return std::nullopt;
  }
  const std::unique_ptr<char, decltype(&std::free)> real(::realpath(path.c_str(), nullptr),
                                                         &std::free);
  if (real == nullptr) {
    return std::nullopt;
  }
  std::string resolved = real.get();
  // From the top: nobody else can change what stands below a folder that is root's.
  for (std::size_t end = 0; end != std::string::npos; end = resolved.find('/', end + 1)) {
    if (!only_root_can_change(end == 0 ? "/" : resolved.substr(0, end), S_IFDIR)) {
      return std::nullopt;
    }
  }
  return only_root_can_change(resolved, S_IFREG) ? std::optional(std::move(resolved))
                                                 : std::nullopt;
}

}  // namespace reformer::daemon
