#include "storage/rocks_options.h"

#include <fmt/core.h>
#include <rocksdb/cache.h>
#include <rocksdb/env.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/table.h>

#include <cstdarg>
#include <memory>
#include <string>

namespace reformer::storage {
namespace {

using core::Error;
using core::ErrorCode;

constexpr std::size_t kBlockCacheBytes = 8U << 20;
constexpr std::size_t kRecordBufferBytes = 16U << 20;
constexpr std::size_t kOtherBufferBytes = 4U << 20;
constexpr std::uint64_t kMaxLogBytes = 48U << 20;  // bounds the replay after a kill

// RocksDB's own log repeats 64 KiB of options at each start; what goes wrong comes back as a
// status.
class NoLog : public rocksdb::Logger {
 public:
  using rocksdb::Logger::Logv;
  void Logv(const char* /*format*/, std::va_list /*arguments*/) override {}
};

rocksdb::ColumnFamilyOptions family_options(std::string_view name,
                                            const std::shared_ptr<rocksdb::Cache>& cache) {
  const bool records = name == "records";
  rocksdb::BlockBasedTableOptions table;
  // Reading a block of records from the page cache costs 1 us, so a second copy of it in our own
  // memory is not worth having: a look-up then costs the same whether there are 10^3 or 10^6.
  table.no_block_cache = records;
  table.block_cache = records ? nullptr : cache;
  table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));
  table.format_version = 5;
  table.checksum = rocksdb::kCRC32c;  // salvage reads tables without RocksDB: table_file.h
  // Records are dense bits that a general compressor gains little on, and unpacking a block would
  // cost more than everything else in a look-up. docs/storage.md has the figures.
  rocksdb::ColumnFamilyOptions options;
  options.compression = records ? rocksdb::kNoCompression : rocksdb::kZSTD;
  options.write_buffer_size = records ? kRecordBufferBytes : kOtherBufferBytes;
  options.level_compaction_dynamic_level_bytes = true;
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  return options;
}

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
  options.manual_wal_flush = store.log_in_memory;
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
  families.reserve(kFamilyNames.size() + 1);
  for (const std::string_view name : kFamilyNames) {
    families.emplace_back(std::string(name), family_options(name, cache));
  }
  families.emplace_back(rocksdb::kDefaultColumnFamilyName, family_options("default", cache));
  return families;
}

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

}  // namespace reformer::storage
