#pragma once

// A sanitizer's library has to be loaded first, and asks for dlsym, which is the shim's, before it is
// ready for code that it checks. So nothing of this project can be preloaded in such a build: what
// needs that does not run there.
namespace reformer::testing {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool kCanPreload = false;
#else
inline constexpr bool kCanPreload = true;
#endif

}  // namespace reformer::testing
