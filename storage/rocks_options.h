#pragma once

#include "core/result.h"
#include "storage/database.h"

#include <rocksdb/db.h>
#include <rocksdb/options.h>

#include <array>
#include <string_view>
#include <vector>

// How RocksDB is set up, and what its errors mean to us. Private to storage/.
namespace reformer::storage {

// The column families, by the names of docs/storage.md.
enum class Family : std::uint8_t { kRecords, kUses, kAccuracy, kQueue, kMeta };
inline constexpr std::array<std::string_view, 5> kFamilyNames{
    "records", "uses", "accuracy", "queue", "meta"};

struct StoreOptions {
  OpenMode mode = OpenMode::kReadWrite;
  // For tests: an environment that fails. Null: the real one.
  rocksdb::Env* env = nullptr;
  // Of the write-ahead log: an unfinished last write (it was never acknowledged) is always
  // tolerated; with this, so is damage in the middle.
  bool skip_damaged_log = false;
  // The write-ahead log stays in memory until sync(): a write system call for every record is slow
  // where the disk is, and not needed where nothing counts before the end.
  bool log_in_memory = false;
};

[[nodiscard]] rocksdb::DBOptions database_options(const StoreOptions& options);
// Those of kFamilyNames in that order, then RocksDB's own `default`, which stays empty.
[[nodiscard]] std::vector<rocksdb::ColumnFamilyDescriptor> family_descriptors();

// What kind of failure a RocksDB status is: kExhausted (disk full), kCorrupt, kUnavailable (other
// I/O errors, locks), kUnsupported, kInternal.
[[nodiscard]] core::Error to_error(std::string_view what, const rocksdb::Status& status);

[[nodiscard]] inline rocksdb::Slice to_slice(std::string_view text) {
  return {text.data(), text.size()};
}
[[nodiscard]] inline std::string_view to_view(const rocksdb::Slice& slice) {
  return {slice.data(), slice.size()};
}

}  // namespace reformer::storage
