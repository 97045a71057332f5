#pragma once

// What cannot run in such a build asks for it: memory limits (shadow memory is more than they
// allow), and whatever preloads a library of this project (a sanitizer's own has to be loaded
// first, and asks for dlsym, which is the shim's, before it is ready for code that it checks).
namespace reformer::testing {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif

// A child of a fork that starts threads of its own confuses the thread sanitizer.
#if defined(__SANITIZE_THREAD__)
inline constexpr bool kThreadSanitized = true;
#else
inline constexpr bool kThreadSanitized = false;
#endif

}  // namespace reformer::testing
