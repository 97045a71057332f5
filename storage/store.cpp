#include "storage/store.h"

#include <rocksdb/env.h>
#include <rocksdb/listener.h>
#include <rocksdb/write_batch.h>

#include <fstream>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>

namespace reformer::storage {

using core::Error;
using core::ErrorCode;

namespace {
constexpr int kMostWaits = 10'000;
}

// Tells the store of what flushes and compactions meet, and keeps RocksDB from recovering by itself
// from a full disk: it would only look every few seconds.
class Store::Listener : public rocksdb::EventListener {
 public:
  explicit Listener(Store* store) : store_(store) {}
  void OnBackgroundError(rocksdb::BackgroundErrorReason /*reason*/,
                         rocksdb::Status* status) override {
    if (status->IsCorruption()) {
      store_->mark_damaged(status->ToString());
    }
    store_->write_failed_ = true;
  }
  void OnErrorRecoveryBegin(rocksdb::BackgroundErrorReason /*reason*/,
                            rocksdb::Status /*error*/,
                            bool* automatically) override {
    *automatically = false;
  }

 private:
  Store* store_;
};

Store::Store(std::filesystem::path directory, const StoreOptions& options)
    : directory_(std::move(directory)), options_(options) {}

Store::~Store() = default;

Store::Handles::~Handles() {
  if (!database) {
    return;
  }
  for (rocksdb::ColumnFamilyHandle* family : families) {
    (void)database->DestroyColumnFamilyHandle(family);
  }
  (void)database->Close();
}

core::Result<std::shared_ptr<Store::Handles>> Store::current() const {
  const std::shared_lock guard(open_mutex_);
  if (!open_) {
    return core::make_error(ErrorCode::kUnavailable, "the database is closed after a failure");
  }
  return open_;
}

core::Result<std::unique_ptr<Store>> Store::open(const std::filesystem::path& directory,
                                                 const StoreOptions& options) {
  std::unique_ptr<Store> store(new Store(directory, options));
  if (const rocksdb::Status status = store->open_as(options.mode); !status.ok()) {
    return to_error(directory.string(), status);
  }
  return store;
}

rocksdb::Status Store::open_as(OpenMode mode) {
  StoreOptions options = options_;
  options.mode = mode;
  rocksdb::DBOptions database = database_options(options);
  database.listeners.push_back(std::make_shared<Listener>(this));
  auto handles = std::make_shared<Handles>();
  rocksdb::DB* opened = nullptr;
  const rocksdb::Status status =
      mode == OpenMode::kReadWrite
          ? rocksdb::DB::Open(
                database, directory_.string(), family_descriptors(), &handles->families, &opened)
          : rocksdb::DB::OpenForReadOnly(
                database, directory_.string(), family_descriptors(), &handles->families, &opened);
  if (status.ok()) {
    handles->database.reset(opened);
    open_ = std::move(handles);
  }
  return status;
}

rocksdb::Status Store::try_disk() const {
  const std::string file = (directory_ / "trial.dbtmp").string();  // RocksDB removes leftovers
  const rocksdb::Status written =
      rocksdb::WriteStringToFile(env(), std::string(1U << 16, '\0'), file, /*should_sync=*/true);
  (void)env()->DeleteFile(file);
  return written;
}

core::Status Store::open_anew() {
  if (const rocksdb::Status status = try_disk(); !status.ok()) {
    return to_error("writing the database", status);
  }
  // Others let go of it in a moment, unless it is our own caller who is walking through it.
  std::unique_lock guard(open_mutex_);
  for (int wait = 0; open_.use_count() > 1; ++wait) {
    if (wait == kMostWaits) {
      return core::make_error(ErrorCode::kUnavailable,
                              "writing the database: it has failed, and is in use");
    }
    guard.unlock();
    std::this_thread::yield();
    guard.lock();
  }
  open_.reset();
  write_failed_ = false;
  const rocksdb::Status status = open_as(OpenMode::kReadWrite);
  if (status.ok()) {
    return core::ok_status();
  }
  write_failed_ = true;
  (void)open_as(OpenMode::kReadOnly);
  return to_error("opening the database again", status);
}

Error Store::failed(std::string_view what, const rocksdb::Status& status) {
  if (status.IsCorruption()) {
    mark_damaged(status.ToString());
  }
  return to_error(what, status);
}

void Store::mark_damaged(std::string_view reason) {
  if (options_.mode == OpenMode::kReadOnly || marked_damaged_.exchange(true)) {
    return;
  }
  // Where even this fails there is no more to be done; the error itself is reported anyway.
  std::ofstream(directory_ / kDamageMarker) << reason << '\n';
}

core::Result<bool> Store::get(Family family, std::string_view key, std::string& value) {
  const core::Result<std::shared_ptr<Handles>> open = current();
  if (!open) {
    return open.error();
  }
  const rocksdb::Status status = (*open)->database->Get(
      rocksdb::ReadOptions(), (*open)->family(family), to_slice(key), &value);
  if (status.IsNotFound()) {
    return false;
  }
  if (!status.ok()) {
    return failed("reading the database", status);
  }
  return true;
}

core::Status Store::write(const Batch& batch, Durability durability) {
  if (options_.mode == OpenMode::kReadOnly) {
    return core::make_error(ErrorCode::kUnavailable, "the database is open for reading only");
  }
  if (write_failed_) {
    if (core::Status opened = open_anew(); !opened) {
      return opened;
    }
  }
  const core::Result<std::shared_ptr<Handles>> open = current();
  if (!open) {
    return open.error();
  }
  rocksdb::WriteBatch changes;
  for (const Batch::Change& change : batch.changes_) {
    rocksdb::ColumnFamilyHandle* family = (*open)->family(change.family);
    const rocksdb::Status added = change.kind == Batch::Kind::kPut
                                      ? changes.Put(family, change.key, change.value)
                                      : changes.Delete(family, change.key);
    if (!added.ok()) {
      return to_error("writing the database", added);
    }
  }
  rocksdb::WriteOptions options;
  options.sync = durability == Durability::kSynced;
  const rocksdb::Status status = (*open)->database->Write(options, &changes);
  if (!status.ok()) {
    write_failed_ = true;
    return failed("writing the database", status);
  }
  return core::ok_status();
}

core::Status Store::sync() {
  const core::Result<std::shared_ptr<Handles>> open = current();
  if (!open) {
    return open.error();
  }
  const rocksdb::Status status = (*open)->database->FlushWAL(true);
  return status.ok() ? core::ok_status() : failed("writing the database", status);
}

core::Status Store::compact() {
  const core::Result<std::shared_ptr<Handles>> open = current();
  if (!open) {
    return open.error();
  }
  rocksdb::CompactRangeOptions options;
  options.bottommost_level_compaction = rocksdb::BottommostLevelCompaction::kForceOptimized;
  for (rocksdb::ColumnFamilyHandle* family : (*open)->families) {
    const rocksdb::Status status =
        (*open)->database->CompactRange(options, family, nullptr, nullptr);
    if (!status.ok()) {
      return failed("compacting the database", status);
    }
  }
  return core::ok_status();
}

std::uint64_t Store::disk_bytes() const {
  std::uint64_t bytes = 0;
  std::error_code error;
  for (std::filesystem::directory_iterator entry(directory_, error), end; !error && entry != end;
       entry.increment(error)) {
    std::error_code gone;  // files come and go while we look
    const std::uint64_t size = entry->file_size(gone);
    bytes += gone ? 0 : size;
  }
  return bytes;
}

}  // namespace reformer::storage
