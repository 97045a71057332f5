#pragma once

#include "libclient/shim/session.h"

#include <span>
#include <string_view>

// What the files of interposed symbols share.
#define EXPORT __attribute__((visibility("default")))

namespace reformer::shim {

// Set while this thread is inside the shim: a call that comes back is passed on.
// In the block that every thread has from the start: a preloaded library may, and it spares a call.
[[gnu::tls_model("initial-exec")]] inline thread_local bool inside = false;
class Inside {
 public:
  Inside() { inside = true; }
  ~Inside() { inside = false; }
  Inside(const Inside&) = delete;
  Inside& operator=(const Inside&) = delete;
};

// Runs `work` as the shim's own; false, without running it, when it must step aside. Whatever goes
// wrong in it ends in false.
template <typename Work>
bool assisted(Work work) noexcept {
  if (inside) {
    return false;
  }
  const Inside guard;
  try {
    Session* session = Session::get();
    return session != nullptr && work(*session);
  } catch (...) {
    return false;
  }
}

// What dlsym hands out instead of cuDNN's own.
struct Interposed {
  std::string_view name;
  void* function;
};
[[nodiscard]] std::span<const Interposed> interposed_backend();
[[nodiscard]] std::span<const Interposed> interposed_legacy();

}  // namespace reformer::shim
