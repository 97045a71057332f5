#pragma once

#include <cudnn.h>

#include <atomic>
#include <mutex>
#include <string>
#include <string_view>

// The cuDNN library that is served in this process, and where a call would have gone without the
// shim. A process may have several copies, some under names of their own: each call reaches the one
// that the loader would have bound it to, and one of them is served.
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
  decltype(&::cudnnGetCudartVersion) get_cudart_version = nullptr;
  decltype(&::cudnnGetStream) get_stream = nullptr;
  decltype(&::cudnnBackendPopulateCudaGraph) populate_graph = nullptr;
  decltype(&::cudnnBackendUpdateCudaGraph) update_graph = nullptr;
  std::string path;            // of the library
  const void* base = nullptr;  // where it is loaded
};

// The functions of the library that is served, which is loaded already; null while there is none.
// Threads: any. Chosen once, then constant until the process ends: the copy in the global scope,
// else `called`, the path of the one that is being called, else any that is loaded.
[[nodiscard]] const RealCudnn* real_cudnn(const char* called = nullptr) noexcept;

// A function of that library beyond those; null if it has none of that name.
[[nodiscard]] void* real_function(const char* name) noexcept;

// Whether a file is cuDNN's dispatcher, by its name: libcudnn.so.9, or libcudnn-0a1b2c3d.so.9.1.0
// as Python wheels rename what they bring.
[[nodiscard]] bool is_cudnn(std::string_view path);

// Whom a call of a stand-in is for.
struct Route {
  const RealCudnn* served = nullptr;  // the library that is served; else...
  void* function = nullptr;  // ...what the call would have reached without the shim, if anything
};
// `name`: a string literal, of the stand-in. `call_site`: its return address. The loader binds a
// call to the global scope, in which the shim stands first, or to the libraries of the object that
// calls; a call that neither explains got its stand-in from dlsym, which hands them out for the
// served library alone. Remembered for each call site: some nanoseconds.
// Threads: any. Allocates at the first call of a site only.
[[nodiscard]] Route route_of(const char* name, const void* call_site) noexcept;

// libc's own dlsym and dlvsym, past every interposer: for the shim's look-ups. Null if they cannot
// be found.
using DlsymFunction = void* (*)(void*, const char*);
[[nodiscard]] DlsymFunction real_dlsym() noexcept;
// What the application's own look-ups go on to: the next dlsym or dlvsym behind the shim, which may
// be another interposer's.
[[nodiscard]] void* next_dlsym() noexcept;
[[nodiscard]] void* next_dlvsym() noexcept;

// Held while the loader's list is walked. To be taken around a fork: the loader's own lock is not
// given back in a child whose parent was walking in another thread (glibc 2.36).
std::mutex& loader_mutex();
// Path of the loaded object whose file name begins with `prefix`; empty if there is none.
[[nodiscard]] std::string loaded_library(std::string_view prefix);
// A symbol of a library that is loaded already, without loading anything; null if there is none.
[[nodiscard]] void* loaded_symbol(const std::string& path, const char* name);

}  // namespace reformer::shim
