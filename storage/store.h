#pragma once

#include "core/result.h"
#include "storage/rocks_options.h"

#include <rocksdb/db.h>
#include <rocksdb/env.h>

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <shared_mutex>
#include <string>
#include <string_view>
#include <vector>

// The only code that calls a RocksDB. Private to storage/.
namespace reformer::storage {

// A file with the reason in the directory of a database in which damage was found.
inline constexpr std::string_view kDamageMarker = "DAMAGED";

// Changes that are made all or none.
class Batch {
 public:
  void put(Family family, std::string_view key, std::string_view value) {
    changes_.push_back({family, Kind::kPut, std::string(key), std::string(value)});
  }
  void erase(Family family, std::string_view key) {
    changes_.push_back({family, Kind::kErase, std::string(key), {}});
  }

 private:
  friend class Store;
  enum class Kind { kPut, kErase };
  struct Change {
    Family family;
    Kind kind;
    std::string key;
    std::string value;
  };
  std::vector<Change> changes_;
};

// One open RocksDB with our column families.
//
// Threads: get, walk and disk_bytes from any thread; write, sync and compact from one at a time.
//
// After a failed write RocksDB refuses all others, and its own way to resume fails where nothing
// was written before. So the next write first tries whether the disk takes anything again, and if
// so closes the database and opens it anew; until then, reading goes on.
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
  core::Result<bool> get(Family family, std::string_view key, std::string& value);
  core::Status write(const Batch& batch, Durability durability);
  // In key order from `first` on, as of now, until visit returns false. Where the file is damaged,
  // `damaged` gets the error and the walk goes on behind the damage. A write from within visit
  // works, but cannot bring back a database that has failed.
  core::Status walk(Family family,
                    std::string_view first,
                    const std::function<bool(std::string_view key, std::string_view value)>& visit,
                    const std::function<void(std::string_view after, const core::Error&)>& damaged);
  // Makes everything that was written so far survive a power loss.
  core::Status sync();
  core::Status compact();
  [[nodiscard]] const std::filesystem::path& directory() const { return directory_; }
  [[nodiscard]] rocksdb::Env* env() const {
    return options_.env != nullptr ? options_.env : rocksdb::Env::Default();
  }
  [[nodiscard]] bool read_only() const { return options_.mode == OpenMode::kReadOnly; }
  // Bytes of its directory.
  [[nodiscard]] std::uint64_t disk_bytes() const;

 private:
  class Listener;
  struct Handles {
    std::unique_ptr<rocksdb::DB> database;
    std::vector<rocksdb::ColumnFamilyHandle*> families;  // by Family, then `default`
    Handles() = default;
    ~Handles();
    Handles(const Handles&) = delete;
    Handles& operator=(const Handles&) = delete;
    [[nodiscard]] rocksdb::ColumnFamilyHandle* family(Family family) const {
      return families[static_cast<std::size_t>(family)];
    }
  };
  Store(std::filesystem::path directory, const StoreOptions& options);

  // The database that is open now, for as long as the caller keeps it.
  core::Result<std::shared_ptr<Handles>> current() const;
  // With open_mutex_ held for writing, or before others know of the store.
  rocksdb::Status open_as(OpenMode mode);
  core::Status open_anew();
  [[nodiscard]] rocksdb::Status try_disk() const;

  // An error for the caller; damage also leaves kDamageMarker, so that the next start repairs.
  core::Error failed(std::string_view what, const rocksdb::Status& status);
  void mark_damaged(std::string_view reason);

  const std::filesystem::path directory_;
  const StoreOptions options_;
  mutable std::shared_mutex open_mutex_;
  std::shared_ptr<Handles> open_;  // guarded by open_mutex_; null where opening anew failed
  std::atomic<bool> write_failed_{false};
  std::atomic<bool> marked_damaged_{false};
};

}  // namespace reformer::storage
