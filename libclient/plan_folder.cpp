#include "libclient/plan_folder.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <vector>

namespace reformer::client {
namespace {

constexpr off_t kMaxFileBytes = static_cast<off_t>(core::kMaxPlanBytes) + 4096;

class Fd {
 public:
  explicit Fd(int fd) : fd_(fd) {}
  ~Fd() {
    if (fd_ >= 0) {
      ::close(fd_);
    }
  }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  [[nodiscard]] int get() const { return fd_; }

 private:
  int fd_;
};

// Whether it is of that kind, of an owner whom this process trusts, and no one else's to write.
bool trusted(int fd, mode_t kind, uid_t daemon, off_t& bytes) {
  struct stat status {};
  if (fd < 0 || ::fstat(fd, &status) != 0) {
    return false;
  }
  bytes = status.st_size;
  const bool owner = status.st_uid == 0 || status.st_uid == ::geteuid() || status.st_uid == daemon;
  return (status.st_mode & S_IFMT) == kind && owner && (status.st_mode & (S_IWGRP | S_IWOTH)) == 0;
}

// Of the folder in which the daemon has its socket.
std::optional<uid_t> owner_beside(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  struct stat status {};
  return ::stat(folder.c_str(), &status) == 0 ? std::optional(status.st_uid) : std::nullopt;
}

// Never waits: what stands at the path may be a pipe.
constexpr int kReadFolder = O_RDONLY | O_CLOEXEC | O_DIRECTORY;
constexpr int kReadFile = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW;

}  // namespace

std::optional<core::StoredPlan> read_plan(const std::string& folder,
                                          const core::KeyHash& key,
                                          const core::EngineConfig& config) {
  const Fd inside(::open(folder.c_str(), kReadFolder));  // a link, made by the daemon
  const auto daemon = inside.get() < 0 ? std::nullopt : owner_beside(folder);
  off_t bytes = 0;
  if (!daemon || !trusted(inside.get(), S_IFDIR, *daemon, bytes)) {
    return std::nullopt;
  }
  const Fd file(::openat(inside.get(), core::plan_file_name(key, config).c_str(), kReadFile));
  if (!trusted(file.get(), S_IFREG, *daemon, bytes) || bytes <= 0 || bytes > kMaxFileBytes) {
    return std::nullopt;
  }
  std::vector<std::byte> text(static_cast<std::size_t>(bytes));
  std::size_t done = 0;
  while (done < text.size()) {
    const ssize_t got = ::read(file.get(), text.data() + done, text.size() - done);
    if (got <= 0 && !(got < 0 && errno == EINTR)) {
      return std::nullopt;
    }
    done += got > 0 ? static_cast<std::size_t>(got) : 0;
  }
  auto plan = core::decode_plan_file(text);
  return plan && plan->key == key && plan->config == config ? std::optional(std::move(*plan))
                                                            : std::nullopt;
}

}  // namespace reformer::client
