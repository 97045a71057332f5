#pragma once

#include "core/result.h"
#include "core/shared_table.h"

#include <sys/types.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace reformer::client {

// The daemon's shared table, mapped read-only. Its contents are not trusted
// (core::shared_table::View). Its length is: whoever cuts a mapped file short kills its readers.
// The daemon never does, and a file that anybody but root, this user or the owner of its folder
// owns, or that others may write, is refused.
//
// Threads: all calls from one thread at a time.
class SharedTable {
 public:
  SharedTable() = default;
  ~SharedTable() { unmap(); }
  SharedTable(const SharedTable&) = delete;
  SharedTable& operator=(const SharedTable&) = delete;

  // Where the table is; empty for none. Mapped when it is first looked at.
  void set_path(std::string path);
  // The same, of what a daemon said: ignored unless it names a file in the folder of `socket`.
  // Elsewhere the daemon would choose whose folder it is.
  void set_path(std::string path, const std::string& socket);
  // Absent where there is no table or no answer. A newer file at the same path is mapped first.
  [[nodiscard]] std::optional<core::Decision> find(const core::KeyHash& key);

 private:
  void map();
  void unmap();
  [[nodiscard]] bool replaced() const;  // another file stands at the path

  std::string path_;
  void* memory_ = nullptr;
  std::size_t bytes_ = 0;
  ino_t inode_ = 0;
  std::optional<core::shared_table::View> view_;
};

// A snapshot (`reformerctl freeze`): a table file that is read into memory as a whole, so that it
// may lie on a network file system and be replaced while it is in use.
//
// Threads: any number; constant after open().
class Snapshot {
 public:
  // Errors: kUnavailable (cannot be read), kCorrupt, kUnsupported.
  static core::Result<std::unique_ptr<const Snapshot>> open(const std::string& path);
  // The answer with source kFrozen.
  [[nodiscard]] std::optional<core::Decision> find(const core::KeyHash& key) const;

 private:
  Snapshot() = default;
  std::vector<std::byte> bytes_;
  std::optional<core::shared_table::View> view_;
};

}  // namespace reformer::client
