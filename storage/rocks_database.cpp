#include "storage/rocks_database.h"

#include "storage/first_error.h"
#include "storage/record_codec.h"
#include "storage/row_codec.h"

#include <algorithm>
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
                                                                 Damage damage) {
  std::unique_ptr<RocksDatabase> database(new RocksDatabase(std::move(store)));
  if (const core::Status loaded = database->load();
      !loaded.ok() && (damage == Damage::kRefuse || loaded.error().code != ErrorCode::kCorrupt)) {
    return loaded.error();
  }
  return database;
}

core::Status RocksDatabase::load() {
  for (const auto& [name, number] : {std::pair{meta::kRecordCount, &counts_.records},
                                     std::pair{meta::kAccuracyCount, &counts_.accuracy_rows},
                                     std::pair{meta::kQueueCount, &counts_.queued},
                                     std::pair{meta::kNextAccuracy, &next_accuracy_}}) {
    const core::Result<std::uint64_t> read = read_number(*store_, name);
    if (!read) {
      return read.error();
    }
    *number = *read;
  }
  return load_dictionary();
}

core::Status RocksDatabase::load_dictionary() {
  FirstError first;
  const core::Status walked = store_->walk(
      Family::kMeta,
      Dictionary::kPrefix,
      [&](std::string_view name, std::string_view bytes) {
        if (!name.starts_with(Dictionary::kPrefix)) {
          return false;
        }
        if (const core::Status loaded = dictionary_.load(name, bytes); !loaded) {
          first.note(loaded.error());
        }
        return true;
      },
      [&](std::string_view, const Error& error) { first.note(error); });
  return walked.ok() ? first.status() : walked;
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
  {
    const std::scoped_lock dictionary_guard(dictionary_mutex_);
    const core::Result<std::string> bytes = encode_record(record, dictionary_);
    if (!bytes) {
      return bytes.error();
    }
    for (const auto& [name, entry] : dictionary_.unsaved()) {
      batch.put(Family::kMeta, name, entry);
    }
    batch.put(Family::kRecords, key, *bytes);
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
