#pragma once

#include "libclient/cancellation.h"
#include "libclient/shim/libcudnn.h"
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

 private:
  client::Uncancelled uncancelled_;  // cuDNN would not wait where the shim waits for the daemon
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

// A call that is not for the served library goes where it would have gone.
template <typename Function, typename... Arguments>
cudnnStatus_t pass_on(const Route& route, Arguments... arguments) {
  return route.function == nullptr ? CUDNN_STATUS_NOT_INITIALIZED
                                   : reinterpret_cast<Function>(route.function)(arguments...);
}
// Begins a stand-in: `real` is the served library from here on. The arguments are the stand-in's.
#define SERVED_OR_PASS_ON(name, ...)                                                               \
  const reformer::shim::Route route =                                                              \
      reformer::shim::route_of(#name, __builtin_extract_return_addr(__builtin_return_address(0))); \
  const reformer::shim::RealCudnn* real = route.served;                                            \
  if (real == nullptr) {                                                                           \
    return reformer::shim::pass_on<decltype(&::name)>(route, __VA_ARGS__);                         \
  }                                                                                                \
  static_assert(true)

// What dlsym hands out instead of cuDNN's own.
struct Interposed {
  std::string_view name;
  void* function;
};
[[nodiscard]] std::span<const Interposed> interposed_backend();
[[nodiscard]] std::span<const Interposed> interposed_legacy();

}  // namespace reformer::shim
