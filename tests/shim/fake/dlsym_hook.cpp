// Another interposer of dlsym, which an application preloads behind the shim: it knows one name
// more.
#include <dlfcn.h>

#include <cstring>

extern "C" __attribute__((visibility("default"))) void* dlsym(void* handle, const char* name) {
  if (std::strcmp(name, "only_the_hook_knows_this") == 0) {
    static int known = 0;
    return &known;
  }
  using Function = void* (*)(void*, const char*);
  static const auto next = reinterpret_cast<Function>(::dlvsym(RTLD_NEXT, "dlsym", "GLIBC_2.2.5"));
  return next(handle, name);
}
