#include "libclient/current_pid.h"

#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <new>

namespace reformer::client {
namespace {

// Null where the kernel cannot wipe it.
std::atomic<pid_t>* make_page() noexcept {
  const auto bytes = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  void* page = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) {
    return nullptr;
  }
  if (::madvise(page, bytes, MADV_WIPEONFORK) != 0) {
    ::munmap(page, bytes);
    return nullptr;
  }
  return new (page) std::atomic<pid_t>(0);
}

}  // namespace

pid_t current_pid() noexcept {
  static std::atomic<pid_t>* const page = make_page();
  if (page == nullptr) {
    return ::getpid();
  }
  pid_t pid = page->load(std::memory_order_relaxed);
  if (pid == 0) {  // the first call, or the first in a child
    pid = ::getpid();
    page->store(pid, std::memory_order_relaxed);
  }
  return pid;
}

}  // namespace reformer::client
