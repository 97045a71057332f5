// An application that reaches cuDNN only by a plugin, which it loads and unloads:
//
//   host PLUGIN
//
// Before that, the shim must have done nothing at all. Exit code 0 if all is well.
#include <dlfcn.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <iterator>

namespace {

int failures = 0;

void expect(bool holds, const char* what) {
  if (!holds) {
    ++failures;
    std::fprintf(stderr, "host: %s\n", what);
  }
}

// But the one that looks.
std::ptrdiff_t entries(const char* folder) {
  return std::distance(std::filesystem::directory_iterator(folder),
                       std::filesystem::directory_iterator());
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    return 2;
  }
  // Only the standard ones are inherited from here on.
  if (std::getenv("FAKE_HOST_STARTED") == nullptr) {
    ::close_range(3, ~0U, 0);
    ::setenv("FAKE_HOST_STARTED", "1", 1);
    ::execv("/proc/self/exe", argv);
    return 1;
  }
  // Standard input, output and error, and the folder itself.
  const std::ptrdiff_t files = entries("/proc/self/fd");
  expect(files == 4, "files are open before the first call of cuDNN");
  expect(entries("/proc/self/task") == 1, "threads before the first call of cuDNN");
  for (int round = 0; round < 4; ++round) {
    void* plugin = ::dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    if (plugin == nullptr) {
      std::fprintf(stderr, "host: %s\n", ::dlerror());
      return 1;
    }
    if (round == 0) {
      expect(entries("/proc/self/fd") == files, "files are open after loading cuDNN");
    }
    const auto use = reinterpret_cast<int (*)(int)>(::dlsym(plugin, "plugin_use"));
    expect(use != nullptr && use(1) == 1, "served, the same problem every time");
    expect(use != nullptr && use(10 + round) == 1, "served, a new problem");
    expect(entries("/proc/self/task") == 1, "threads after a call of cuDNN");
    expect(::dlclose(plugin) == 0, "dlclose");
  }
  expect(::dlopen(argv[1], RTLD_NOW | RTLD_NOLOAD) == nullptr, "the plugin is really gone");
  return failures == 0 ? 0 : 1;
}
