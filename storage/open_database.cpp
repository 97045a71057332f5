#include "storage/open_database.h"

#include "storage/contents.h"
#include "storage/raw_entries.h"
#include "storage/rocks_database.h"
#include "storage/salvage.h"

#include <fmt/core.h>

#include <system_error>
#include <utility>

namespace reformer::storage {
namespace {

namespace fs = std::filesystem;
using core::ErrorCode;
using DatabasePtr = std::unique_ptr<Database>;

core::Error unavailable(const fs::path& path, const std::error_code& error) {
  return core::make_error(ErrorCode::kUnavailable,
                          fmt::format("{}: {}", path.string(), error.message()));
}

// One attempt to open a database for writing.
class Opening {
 public:
  Opening(fs::path directory, const OpenInternals& internals)
      : directory_(std::move(directory)), internals_(internals) {}

  core::Result<DatabasePtr> run(OpenReport& report);

 private:
  core::Status prepare_directory();
  core::Status finish_interrupted_salvage();
  // Opens what is there as ours. kCorrupt: damaged; kUnsupported: not for this program.
  core::Result<DatabasePtr> open_ours();
  core::Status bring_up_to_date(Store& store);
  // Moves the directory away, `replacement` (or an empty one) to its place, and locks that.
  core::Status set_aside(const fs::path& replacement, OpenReport& report);
  core::Result<DatabasePtr> replace(OpenReport& report, std::string reason);
  core::Result<DatabasePtr> repair(OpenReport& report, const std::string& reason);

  const fs::path directory_;
  const OpenInternals& internals_;
  DirectoryLock lock_;
};

core::Status Opening::finish_interrupted_salvage() {
  std::error_code error;
  const fs::path copy = salvage_path(directory_);
  if (!fs::exists(copy, error)) {
    return core::ok_status();
  }
  // The original goes away only when the copy is whole.
  if (fs::exists(directory_, error)) {
    fs::remove_all(copy, error);
  } else {
    fs::rename(copy, directory_, error);
  }
  return error ? core::Status(unavailable(copy, error)) : core::ok_status();
}

core::Status Opening::prepare_directory() {
  std::error_code error;
  if (!fs::exists(directory_, error) && !fs::exists(salvage_path(directory_), error)) {
    fs::create_directories(directory_, error);
    if (error) {
      return unavailable(directory_, error);
    }
  }
  if (!fs::exists(directory_, error)) {
    if (const core::Status finished = finish_interrupted_salvage(); !finished) {
      return finished;
    }
  }
  core::Result<DirectoryLock> lock =
      DirectoryLock::acquire(directory_, DirectoryLock::Kind::kExclusive);
  if (!lock) {
    return lock.error();
  }
  lock_ = *std::move(lock);
  return finish_interrupted_salvage();
}

core::Status Opening::bring_up_to_date(Store& store) {
  const core::Lookup<std::uint64_t> version = read_schema(store);
  if (!version) {
    return version.error();
  }
  const Schema& schema = internals_.schema;
  if (!version->has_value()) {
    bool empty = true;
    const core::Status walked = store.walk(
        Family::kRecords,
        "",
        [&empty](std::string_view, std::string_view) { return empty = false; },
        [](std::string_view, const core::Error&) {});
    if (!walked) {
      return walked;
    }
    return empty ? write_schema(store, schema.version)
                 : core::make_error(ErrorCode::kCorrupt, "it does not say its schema version");
  }
  if (**version > schema.version) {
    return core::make_error(
        ErrorCode::kUnsupported,
        fmt::format("it is of schema {}, newer than this program's {}", **version, schema.version));
  }
  return upgrade(store, **version, schema);
}

core::Result<DatabasePtr> Opening::open_ours() {
  core::Result<std::unique_ptr<Store>> store = Store::open(
      directory_, {.mode = OpenMode::kReadWrite, .env = internals_.env, .skip_damaged_log = false});
  if (!store) {
    return store.error();
  }
  if (const core::Status current = bring_up_to_date(**store); !current) {
    return current.error();
  }
  core::Result<std::unique_ptr<RocksDatabase>> database =
      RocksDatabase::make(*std::move(store), RocksDatabase::Damage::kRefuse);
  if (!database) {
    return database.error();
  }
  (*database)->keep(std::move(lock_));
  return DatabasePtr(*std::move(database));
}

core::Status Opening::set_aside(const fs::path& replacement, OpenReport& report) {
  std::error_code error;
  fs::path aside;
  for (int number = 1; aside.empty() || fs::exists(aside, error); ++number) {
    aside = fmt::format("{}.set-aside-{}", directory_.string(), number);
  }
  fs::rename(directory_, aside, error);
  if (error) {
    return unavailable(directory_, error);
  }
  report.set_aside = aside;
  replacement.empty() ? static_cast<void>(fs::create_directory(directory_, error))
                      : fs::rename(replacement, directory_, error);
  if (error) {
    return unavailable(directory_, error);
  }
  core::Result<DirectoryLock> lock =
      DirectoryLock::acquire(directory_, DirectoryLock::Kind::kExclusive);
  if (!lock) {
    return lock.error();
  }
  lock_ = *std::move(lock);
  return core::ok_status();
}

core::Result<DatabasePtr> Opening::replace(OpenReport& report, std::string reason) {
  report.reason = std::move(reason);
  if (const core::Status moved = set_aside({}, report); !moved) {
    return moved.error();
  }
  return open_ours();
}

core::Result<DatabasePtr> Opening::repair(OpenReport& report, const std::string& reason) {
  const fs::path copy = salvage_path(directory_);
  const core::Result<Salvaged> salvaged =
      salvage(directory_, copy, internals_.schema, internals_.env);
  if (!salvaged) {
    return core::in_context("repairing the damaged database", salvaged.error());
  }
  report.reason = salvaged->failure.empty()
                      ? fmt::format("{}; kept {} records", reason, salvaged->records)
                      : fmt::format("{}; nothing could be kept: {}", reason, salvaged->failure);
  if (const core::Status moved = set_aside(copy, report); !moved) {
    return moved.error();
  }
  return open_ours();
}

core::Result<DatabasePtr> Opening::run(OpenReport& report) {
  if (const core::Status prepared = prepare_directory(); !prepared) {
    return prepared.error();
  }
  const core::Result<Contents> contents = inspect(directory_, internals_.env);
  if (!contents) {
    return contents.error();
  }
  if (contents->kind == Contents::Kind::kForeign) {
    return replace(report, contents->reason);
  }
  if (contents->kind == Contents::Kind::kDamaged) {
    return repair(report, contents->reason);
  }
  if (const std::string damage = silent_damage(directory_); !damage.empty()) {
    return repair(report, damage);
  }
  core::Result<DatabasePtr> database = open_ours();
  if (database.ok()) {
    return database;
  }
  switch (database.error().code) {
    case ErrorCode::kCorrupt:
      return repair(report, database.error().message);
    case ErrorCode::kUnsupported:
      return replace(report, database.error().message);
    default:
      return database;
  }
}

core::Result<DatabasePtr> open_for_reading(const fs::path& directory,
                                           const OpenInternals& internals) {
  core::Result<DirectoryLock> lock =
      DirectoryLock::acquire(directory, DirectoryLock::Kind::kShared);
  if (!lock) {
    return lock.error();
  }
  const core::Result<Contents> contents = inspect(directory, internals.env);
  if (!contents) {
    return contents.error();
  }
  const auto refuse = [&directory](ErrorCode code, std::string_view why) {
    return core::make_error(code, fmt::format("{}: {}", directory.string(), why));
  };
  switch (contents->kind) {
    case Contents::Kind::kNothing:
      return refuse(ErrorCode::kUnavailable, "there is no database");
    case Contents::Kind::kForeign:
      return refuse(ErrorCode::kUnsupported, contents->reason);
    case Contents::Kind::kDamaged:
      return refuse(ErrorCode::kCorrupt, contents->reason);
    case Contents::Kind::kOurs:
      break;
  }
  core::Result<std::unique_ptr<Store>> store = Store::open(
      directory, {.mode = OpenMode::kReadOnly, .env = internals.env, .skip_damaged_log = false});
  if (!store) {
    return store.error();
  }
  const core::Lookup<std::uint64_t> version = read_schema(**store);
  if (!version) {
    return version.error();
  }
  if (*version != internals.schema.version) {
    return refuse(ErrorCode::kUnsupported,
                  "it is of another schema; the daemon upgrades an older one when it starts");
  }
  core::Result<std::unique_ptr<RocksDatabase>> database =
      RocksDatabase::make(*std::move(store), RocksDatabase::Damage::kRefuse);
  if (!database) {
    return database.error();
  }
  (*database)->keep(*std::move(lock));
  return DatabasePtr(*std::move(database));
}

}  // namespace

core::Result<DatabasePtr> open_database(const fs::path& directory,
                                        OpenMode mode,
                                        OpenReport* report,
                                        const OpenInternals& internals) {
  // Without a slash at the end, so that names can be made from it.
  fs::path path = directory.lexically_normal();
  if (!path.has_filename()) {
    path = path.parent_path();
  }
  if (mode == OpenMode::kReadOnly) {
    return open_for_reading(path, internals);
  }
  OpenReport unused;
  return Opening(std::move(path), internals).run(report != nullptr ? *report : unused);
}

core::Result<DatabasePtr> Database::open(const fs::path& directory,
                                         OpenMode mode,
                                         OpenReport* report) {
  return open_database(directory, mode, report, OpenInternals{});
}

}  // namespace reformer::storage
