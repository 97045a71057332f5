#include "libclient/trusted_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

namespace reformer::client {
namespace {

constexpr int kRead = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;

}  // namespace

File::File(const std::string& path, int more) : fd_(::open(path.c_str(), kRead | more)) {}

File::File(const File& folder, const std::string& name)
    : fd_(::openat(folder.fd_, name.c_str(), kRead | O_NOFOLLOW)) {}

File::~File() {
  if (fd_ >= 0) {
    ::close(fd_);
  }
}

std::optional<struct stat> File::status() const {
  struct stat status {};
  return fd_ >= 0 && ::fstat(fd_, &status) == 0 ? std::optional(status) : std::nullopt;
}

std::optional<std::vector<std::byte>> File::read(std::size_t bytes) const {
  std::vector<std::byte> content(bytes);
  std::size_t done = 0;
  while (done < bytes) {
    const ssize_t got = ::read(fd_, content.data() + done, bytes - done);
    if (got < 0 && errno == EINTR) {
      continue;
    }
    if (got <= 0) {
      return std::nullopt;
    }
    done += static_cast<std::size_t>(got);
  }
  return content;
}

std::optional<struct stat> folder_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  struct stat status {};
  return ::stat(folder.c_str(), &status) == 0 ? std::optional(status) : std::nullopt;
}

bool trusted(const struct stat& status, mode_t kind, const std::optional<struct stat>& folder) {
  const bool owner = status.st_uid == 0 || status.st_uid == ::geteuid() ||
                     (folder && status.st_uid == folder->st_uid);
  return (status.st_mode & S_IFMT) == kind && owner && (status.st_mode & (S_IWGRP | S_IWOTH)) == 0;
}

}  // namespace reformer::client
