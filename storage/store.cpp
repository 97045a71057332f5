#include "storage/store.h"

#include <fmt/core.h>
#include <rocksdb/cache.h>
#include <rocksdb/env.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/listener.h>
#include <rocksdb/snapshot.h>
#include <rocksdb/table.h>

#include <algorithm>
#include <cstdarg>
#include <fstream>
#include <system_error>

namespace reformer::storage {
namespace {

using core::Error;
using core::ErrorCode;

constexpr std::size_t kBlockCacheBytes = 64U << 20;
constexpr std::size_t kRecordBufferBytes = 16U << 20;
constexpr std::size_t kOtherBufferBytes = 4U << 20;
constexpr std::uint64_t kMaxLogBytes = 48U << 20;  // bounds the replay after a kill

rocksdb::ColumnFamilyOptions family_options(std::string_view name,
                                            const std::shared_ptr<rocksdb::Cache>& cache) {
  rocksdb::BlockBasedTableOptions table;
  table.block_cache = cache;
  table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));
  table.format_version = 5;
  // Records are dense bits that a general compressor gains little on, and unpacking a block would
  // cost more than everything else in a look-up. docs/storage.md has the figures.
  rocksdb::ColumnFamilyOptions options;
  options.compression = name == "records" ? rocksdb::kNoCompression : rocksdb::kZSTD;
  options.write_buffer_size = name == "records" ? kRecordBufferBytes : kOtherBufferBytes;
  options.level_compaction_dynamic_level_bytes = true;
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  return options;
}

// The smallest string of 24 bytes above `key` (padded with zeros) plus 2^bit; empty past the end.
std::string beyond(std::string_view key, int bit) {
  constexpr std::size_t kWidth = 24;
  std::string next(key.substr(0, kWidth));
  next.resize(kWidth, '\0');
  unsigned carry = 1U << (bit % 8);
  for (std::size_t i = kWidth - static_cast<std::size_t>(bit / 8); i-- > 0 && carry != 0;) {
    const unsigned sum = static_cast<unsigned char>(next[i]) + carry;
    next[i] = static_cast<char>(sum & 0xff);
    carry = sum >> 8;
  }
  return carry != 0 ? std::string() : next;
}
constexpr int kBeyondBits = 24 * 8;

// An iterator placed at the first entry from a key on. Each attempt near damage needs a new one:
// an iterator that has failed once does not always read again.
using SeekNew = std::function<std::unique_ptr<rocksdb::Iterator>(std::string_view key)>;

// The first entry behind `last` that can be read, where the very next one cannot. Ever larger steps
// find an end of the damage, halving ones come back towards it. Null if there is none.
std::unique_ptr<rocksdb::Iterator> seek_behind_damage(const SeekNew& seek,
                                                      const std::string& last) {
  constexpr int kHalvings = 6;
  std::unique_ptr<rocksdb::Iterator> good;
  std::string bad = last;
  int bit = 0;
  for (; bit < kBeyondBits && !good; ++bit) {
    const std::string target = beyond(last, bit);
    if (target.empty()) {
      return nullptr;
    }
    std::unique_ptr<rocksdb::Iterator> found = seek(target);
    if (found->Valid()) {
      good = std::move(found);
    } else if (found->status().ok()) {
      return nullptr;  // nothing behind the damage
    } else {
      bad = target;
    }
  }
  // The last step, of 2^(bit - 1), came from where half of it led.
  for (int halving = bit - 3; halving >= std::max(0, bit - 3 - kHalvings); --halving) {
    const std::string target = beyond(bad, halving);
    std::unique_ptr<rocksdb::Iterator> found = seek(target);
    if (found->Valid()) {
      good = std::move(found);
    } else {
      bad = target;
    }
  }
  return good;
}

}  // namespace

Error to_error(std::string_view what, const rocksdb::Status& status) {
  const auto make = [&](ErrorCode code) {
    return core::make_error(code, fmt::format("{}: {}", what, status.ToString()));
  };
  if (status.IsNoSpace() || status.subcode() == rocksdb::Status::kSpaceLimit ||
      status.IsMemoryLimit()) {
    return make(ErrorCode::kExhausted);
  }
  if (status.IsCorruption() || status.IsPathNotFound()) {  // a file that should be there is not
    return make(ErrorCode::kCorrupt);
  }
  if (status.IsIOError() || status.IsBusy() || status.IsTimedOut() || status.IsTryAgain() ||
      status.IsIncomplete() || status.IsShutdownInProgress()) {
    return make(ErrorCode::kUnavailable);
  }
  if (status.IsNotSupported() || status.IsInvalidArgument()) {
    return make(ErrorCode::kUnsupported);
  }
  return make(ErrorCode::kInternal);
}

// Tells the store of damage that flushes and compactions meet.
class Store::DamageListener : public rocksdb::EventListener {
 public:
  explicit DamageListener(Store* store) : store_(store) {}
  void OnBackgroundError(rocksdb::BackgroundErrorReason /*reason*/,
                         rocksdb::Status* status) override {
    if (status->IsCorruption()) {
      store_->mark_damaged(status->ToString());
    }
  }

 private:
  Store* store_;
};

namespace {

// RocksDB's own log repeats 64 KiB of options at each start; what goes wrong comes back as a
// status.
class NoLog : public rocksdb::Logger {
 public:
  using rocksdb::Logger::Logv;
  void Logv(const char* /*format*/, std::va_list /*arguments*/) override {}
};

}  // namespace

rocksdb::DBOptions database_options(const StoreOptions& store) {
  rocksdb::DBOptions options;
  if (store.env != nullptr) {
    options.env = store.env;
  }
  options.create_if_missing = store.mode == OpenMode::kReadWrite;
  options.create_missing_column_families = store.mode == OpenMode::kReadWrite;
  options.wal_recovery_mode = store.skip_damaged_log
                                  ? rocksdb::WALRecoveryMode::kSkipAnyCorruptedRecords
                                  : rocksdb::WALRecoveryMode::kTolerateCorruptedTailRecords;
  options.paranoid_checks = true;
  options.atomic_flush =
      true;  // counts and records stay consistent whatever part of the log is lost
  options.max_total_wal_size = kMaxLogBytes;
  options.avoid_flush_during_recovery = true;
  options.max_background_jobs = 2;
  options.max_file_opening_threads = 2;
  options.stats_dump_period_sec = 0;
  options.stats_persist_period_sec = 0;
  options.info_log = std::make_shared<NoLog>();
  return options;
}

std::vector<rocksdb::ColumnFamilyDescriptor> family_descriptors() {
  const std::shared_ptr<rocksdb::Cache> cache = rocksdb::NewLRUCache(kBlockCacheBytes);
  std::vector<rocksdb::ColumnFamilyDescriptor> families;
  for (const std::string_view name : kFamilyNames) {
    families.emplace_back(std::string(name), family_options(name, cache));
  }
  families.emplace_back(rocksdb::kDefaultColumnFamilyName, family_options("default", cache));
  return families;
}

Store::Store(std::filesystem::path directory, OpenMode mode)
    : directory_(std::move(directory)), mode_(mode) {}

core::Result<std::unique_ptr<Store>> Store::open(const std::filesystem::path& directory,
                                                 const StoreOptions& options) {
  std::unique_ptr<Store> store(new Store(directory, options.mode));
  rocksdb::DBOptions database = database_options(options);
  database.listeners.push_back(std::make_shared<DamageListener>(store.get()));
  rocksdb::DB* opened = nullptr;
  const rocksdb::Status status =
      options.mode == OpenMode::kReadWrite
          ? rocksdb::DB::Open(
                database, directory.string(), family_descriptors(), &store->handles_, &opened)
          : rocksdb::DB::OpenForReadOnly(
                database, directory.string(), family_descriptors(), &store->handles_, &opened);
  if (!status.ok()) {
    return to_error(directory.string(), status);
  }
  store->db_.reset(opened);
  store->default_handle_ = store->handles_.back();
  store->handles_.pop_back();
  return store;
}

Store::~Store() {
  if (!db_) {
    return;
  }
  for (rocksdb::ColumnFamilyHandle* handle : handles_) {
    (void)db_->DestroyColumnFamilyHandle(handle);
  }
  (void)db_->DestroyColumnFamilyHandle(default_handle_);
  (void)db_->Close();
}

Error Store::failed(std::string_view what, const rocksdb::Status& status) {
  if (status.IsCorruption()) {
    mark_damaged(status.ToString());
  }
  return to_error(what, status);
}

void Store::mark_damaged(std::string_view reason) {
  if (mode_ == OpenMode::kReadOnly || marked_damaged_.exchange(true)) {
    return;
  }
  // Where even this fails there is no more to be done; the error itself is reported anyway.
  std::ofstream(directory_ / kDamageMarker) << reason << '\n';
}

core::Result<bool> Store::get(Family family, std::string_view key, rocksdb::PinnableSlice& value) {
  const rocksdb::Status status =
      db_->Get(rocksdb::ReadOptions(), handle(family), to_slice(key), &value);
  if (status.IsNotFound()) {
    return false;
  }
  if (!status.ok()) {
    return failed("reading the database", status);
  }
  return true;
}

core::Status Store::write(rocksdb::WriteBatch& batch, Durability durability) {
  if (mode_ == OpenMode::kReadOnly) {
    return core::make_error(ErrorCode::kUnavailable, "the database is open for reading only");
  }
  if (resume_first_.exchange(false)) {
    if (const rocksdb::Status resumed = db_->Resume(); !resumed.ok()) {
      resume_first_ = true;
      return failed("writing the database", resumed);
    }
  }
  rocksdb::WriteOptions options;
  options.sync = durability == Durability::kSynced;
  const rocksdb::Status status = db_->Write(options, &batch);
  if (!status.ok()) {
    resume_first_ = true;
    return failed("writing the database", status);
  }
  return core::ok_status();
}

core::Status Store::walk(Family family,
                         std::string_view first,
                         const std::function<bool(std::string_view, std::string_view)>& visit,
                         const std::function<void(std::string_view, const Error&)>& damaged) {
  rocksdb::ManagedSnapshot snapshot(db_.get());
  rocksdb::ReadOptions options;
  options.fill_cache = false;
  options.snapshot = snapshot.snapshot();
  const SeekNew seek = [&](std::string_view key) {
    std::unique_ptr<rocksdb::Iterator> iterator(db_->NewIterator(options, handle(family)));
    iterator->Seek(to_slice(key));
    return iterator;
  };
  std::string last(first);
  std::unique_ptr<rocksdb::Iterator> iterator = seek(first);
  while (iterator) {
    for (; iterator->Valid(); iterator->Next()) {
      last.assign(iterator->key().data(), iterator->key().size());
      if (!visit(last, to_view(iterator->value()))) {
        return core::ok_status();
      }
    }
    const rocksdb::Status status = iterator->status();
    if (status.ok()) {
      break;
    }
    const Error error = failed("walking the database", status);
    if (!status.IsCorruption()) {
      return error;
    }
    damaged(last, error);
    iterator = seek_behind_damage(seek, last);
  }
  return core::ok_status();
}

core::Status Store::sync() {
  const rocksdb::Status status = db_->FlushWAL(true);
  return status.ok() ? core::ok_status() : failed("writing the database", status);
}

core::Status Store::compact() {
  rocksdb::CompactRangeOptions options;
  options.bottommost_level_compaction = rocksdb::BottommostLevelCompaction::kForceOptimized;
  for (rocksdb::ColumnFamilyHandle* handle : handles_) {
    if (const rocksdb::Status status = db_->CompactRange(options, handle, nullptr, nullptr);
        !status.ok()) {
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
