#include "cli/atomic_file.h"

#include "cli/reply.h"

#include <fmt/format.h>

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string>

namespace reformer::cli {
namespace {

// A file that is not wanted unless keep() is called.
class TemporaryFile {
 public:
  explicit TemporaryFile(std::string pattern) : path_(std::move(pattern)) {
    fd_ = ::mkstemp(path_.data());
  }
  ~TemporaryFile() {
    if (fd_ >= 0) {
      ::close(fd_);
      if (!kept_) {
        ::unlink(path_.c_str());
      }
    }
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;

  [[nodiscard]] bool made() const { return fd_ >= 0; }
  [[nodiscard]] bool write(std::span<const std::byte> bytes) const {
    while (fd_ >= 0 && !bytes.empty()) {
      const ssize_t written = ::write(fd_, bytes.data(), bytes.size());
      if (written < 0 && errno != EINTR) {
        return false;
      }
      bytes = bytes.subspan(written < 0 ? 0 : static_cast<std::size_t>(written));
    }
    return fd_ >= 0 && ::fchmod(fd_, 0644) == 0 && ::fsync(fd_) == 0;
  }
  [[nodiscard]] bool rename_to(const std::filesystem::path& path) {
    kept_ = ::rename(path_.c_str(), path.c_str()) == 0;
    return kept_;
  }

 private:
  std::string path_;
  int fd_ = -1;
  bool kept_ = false;
};

}  // namespace

void write_atomically(const std::filesystem::path& path, std::span<const std::byte> bytes) {
  TemporaryFile file(path.string() + ".XXXXXX");
  if (!file.write(bytes) || !file.rename_to(path)) {
    throw Failure(kExitFailed, fmt::format("{}: {}", path.string(), std::strerror(errno)));
  }
}

void require_writable(const std::filesystem::path& path) {
  const TemporaryFile probe(path.string() + ".XXXXXX");
  if (!probe.made()) {
    throw Failure(kExitFailed, fmt::format("{}: {}", path.string(), std::strerror(errno)));
  }
  if (std::error_code ignored; std::filesystem::is_directory(path, ignored)) {
    throw Failure(kExitFailed, fmt::format("{}: {}", path.string(), std::strerror(EISDIR)));
  }
}

}  // namespace reformer::cli
