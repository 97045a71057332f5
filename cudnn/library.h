#pragma once

#include "core/result.h"

#include <cstdint>
#include <memory>
#include <string>

namespace reformer::cudnn {

struct Functions;  // cudnn/functions.h

// One cuDNN library, loaded with dlopen: no program of this project links cuDNN, and several builds
// may live on one host. Threads: the backend API is thread-safe; so is this. Never unloaded:
// cuDNN's own sub-libraries do not survive that.
class Library {
 public:
  // `path`: a file, a soname, or empty for "libcudnn.so.9". Errors: kUnavailable with dlerror's
  // text, kUnsupported for a version before 9.
  static core::Result<std::shared_ptr<const Library>> load(const std::string& path);
  ~Library();
  Library(const Library&) = delete;
  Library& operator=(const Library&) = delete;

  [[nodiscard]] const Functions& functions() const { return *functions_; }
  [[nodiscard]] std::int64_t version() const { return version_; }
  // The file that was loaded, symbolic links resolved.
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  Library(std::unique_ptr<Functions> functions, std::int64_t version, std::string path);
  std::unique_ptr<Functions> functions_;
  std::int64_t version_;
  std::string path_;
};

}  // namespace reformer::cudnn
