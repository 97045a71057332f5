// consumer ROUTE LIBRARY DEVICE_PROPERTIES LIST THREADS: reaches cuDNN by one of the routes that
// programs use.
//   dlsym    dlopen(LIBRARY, local) and dlsym on that handle (XLA; LIBRARY a name or a path)
//   dlvsym   the same with dlvsym
//   local    dlopen(LIBRARY, RTLD_LOCAL) of a library that is itself linked to cuDNN
#include "tests/shim/consumer.h"

#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>
#include <string_view>

namespace {

template <typename Function>
bool look_up(bool versioned, void* handle, const char* name, Function& function) {
  function = reinterpret_cast<Function>(versioned ? ::dlvsym(handle, name, "libcudnn.so.9")
                                                  : ::dlsym(handle, name));
  return function != nullptr;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 6) {
    return 2;
  }
  const std::string_view route = argv[1];
  void* handle = ::dlopen(argv[2], RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    std::fprintf(stderr, "consumer: %s\n", ::dlerror());
    return 2;
  }
  const int threads = std::atoi(argv[5]);
  if (route == "local") {
    using Run = int (*)(const char*, const char*, int);
    const auto run = reinterpret_cast<Run>(::dlsym(handle, "consume_linked"));
    return run == nullptr ? 2 : run(argv[3], argv[4], threads);
  }
  const bool versioned = route == "dlvsym";
  CudnnTable cudnn{};
  if (!look_up(versioned, handle, "cudnnBackendCreateDescriptor", cudnn.create) ||
      !look_up(versioned, handle, "cudnnBackendDestroyDescriptor", cudnn.destroy) ||
      !look_up(versioned, handle, "cudnnBackendSetAttribute", cudnn.set) ||
      !look_up(versioned, handle, "cudnnBackendGetAttribute", cudnn.get) ||
      !look_up(versioned, handle, "cudnnBackendFinalize", cudnn.finalize)) {
    std::fprintf(stderr, "consumer: %s\n", ::dlerror());
    return 2;
  }
  return consume(cudnn, argv[3], argv[4], threads) == 0 ? 0 : 1;
}
