#pragma once

#include <sys/types.h>

namespace reformer::client {

// getpid() without its system call (a tenth of a microsecond and more): the number is kept in a
// page that the kernel wipes in the child of a fork (MADV_WIPEONFORK, Linux 4.14). Where the kernel
// cannot do that it is getpid() itself. A child of vfork() or clone(CLONE_VM) gets its parent's: it
// lives in its parent's memory.
//
// Threads: any. Async-signal-safe after the first call. The page is never unmapped, so that it can
// be asked in the last destructors of a process.
[[nodiscard]] pid_t current_pid() noexcept;

}  // namespace reformer::client
