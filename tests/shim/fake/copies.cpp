// An application in which cuDNN is not one library under its usual name:
//
//   copies PLUGIN EXPECTED [OTHER]
//
// The plugin uses the cuDNN that it was linked with; EXPECTED is what plugin_use() is to say: 1 for
// served, 0 for cuDNN's own. OTHER is another copy, which is opened and used before.
#include <cudnn.h>

#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>

namespace {

int failures = 0;

void expect(bool holds, const char* what) {
  if (!holds) {
    ++failures;
    std::fprintf(stderr, "copies: %s\n", what);
  }
}

void use_other(const char* path) {
  void* other = ::dlopen(path, RTLD_NOW | RTLD_LOCAL);
  expect(other != nullptr, "the other copy");
  if (other == nullptr) {
    return;
  }
  const auto create = reinterpret_cast<decltype(&::cudnnCreate)>(::dlsym(other, "cudnnCreate"));
  cudnnHandle_t handle = nullptr;
  expect(create != nullptr && create(&handle) == CUDNN_STATUS_SUCCESS,
         "a handle of the other copy");
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    return 2;
  }
  if (argc > 3) {
    use_other(argv[3]);
  }
  void* plugin = ::dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
  if (plugin == nullptr) {
    std::fprintf(stderr, "copies: %s\n", ::dlerror());
    return 1;
  }
  const auto plugin_use = reinterpret_cast<int (*)(int)>(::dlsym(plugin, "plugin_use"));
  const auto plugin_calls = reinterpret_cast<long (*)()>(::dlsym(plugin, "plugin_calls"));
  expect(plugin_use(1) == std::atoi(argv[2]), "served or not");
  expect(plugin_calls() > 0, "the calls reached the plugin's own copy");
  return failures == 0 ? 0 : 1;
}
