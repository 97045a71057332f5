#include "cudnn/library.h"

#include "cudnn/functions.h"

#include <dlfcn.h>

#include <cstdlib>
#include <utility>

namespace reformer::cudnn {
namespace {

template <typename Function>
bool find(void* library, const char* name, Function& function) {
  function = reinterpret_cast<Function>(dlsym(library, name));
  return function != nullptr;
}

std::string path_of(const void* symbol, const std::string& fallback) {
  Dl_info info{};
  if (dladdr(symbol, &info) == 0 || info.dli_fname == nullptr) {
    return fallback;
  }
  char* const resolved = realpath(info.dli_fname, nullptr);
  std::string path = resolved != nullptr ? resolved : info.dli_fname;
  std::free(resolved);
  return path;
}

}  // namespace

core::Error status_error(const Functions& functions,
                         const std::string& what,
                         cudnnStatus_t status) {
  const core::ErrorCode code = status / 1000 == 3   ? core::ErrorCode::kUnsupported
                               : status / 1000 == 2 ? core::ErrorCode::kInvalidArgument
                                                    : core::ErrorCode::kUnavailable;
  return core::make_error(code,
                          what + ": " + functions.get_error_string(status) + " (" +
                              std::to_string(static_cast<int>(status)) + ")");
}

Library::Library(std::unique_ptr<Functions> functions, std::int64_t version, std::string path)
    : functions_(std::move(functions)), version_(version), path_(std::move(path)) {}
Library::~Library() = default;

core::Result<std::shared_ptr<const Library>> Library::load(const std::string& path) {
  const std::string name = path.empty() ? "libcudnn.so.9" : path;
  void* const handle = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    const char* const why = dlerror();
    return core::make_error(core::ErrorCode::kUnavailable,
                            "cuDNN: " + std::string(why != nullptr ? why : "cannot be loaded"));
  }
  auto f = std::make_unique<Functions>();
  const bool complete = find(handle, "cudnnGetVersion", f->get_version) &&
                        find(handle, "cudnnGetCudartVersion", f->get_cudart_version) &&
                        find(handle, "cudnnGetErrorString", f->get_error_string) &&
                        find(handle, "cudnnCreate", f->create) &&
                        find(handle, "cudnnDestroy", f->destroy) &&
                        find(handle, "cudnnSetStream", f->set_stream) &&
                        find(handle, "cudnnBackendCreateDescriptor", f->create_descriptor) &&
                        find(handle, "cudnnBackendDestroyDescriptor", f->destroy_descriptor) &&
                        find(handle, "cudnnBackendSetAttribute", f->set_attribute) &&
                        find(handle, "cudnnBackendGetAttribute", f->get_attribute) &&
                        find(handle, "cudnnBackendFinalize", f->finalize) &&
                        find(handle, "cudnnBackendExecute", f->execute);
  if (!complete) {
    return core::make_error(core::ErrorCode::kUnsupported,
                            name + ": not a cuDNN with the backend API");
  }
  const auto version = static_cast<std::int64_t>(f->get_version());
  if (version < 90000) {
    return core::make_error(core::ErrorCode::kUnsupported,
                            name + ": cuDNN " + std::to_string(version) + ", needs 9 or later");
  }
  const std::string loaded = path_of(reinterpret_cast<const void*>(f->get_version), name);
  return std::shared_ptr<const Library>(new Library(std::move(f), version, loaded));
}

}  // namespace reformer::cudnn
