#pragma once

#include "storage/dictionary.h"
#include "storage/dictionary_file.h"
#include "storage/directory_lock.h"
#include "storage/store.h"

#include <memory>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <string_view>
#include <vector>

namespace reformer::storage {

// Names in the family `meta`. Those of callers stand under kUserPrefix.
namespace meta {
inline constexpr std::string_view kSchema = "schema";
inline constexpr std::string_view kRecordCount = "count/records";
inline constexpr std::string_view kAccuracyCount = "count/accuracy";
inline constexpr std::string_view kQueueCount = "count/queue";
inline constexpr std::string_view kNextAccuracy = "accuracy/next";
inline constexpr std::string_view kUserPrefix = "user/";
}  // namespace meta

// The database on an opened store whose schema is the current one.
//
// Threads: any. One mutex orders all writes, because most of them read first, and guards the
// counts; readers never take it. A shared mutex guards the dictionary.
class RocksDatabase final : public Database {
 public:
  // Reads counts and dictionary. Errors: what reading gives; kCorrupt only with kRefuse: kSkip is
  // for saving what can be read of a damaged database. `more` are entries of the dictionary that
  // were found elsewhere.
  enum class Damage { kRefuse, kSkip };
  static core::Result<std::unique_ptr<RocksDatabase>> make(std::unique_ptr<Store> store,
                                                           Damage damage,
                                                           DictionaryFile::Entries more = {});
  // Keeps the lock of the directory until the database is closed. Before it is shared.
  void keep(DirectoryLock lock) { lock_ = std::move(lock); }

  core::Result<bool> put_record(const core::Record& record,
                                Merge merge,
                                Durability durability) override;
  core::Lookup<core::Record> find_record(const core::Key& key) override;
  core::Lookup<core::Record> find_record(const core::KeyHash& hash) override;
  core::Result<bool> forget_record(const core::KeyHash& hash) override;
  core::Status for_each_record(
      const std::function<bool(const core::Record&)>& visit,
      const std::function<void(const core::KeyHash&, const core::Error&)>& damaged) override;

  core::Status add_uses(const core::KeyHash& hash, const UseStatistics& more) override;
  core::Lookup<UseStatistics> find_uses(const core::KeyHash& hash) override;

  core::Status append_accuracy(const std::vector<AccuracyRow>& rows) override;
  core::Status for_each_accuracy(std::int64_t since_s,
                                 const std::function<bool(const AccuracyRow&)>& visit) override;
  core::Status trim_accuracy(std::int64_t before_s, std::uint64_t max_rows) override;

  core::Status put_job(const QueuedJob& job) override;
  core::Status remove_job(const core::KeyHash& hash) override;
  core::Result<std::vector<QueuedJob>> jobs() override;

  core::Status put_meta(std::string_view name, std::string_view bytes) override;
  core::Lookup<std::string> find_meta(std::string_view name) override;

  core::Result<Counts> counts() override;
  core::Status compact() override;

  // Makes everything that was written so far survive a power loss.
  core::Status sync();
  // The record in the bytes that stood under `key`. Errors: kCorrupt, kUnsupported.
  [[nodiscard]] core::Result<core::Record> decode(std::string_view key,
                                                  std::string_view bytes) const;
  [[nodiscard]] Store& store() { return *store_; }
  [[nodiscard]] std::uint64_t record_count() {
    const std::scoped_lock guard(write_mutex_);
    return counts_.records;
  }

 private:
  explicit RocksDatabase(std::unique_ptr<Store> store)
      : store_(std::move(store)), dictionary_file_(store_->directory(), store_->env()) {}

  core::Status load(Damage damage, DictionaryFile::Entries more);
  core::Status load_dictionary(Damage damage, DictionaryFile::Entries more);
  // With the write mutex held. Writes the entries that no record has referred to yet to the
  // dictionary's file: before the batch that does.
  core::Status write_dictionary_file(const std::vector<DictionaryFile::Entry>& unsaved,
                                     Durability durability);
  core::Result<bool> should_store(const core::Record& record,
                                  std::string_view key,
                                  Merge merge,
                                  bool& replaces);
  core::Status write_counted(Batch& batch,
                             std::string_view count_name,
                             std::uint64_t& count,
                             std::uint64_t new_count,
                             Durability durability);

  DirectoryLock lock_;  // before the store: released after it is closed
  std::unique_ptr<Store> store_;

  mutable std::shared_mutex dictionary_mutex_;
  Dictionary dictionary_;  // guarded by dictionary_mutex_

  std::mutex write_mutex_;
  DictionaryFile dictionary_file_;            // guarded by write_mutex_
  DictionaryFile::Entries dictionary_bytes_;  // all entries; guarded by write_mutex_
  Counts counts_;                             // guarded by write_mutex_; disk_bytes unused
  std::uint64_t next_accuracy_ = 0;           // guarded by write_mutex_
};

}  // namespace reformer::storage
