#include "storage/rocks_database.h"

#include "storage/first_error.h"
#include "storage/record_codec.h"
#include "storage/row_codec.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace reformer::storage {
namespace {

using core::Error;
using core::ErrorCode;

// A number in `meta`, 0 where it was never written.
core::Result<std::uint64_t> read_number(Store& store, std::string_view name) {
  std::string bytes;
  const core::Result<bool> found = store.get(Family::kMeta, name, bytes);
  if (!found) {
    return found.error();
  }
  return *found ? decode_number(bytes) : std::uint64_t{0};
}

}  // namespace

core::Result<std::unique_ptr<RocksDatabase>> RocksDatabase::make(std::unique_ptr<Store> store,
                                                                 Damage damage,
                                                                 DictionaryFile::Entries more) {
  std::unique_ptr<RocksDatabase> database(new RocksDatabase(std::move(store)));
  if (const core::Status loaded = database->load(damage, std::move(more));
      !loaded.ok() && (damage == Damage::kRefuse || loaded.error().code != ErrorCode::kCorrupt)) {
    return loaded.error();
  }
  return database;
}

core::Status RocksDatabase::load(Damage damage, DictionaryFile::Entries more) {
  FirstError first;
  for (const auto& [name, number] : {std::pair{meta::kRecordCount, &counts_.records},
                                     std::pair{meta::kAccuracyCount, &counts_.accuracy_rows},
                                     std::pair{meta::kQueueCount, &counts_.queued},
                                     std::pair{meta::kNextAccuracy, &next_accuracy_}}) {
    const core::Result<std::uint64_t> read = read_number(*store_, name);
    if (!read) {
      first.note(read.error());
      continue;
    }
    *number = *read;
  }
  if (const core::Status loaded = load_dictionary(damage, std::move(more)); !loaded) {
    first.note(loaded.error());
  }
  return first.status();
}

core::Status RocksDatabase::load_dictionary(Damage damage, DictionaryFile::Entries more) {
  FirstError first;
  const DictionaryFile::Entries in_file = DictionaryFile::read(store_->directory());
  DictionaryFile::Entries in_database;
  const core::Status walked = store_->walk(
      Family::kMeta,
      Dictionary::kPrefix,
      [&](std::string_view name, std::string_view bytes) {
        if (!name.starts_with(Dictionary::kPrefix)) {
          return false;
        }
        in_database.emplace(name, bytes);
        return true;
      },
      [&](std::string_view, const Error& error) { first.note(error); });
  if (!walked) {
    return walked;
  }
  dictionary_bytes_ = in_database;
  dictionary_bytes_.insert(in_file.begin(), in_file.end());
  dictionary_bytes_.merge(more);
  const auto gaps = damage == Damage::kSkip ? Dictionary::Gaps::kAllow : Dictionary::Gaps::kRefuse;
  for (auto entry = dictionary_bytes_.begin(); entry != dictionary_bytes_.end();) {
    const auto& [name, bytes] = *entry;
    const core::Status loaded = dictionary_.load(name, bytes, gaps);
    const bool saved = in_database.contains(name);
    if (!loaded && saved) {
      first.note(loaded.error());
    } else if (loaded.ok() && !saved) {
      dictionary_.save_again(name, bytes);  // its first record was never written, or it was lost
    }
    entry = loaded.ok() ? std::next(entry) : dictionary_bytes_.erase(entry);
  }
  if (!store_->read_only() && first.status().ok() && in_file != dictionary_bytes_) {
    (void)dictionary_file_.replace(dictionary_bytes_);  // or else with the first record
  }
  return first.status();
}

core::Status RocksDatabase::write_dictionary_file(const std::vector<DictionaryFile::Entry>& unsaved,
                                                  Durability durability) {
  for (const auto& [name, bytes] : unsaved) {
    dictionary_bytes_.insert_or_assign(name, bytes);
  }
  core::Status written = core::ok_status();
  if (!dictionary_file_.can_add()) {
    if (!unsaved.empty()) {
      written = dictionary_file_.replace(dictionary_bytes_);
    }
  } else if (!unsaved.empty()) {
    written = dictionary_file_.add(unsaved);
  }
  return written.ok() && durability == Durability::kSynced ? dictionary_file_.sync() : written;
}

core::Status RocksDatabase::sync() {
  const std::scoped_lock guard(write_mutex_);
  const core::Status synced = dictionary_file_.sync();
  return synced.ok() ? store_->sync() : synced;
}

core::Result<core::Record> RocksDatabase::decode(std::string_view key,
                                                 std::string_view bytes) const {
  core::Result<core::Record> record = [&] {
    const std::shared_lock guard(dictionary_mutex_);
    return decode_record(bytes, dictionary_);
  }();
  if (record.ok() && key_of(core::hash_key(record->key)) != key) {
    return core::make_error(ErrorCode::kCorrupt, "the record is another key's");
  }
  return record;
}

core::Result<bool> RocksDatabase::should_store(const core::Record& record,
                                               std::string_view key,
                                               Merge merge,
                                               bool& replaces) {
  std::string bytes;
  const core::Result<bool> found = store_->get(Family::kRecords, key, bytes);
  if (!found && found.error().code != ErrorCode::kCorrupt) {
    return found.error();
  }
  replaces = !found.ok() || *found;  // also where what is there cannot be read
  if (merge == Merge::kForce || !found.ok() || !*found) {
    return true;
  }
  const core::Result<core::Record> old = decode(key, bytes);
  return !old.ok() || old->key != record.key || core::better_founded(record, *old);
}

core::Status RocksDatabase::write_counted(Batch& batch,
                                          std::string_view count_name,
                                          std::uint64_t& count,
                                          std::uint64_t new_count,
                                          Durability durability) {
  if (new_count != count) {
    batch.put(Family::kMeta, count_name, encode_row(new_count));
  }
  core::Status written = store_->write(batch, durability);
  if (written.ok()) {
    count = new_count;
  }
  return written;
}

core::Result<bool> RocksDatabase::put_record(const core::Record& record,
                                             Merge merge,
                                             Durability durability) {
  const core::KeyHash hash = core::hash_key(record.key);
  const std::string_view key = key_of(hash);
  const std::scoped_lock guard(write_mutex_);
  bool replaces = false;
  if (core::Result<bool> store = should_store(record, key, merge, replaces); !store || !*store) {
    return store;
  }
  Batch batch;
  std::vector<DictionaryFile::Entry> unsaved;
  {
    const std::scoped_lock dictionary_guard(dictionary_mutex_);
    const core::Result<std::string> bytes = encode_record(record, dictionary_);
    if (!bytes) {
      return bytes.error();
    }
    unsaved = dictionary_.unsaved();
    batch.put(Family::kRecords, key, *bytes);
  }
  for (const auto& [name, entry] : unsaved) {
    batch.put(Family::kMeta, name, entry);
  }
  if (const core::Status saved = write_dictionary_file(unsaved, durability); !saved) {
    return saved.error();
  }
  const core::Status written = write_counted(
      batch, meta::kRecordCount, counts_.records, counts_.records + (replaces ? 0 : 1), durability);
  if (!written) {
    return written.error();
  }
  // Only this thread adds to the dictionary: the write mutex is held.
  const std::scoped_lock dictionary_guard(dictionary_mutex_);
  dictionary_.saved();
  return true;
}

core::Lookup<core::Record> RocksDatabase::find_record(const core::Key& key) {
  core::Lookup<core::Record> found = find_record(core::hash_key(key));
  if (found.ok() && found->has_value() && (*found)->key != key) {
    return std::optional<core::Record>();
  }
  return found;
}

core::Lookup<core::Record> RocksDatabase::find_record(const core::KeyHash& hash) {
  std::string bytes;
  const core::Result<bool> found = store_->get(Family::kRecords, key_of(hash), bytes);
  if (!found) {
    return found.error();
  }
  if (!*found) {
    return std::optional<core::Record>();
  }
  core::Result<core::Record> record = decode(key_of(hash), bytes);
  if (!record) {
    return record.error();
  }
  return std::optional(*std::move(record));
}

core::Result<bool> RocksDatabase::forget_record(const core::KeyHash& hash) {
  const std::scoped_lock guard(write_mutex_);
  std::string bytes;
  const core::Result<bool> found = store_->get(Family::kRecords, key_of(hash), bytes);
  if (found.ok() && !*found) {
    return false;
  }
  if (!found && found.error().code != ErrorCode::kCorrupt) {
    return found.error();
  }
  Batch batch;
  batch.erase(Family::kRecords, key_of(hash));
  const core::Status written =
      write_counted(batch,
                    meta::kRecordCount,
                    counts_.records,
                    counts_.records - std::min<std::uint64_t>(counts_.records, 1),
                    Durability::kSynced);
  if (!written) {
    return written.error();
  }
  return true;
}

core::Status RocksDatabase::for_each_record(
    const std::function<bool(const core::Record&)>& visit,
    const std::function<void(const core::KeyHash&, const Error&)>& damaged) {
  return store_->walk(
      Family::kRecords,
      "",
      [&](std::string_view key, std::string_view bytes) {
        const core::Result<core::Record> record = decode(key, bytes);
        if (!record) {
          damaged(hash_of_key(key), record.error());
          return true;
        }
        return visit(*record);
      },
      [&](std::string_view after, const Error& error) { damaged(hash_of_key(after), error); });
}

core::Status RocksDatabase::put_meta(std::string_view name, std::string_view bytes) {
  Batch batch;
  batch.put(Family::kMeta, std::string(meta::kUserPrefix).append(name), bytes);
  const std::scoped_lock guard(write_mutex_);
  return store_->write(batch, Durability::kSynced);
}

core::Lookup<std::string> RocksDatabase::find_meta(std::string_view name) {
  std::string bytes;
  const core::Result<bool> found =
      store_->get(Family::kMeta, std::string(meta::kUserPrefix).append(name), bytes);
  if (!found) {
    return found.error();
  }
  return *found ? std::optional(std::move(bytes)) : std::nullopt;
}

core::Result<Counts> RocksDatabase::counts() {
  Counts counts = [this] {
    const std::scoped_lock guard(write_mutex_);
    return counts_;
  }();
  counts.disk_bytes = store_->disk_bytes();
  return counts;
}

core::Status RocksDatabase::compact() {
  return store_->compact();
}

}  // namespace reformer::storage
