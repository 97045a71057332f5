#pragma once

#include "core/result.h"
#include "storage/database.h"

#include <rocksdb/env.h>

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace reformer::storage {

// The second copy of the dictionary, in a file of its own beside RocksDB's: without its dictionary
// no record can be read, so no damage to one file may take it. A line an entry:
// "<XXH3 of the rest> <name> <bytes>", in hexadecimal digits.
//
// Threads: one at a time.
class DictionaryFile {
 public:
  using Entry = std::pair<std::string, std::string>;
  using Entries = std::map<std::string, std::string>;
  static constexpr const char* kName = "DICTIONARY";

  DictionaryFile(const std::filesystem::path& directory, rocksdb::Env* env)
      : directory_(directory), env_(env) {}

  // The entries of all lines that are whole.
  [[nodiscard]] static Entries read(const std::filesystem::path& directory);

  // Writes all entries to a new file that takes the old one's place. Errors: of the disk.
  core::Status replace(const Entries& all);
  // Whether add() may be called: after a failure, or before it was replaced once, it may not.
  [[nodiscard]] bool can_add() const { return file_ != nullptr; }
  core::Status add(const std::vector<Entry>& entries);
  // Makes what was written survive a power loss.
  core::Status sync();

 private:
  core::Status failed(const rocksdb::Status& status);

  std::filesystem::path directory_;
  rocksdb::Env* env_;
  std::unique_ptr<rocksdb::WritableFile> file_;
  bool unsynced_ = false;
};

}  // namespace reformer::storage
