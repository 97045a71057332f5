#pragma once

#include "core/result.h"
#include "storage/database.h"

#include <rocksdb/db.h>
#include <rocksdb/options.h>
#include <rocksdb/write_batch.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

// The only code that knows how RocksDB is set up. Private to storage/.
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
};

// What kind of failure a RocksDB status is: kExhausted (disk full), kCorrupt, kUnavailable (other
// I/O errors, locks), kUnsupported, kInternal.
[[nodiscard]] core::Error to_error(std::string_view what, const rocksdb::Status& status);

// One open RocksDB with our column families. Threads: all calls from any thread.
class Store {
 public:
  // Creates missing column families, and the database, in mode kReadWrite. The caller holds the
  // directory's lock.
  static core::Result<std::unique_ptr<Store>> open(const std::filesystem::path& directory,
                                                   const StoreOptions& options);
  ~Store();
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;

  // Whether the key is there; its bytes go to `value`.
  core::Result<bool> get(Family family, std::string_view key, rocksdb::PinnableSlice& value);
  // Atomic over all families. After a failure of the disk it first tries to resume.
  core::Status write(rocksdb::WriteBatch& batch, Durability durability);
  // In key order from `first` on, as of now, until visit returns false. Where the file is damaged,
  // `damaged` gets the error and the walk goes on behind the damage.
  core::Status walk(Family family,
                    std::string_view first,
                    const std::function<bool(std::string_view key, std::string_view value)>& visit,
                    const std::function<void(std::string_view after, const core::Error&)>& damaged);
  // Makes everything that was written so far survive a power loss.
  core::Status sync();
  core::Status compact();
  [[nodiscard]] rocksdb::ColumnFamilyHandle* handle(Family family) const {
    return handles_[static_cast<std::size_t>(family)];
  }
  // Bytes of its directory.
  [[nodiscard]] std::uint64_t disk_bytes() const;

 private:
  class DamageListener;
  Store(std::filesystem::path directory, OpenMode mode);
  // An error for the caller; damage also leaves kDamageMarker, so that the next start repairs.
  core::Error failed(std::string_view what, const rocksdb::Status& status);
  void mark_damaged(std::string_view reason);

  const std::filesystem::path directory_;
  const OpenMode mode_;
  std::unique_ptr<rocksdb::DB> db_;
  std::vector<rocksdb::ColumnFamilyHandle*> handles_;  // by Family; owned through db_
  rocksdb::ColumnFamilyHandle* default_handle_ = nullptr;
  std::atomic<bool> resume_first_{false};
  std::atomic<bool> marked_damaged_{false};
};

// A file with the reason in the directory of a database in which damage was found.
inline constexpr std::string_view kDamageMarker = "DAMAGED";

[[nodiscard]] rocksdb::DBOptions database_options(const StoreOptions& options);
[[nodiscard]] std::vector<rocksdb::ColumnFamilyDescriptor> family_descriptors();

inline rocksdb::Slice to_slice(std::string_view text) {
  return {text.data(), text.size()};
}
inline std::string_view to_view(const rocksdb::Slice& slice) {
  return {slice.data(), slice.size()};
}

}  // namespace reformer::storage
