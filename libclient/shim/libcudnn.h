#pragma once

#include <cudnn.h>

#include <atomic>
#include <mutex>
#include <string>
#include <string_view>

// The cuDNN library that this process has loaded. One a process: calls that reach the shim by way
// of another copy are not served.
namespace reformer::shim {

struct RealCudnn {
  decltype(&::cudnnBackendCreateDescriptor) create = nullptr;
  decltype(&::cudnnBackendDestroyDescriptor) destroy = nullptr;
  decltype(&::cudnnBackendSetAttribute) set = nullptr;
  decltype(&::cudnnBackendGetAttribute) get = nullptr;
  decltype(&::cudnnBackendFinalize) finalize = nullptr;
  decltype(&::cudnnBackendExecute) execute = nullptr;
  decltype(&::cudnnGetVersion) get_version = nullptr;
  // Null where the library is too old to have it.
  decltype(&::cudnnGetStream) get_stream = nullptr;
  decltype(&::cudnnBackendPopulateCudaGraph) populate_graph = nullptr;
  decltype(&::cudnnBackendUpdateCudaGraph) update_graph = nullptr;
  std::string path;  // of the library
};

// The real functions, from the handle of the library that is loaded already (never loads one); null
// while there is none. Threads: any. Found once, then constant until the process ends.
[[nodiscard]] const RealCudnn* real_cudnn() noexcept;

// A function of the real library beyond those; null if it has none of that name.
[[nodiscard]] void* real_function(const char* name) noexcept;

// libc's own dlsym and dlvsym, past every interposer. Null if they cannot be found.
using DlsymFunction = void* (*)(void*, const char*);
using DlvsymFunction = void* (*)(void*, const char*, const char*);
[[nodiscard]] DlsymFunction real_dlsym() noexcept;
[[nodiscard]] DlvsymFunction real_dlvsym() noexcept;

// Held while the loader's list is walked. To be taken around a fork: the loader's own lock is not
// given back in a child whose parent was walking in another thread (glibc 2.36).
std::mutex& loader_mutex();
// Path of the loaded object whose file name begins with `prefix`; empty if there is none.
[[nodiscard]] std::string loaded_library(std::string_view prefix);
// A symbol of a library that is loaded already, without loading anything; null if there is none.
[[nodiscard]] void* loaded_symbol(const std::string& path, const char* name);

}  // namespace reformer::shim
