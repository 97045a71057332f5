#include "storage/salvage.h"

#include "storage/raw_entries.h"
#include "storage/rocks_database.h"
#include "storage/row_codec.h"

#include <fmt/core.h>

#include <limits>
#include <memory>
#include <set>
#include <string>
#include <system_error>
#include <vector>

namespace reformer::storage {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kAccuracyBatch = 256;

using DatabasePtr = std::unique_ptr<RocksDatabase>;

core::Result<DatabasePtr> create(const fs::path& directory,
                                 const Schema& schema,
                                 DictionaryFile::Entries dictionary,
                                 rocksdb::Env* env) {
  std::error_code error;
  fs::remove_all(directory, error);
  StoreOptions options;
  options.env = env;
  options.log_in_memory = true;
  core::Result<std::unique_ptr<Store>> store = Store::open(directory, options);
  if (!store) {
    return store.error();
  }
  if (const core::Status written = write_schema(**store, schema.version); !written) {
    return written.error();
  }
  return RocksDatabase::make(
      *std::move(store), RocksDatabase::Damage::kSkip, std::move(dictionary));
}

// Of the dictionary: what its file has, and the raw entries.
DictionaryFile::Entries known_entries(const fs::path& directory, const RawEntries& raw) {
  DictionaryFile::Entries entries = DictionaryFile::read(directory);
  for (const RawEntries::Keys* keys : {&raw.of(Family::kMeta), &raw.unknown}) {
    for (const auto& [key, newest] : *keys) {
      if (key.starts_with(Dictionary::kPrefix) && !newest.erased) {
        entries.emplace(key, newest.value);
      }
    }
  }
  return entries;
}

// Opens it with every leniency.
core::Result<DatabasePtr> open_damaged(const fs::path& directory,
                                       OpenMode mode,
                                       const Schema& schema,
                                       const RawEntries& raw,
                                       rocksdb::Env* env) {
  core::Result<std::unique_ptr<Store>> store =
      Store::open(directory, {.mode = mode, .env = env, .skip_damaged_log = true});
  if (!store) {  // not kUnsupported, which is for another schema
    return core::make_error(core::ErrorCode::kCorrupt, store.error().message);
  }
  const core::Lookup<std::uint64_t> version = read_schema(**store);
  if (!version) {
    return version.error();
  }
  // Without a version it is taken for the current one: what is not so does not decode.
  if (version->value_or(schema.version) != schema.version) {
    return core::make_error(core::ErrorCode::kUnsupported,
                            fmt::format("it is of schema {}", **version));
  }
  return RocksDatabase::make(
      *std::move(store), RocksDatabase::Damage::kSkip, known_entries(directory, raw));
}

core::Status copy_records(RocksDatabase& from, RocksDatabase& to) {
  core::Status copied = core::ok_status();
  const core::Status walked = from.for_each_record(
      [&](const core::Record& record) {
        const core::Result<bool> stored =
            to.put_record(record, Database::Merge::kForce, Durability::kBuffered);
        if (!stored) {
          copied = stored.error();
        }
        return stored.ok();
      },
      [](const core::KeyHash&, const core::Error&) {});  // stays in what is set aside
  return copied.ok() ? walked : copied;
}

core::Status copy_accuracy(RocksDatabase& from, RocksDatabase& to) {
  core::Status copied = core::ok_status();
  std::vector<AccuracyRow> batch;
  const auto flush = [&] {
    if (!batch.empty()) {
      copied = to.append_accuracy(batch);
      batch.clear();
    }
    return copied.ok();
  };
  // Its own status says that some rows could not be read, which is why we are here.
  (void)from.for_each_accuracy(std::numeric_limits<std::int64_t>::min(),
                               [&](const AccuracyRow& row) {
                                 batch.push_back(row);
                                 return batch.size() < kAccuracyBatch || flush();
                               });
  (void)flush();
  return copied;
}

core::Status copy_jobs(RocksDatabase& from, RocksDatabase& to) {
  const core::Result<std::vector<QueuedJob>> jobs = from.jobs();
  if (!jobs) {
    return core::ok_status();  // measured again when somebody asks again
  }
  for (const QueuedJob& job : *jobs) {
    if (const core::Status put = to.put_job(job); !put) {
      return put;
    }
  }
  return core::ok_status();
}

// Families whose bytes stand for themselves.
core::Status copy_bytes(Store& from, Store& to, Family family, std::string_view prefix) {
  core::Status copied = core::ok_status();
  const core::Status walked = from.walk(
      family,
      prefix,
      [&](std::string_view key, std::string_view value) {
        if (!key.starts_with(prefix)) {
          return false;
        }
        Batch batch;
        batch.put(family, key, value);
        copied = to.write(batch, Durability::kBuffered);
        return copied.ok();
      },
      [](std::string_view, const core::Error&) {});
  return copied.ok() ? walked : copied;
}

core::Status copy_all(RocksDatabase& from, RocksDatabase& to) {
  for (const core::Status& copied :
       {copy_records(from, to),
        copy_accuracy(from, to),
        copy_jobs(from, to),
        copy_bytes(from.store(), to.store(), Family::kUses, ""),
        copy_bytes(from.store(), to.store(), Family::kMeta, meta::kUserPrefix)}) {
    if (!copied) {
      return copied;
    }
  }
  return core::ok_status();
}

// What only the raw entries have. Never takes anything away: what RocksDB could read stands.
class RawCopy {
 public:
  RawCopy(const RawEntries& raw, const RocksDatabase& decoder, RocksDatabase& to)
      : raw_(&raw), decoder_(&decoder), to_(&to) {}

  core::Status run() {
    for (const RawEntries::Keys* keys : {&raw_->of(Family::kRecords), &raw_->unknown}) {
      for (const auto& [key, newest] : *keys) {
        if (const core::Status added = add_record(key, newest); !added) {
          return added;
        }
      }
    }
    for (const auto& [key, newest] : raw_->of(Family::kQueue)) {
      core::Result<QueuedJob> job = decode_job(newest.value);
      if (newest.erased || !job || !is_absent(Family::kQueue, key)) {
        continue;
      }
      if (const core::Status put = to_->put_job(*job); !put) {
        return put;
      }
    }
    if (const core::Status added = add_accuracy(); !added) {
      return added;
    }
    const core::Status uses = add_bytes(Family::kUses, "");
    return uses.ok() ? add_bytes(Family::kMeta, meta::kUserPrefix) : uses;
  }

 private:
  bool is_absent(Family family, std::string_view key) {
    std::string bytes;
    const core::Result<bool> found = to_->store().get(family, key, bytes);
    return found.ok() && !*found;
  }
  core::Status add_record(std::string_view key, const RawEntries::Newest& newest) {
    if (newest.erased) {
      return core::ok_status();
    }
    const core::Result<core::Record> record = decoder_->decode(key, newest.value);
    if (!record) {
      return core::ok_status();
    }
    const core::Result<bool> stored =
        to_->put_record(*record, Database::Merge::kBetterFounded, Durability::kBuffered);
    return stored.ok() ? core::ok_status() : stored.error();
  }
  core::Status add_accuracy() {
    std::set<std::string> known;
    (void)to_->store().walk(
        Family::kAccuracy,
        "",
        [&known](std::string_view, std::string_view bytes) { return known.emplace(bytes).second; },
        [](std::string_view, const core::Error&) {});
    std::vector<AccuracyRow> rows;
    for (const auto& [key, newest] : raw_->of(Family::kAccuracy)) {
      const core::Result<AccuracyRow> row = decode_accuracy(newest.value);
      if (!newest.erased && row.ok() && !known.contains(newest.value)) {
        rows.push_back(*row);
      }
    }
    return rows.empty() ? core::ok_status() : to_->append_accuracy(rows);
  }
  // Families whose bytes stand for themselves.
  core::Status add_bytes(Family family, std::string_view prefix) {
    for (const auto& [key, newest] : raw_->of(family)) {
      if (newest.erased || !key.starts_with(prefix) || !is_absent(family, key)) {
        continue;
      }
      Batch batch;
      batch.put(family, key, newest.value);
      if (const core::Status put = to_->store().write(batch, Durability::kBuffered); !put) {
        return put;
      }
    }
    return core::ok_status();
  }

  const RawEntries* raw_;
  const RocksDatabase* decoder_;
  RocksDatabase* to_;
};

// A second name for each file, or a copy where the file system has no links. RocksDB never changes
// the tables (.sst) that it has written, so they may be shared; everything else is copied.
core::Status link_files(const fs::path& from, const fs::path& to) {
  std::error_code error;
  fs::remove_all(to, error);
  fs::create_directory(to, error);
  for (fs::directory_iterator entry(from, error), end; !error && entry != end;
       entry.increment(error)) {
    const fs::path target = to / entry->path().filename();
    std::error_code link_error = std::make_error_code(std::errc::not_supported);
    if (entry->path().extension() == ".sst") {
      fs::create_hard_link(entry->path(), target, link_error);
    }
    if (std::error_code unknown; link_error && entry->is_regular_file(unknown) &&
                                 entry->path().filename() != kDamageMarker) {
      fs::copy_file(entry->path(), target, error);
    }
    if (error) {
      break;
    }
  }
  return error ? core::make_error(core::ErrorCode::kExhausted,
                                  fmt::format("{}: {}", to.string(), error.message()))
               : core::ok_status();
}

core::Result<DatabasePtr> open_repaired(const fs::path& directory,
                                        const Schema& schema,
                                        const RawEntries& raw,
                                        rocksdb::Env* env) {
  const fs::path copy = repair_path(directory);
  if (const core::Status linked = link_files(directory, copy); !linked) {
    return linked.error();
  }
  const rocksdb::Status repaired = rocksdb::RepairDB(
      copy.string(),
      database_options({.mode = OpenMode::kReadWrite, .env = env, .skip_damaged_log = true}),
      family_descriptors());
  // For writing, because families that were empty must be made again.
  return repaired.ok() ? open_damaged(copy, OpenMode::kReadWrite, schema, raw, env)
                       : to_error(directory.string(), repaired);
}

}  // namespace

core::Result<Salvaged> salvage(const fs::path& directory,
                               const fs::path& fresh,
                               const Schema& schema,
                               rocksdb::Env* env) {
  const RawEntries raw = read_raw(directory, env);
  core::Result<DatabasePtr> from =
      manifest_is_damaged(directory)
          ? core::make_error(core::ErrorCode::kCorrupt, "it does not know all of its files")
          : open_damaged(directory, OpenMode::kReadOnly, schema, raw, env);
  if (!from.ok() && from.error().code != core::ErrorCode::kUnsupported) {
    from = open_repaired(directory, schema, raw, env);
  }
  Salvaged salvaged;
  if (!from.ok() && from.error().code != core::ErrorCode::kUnsupported) {
    salvaged.failure = from.error().message;
    from = create(repair_path(directory), schema, known_entries(directory, raw), env);
  }
  core::Result<DatabasePtr> to = create(fresh, schema, {}, env);
  if (!to) {
    return to.error();
  }
  if (from.ok()) {
    core::Status copied = copy_all(**from, **to);
    copied = copied.ok() ? RawCopy(raw, **from, **to).run() : copied;
    copied = copied.ok() ? (*to)->sync() : copied;
    if (!copied) {
      return copied.error();
    }
    salvaged.records = (*to)->record_count();
    from->reset();
  } else {
    salvaged.failure = from.error().message;
  }
  std::error_code error;
  fs::remove_all(repair_path(directory), error);
  return salvaged;
}

fs::path salvage_path(const fs::path& directory) {
  return directory.string() + ".salvage";
}
fs::path repair_path(const fs::path& directory) {
  return directory.string() + ".repair";
}

}  // namespace reformer::storage
