#pragma once

#include "core/result.h"

#include <sys/stat.h>
#include <sys/types.h>

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

// Files that a daemon leaves beside its socket, and whom of those who could have written them a
// process trusts. Private to libclient/.
namespace reformer::client {

// An open file or folder; closed with it.
class File {
 public:
  // Never waits: what stands at the path may be a pipe. `more`: flags of open(2).
  explicit File(const std::string& path, int more = 0);
  // In a folder that is open; a link there is not followed.
  File(const File& folder, const std::string& name);
  ~File();
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  [[nodiscard]] int fd() const { return fd_; }
  // Nothing where it is not open.
  [[nodiscard]] std::optional<struct stat> status() const;
  // So many bytes from its beginning; nothing where there are fewer.
  [[nodiscard]] std::optional<std::vector<std::byte>> read(std::size_t bytes) const;

 private:
  int fd_;
};

// Of the folder that a path lies in; nothing if that cannot be read.
[[nodiscard]] std::optional<struct stat> folder_of(const std::string& path);

// Whether it is of `kind` (S_IFREG, S_IFDIR), belongs to root, this user or the owner of `folder`
// (the socket's), and nobody else may write it.
[[nodiscard]] bool trusted(const struct stat& status,
                           mode_t kind,
                           const std::optional<struct stat>& folder);

}  // namespace reformer::client
