// A disk that is full, read-only, broken or slow, for a program that knows nothing of it: preloaded
// before libc's own functions. Only files below kFaultsFolder that are opened for writing suffer.
#include "tests/torture/disk_faults.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <cstdarg>
#include <cstdlib>
#include <cstring>

namespace {

using reformer::testing::DiskFaults;

DiskFaults* map_faults() {
  const char* name = std::getenv(reformer::testing::kFaultsFile);
  const int file = name != nullptr ? ::open(name, O_RDWR | O_CLOEXEC) : -1;
  if (file < 0) {
    return nullptr;
  }
  void* page = ::mmap(nullptr, sizeof(DiskFaults), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  ::close(file);
  return page != MAP_FAILED ? static_cast<DiskFaults*>(page) : nullptr;
}
DiskFaults* faults = nullptr;
const char* folder = nullptr;
__attribute__((constructor)) void begin() {
  faults = map_faults();
  folder = std::getenv(reformer::testing::kFaultsFolder);
}

bool below_folder(const char* path) {
  return folder != nullptr && std::strncmp(path, folder, std::strlen(folder)) == 0;
}
bool below_folder(int descriptor) {
  char link[32] = "/proc/self/fd/";
  char path[512] = {};
  char digits[12];
  int count = 0;
  for (int rest = descriptor; count == 0 || rest > 0; rest /= 10) {
    digits[count++] = static_cast<char>('0' + rest % 10);
  }
  for (char* end = link + std::strlen(link); count > 0;) {
    *end++ = digits[--count];
  }
  return ::readlink(link, path, sizeof path - 1) > 0 && below_folder(path);
}

// Whether a call on this file is to fail; errno says with what.
template <typename File>
bool fails(File file, unsigned slower = 1) {
  if (faults == nullptr) {
    return false;
  }
  const std::uint32_t error = faults->error;
  const std::uint32_t delay = faults->delay_us;
  if ((error == 0 && delay == 0) || !below_folder(file)) {
    return false;
  }
  if (delay > 0) {
    ::usleep(delay * slower);
  }
  static std::atomic<std::uint32_t> random{1};
  const std::uint32_t next = random = random * 1'664'525U + 1'013'904'223U;
  if (error == 0 || (next >> 8) % 1000 >= faults->thousandths) {
    return false;
  }
  errno = static_cast<int>(error);
  return true;
}

template <typename Function>
Function* real(const char* name) {
  return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
}

bool writes(int flags) {
  return (flags & (O_WRONLY | O_RDWR | O_CREAT | O_TRUNC)) != 0 && (flags & O_DIRECTORY) == 0;
}

}  // namespace

extern "C" {
#define PRELOADED __attribute__((visibility("default")))

PRELOADED int open(const char* path, int flags, ...) {
  std::va_list rest;
  va_start(rest, flags);
  const mode_t mode = (flags & O_CREAT) != 0 ? static_cast<mode_t>(va_arg(rest, int)) : 0;
  va_end(rest);
  static auto* const next = real<int(const char*, int, ...)>("open");
  return writes(flags) && fails(path) ? -1 : next(path, flags, mode);
}
PRELOADED int open64(const char* path, int flags, ...) {
  std::va_list rest;
  va_start(rest, flags);
  const mode_t mode = (flags & O_CREAT) != 0 ? static_cast<mode_t>(va_arg(rest, int)) : 0;
  va_end(rest);
  static auto* const next = real<int(const char*, int, ...)>("open64");
  return writes(flags) && fails(path) ? -1 : next(path, flags, mode);
}
PRELOADED ssize_t write(int file, const void* bytes, size_t count) {
  static auto* const next = real<ssize_t(int, const void*, size_t)>("write");
  return fails(file) ? -1 : next(file, bytes, count);
}
PRELOADED ssize_t pwrite(int file, const void* bytes, size_t count, off_t at) {
  static auto* const next = real<ssize_t(int, const void*, size_t, off_t)>("pwrite");
  return fails(file) ? -1 : next(file, bytes, count, at);
}
PRELOADED ssize_t pwrite64(int file, const void* bytes, size_t count, off64_t at) {
  static auto* const next = real<ssize_t(int, const void*, size_t, off64_t)>("pwrite64");
  return fails(file) ? -1 : next(file, bytes, count, at);
}
PRELOADED int fsync(int file) {
  static auto* const next = real<int(int)>("fsync");
  return fails(file, 4) ? -1 : next(file);
}
PRELOADED int fdatasync(int file) {
  static auto* const next = real<int(int)>("fdatasync");
  return fails(file, 4) ? -1 : next(file);
}
PRELOADED int rename(const char* from, const char* to) noexcept {
  static auto* const next = real<int(const char*, const char*)>("rename");
  return fails(to) ? -1 : next(from, to);
}
PRELOADED int unlink(const char* path) noexcept {
  static auto* const next = real<int(const char*)>("unlink");
  return fails(path) ? -1 : next(path);
}
PRELOADED int mkdir(const char* path, mode_t mode) noexcept {
  static auto* const next = real<int(const char*, mode_t)>("mkdir");
  return fails(path) ? -1 : next(path, mode);
}
}
