#include "storage/contents.h"

#include "storage/store.h"

#include <fmt/core.h>

#include <algorithm>
#include <fstream>
#include <string_view>
#include <system_error>
#include <vector>

namespace reformer::storage {
namespace {

namespace fs = std::filesystem;
using Kind = Contents::Kind;

bool is_number(std::string_view text) {
  return !text.empty() &&
         std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

// "000123.sst", "000124.log": files that hold data.
bool is_data_file(const fs::path& file) {
  const std::string suffix = file.extension().string();
  return is_number(file.stem().string()) && (suffix == ".sst" || suffix == ".log");
}

bool is_rocksdb_file(const fs::path& file) {
  const std::string name = file.filename().string();
  for (const std::string_view prefix :
       {"LOCK", "LOG", "IDENTITY", "OPTIONS-", "MANIFEST-", "DICTIONARY"}) {
    if (name.starts_with(prefix)) {
      return true;
    }
  }
  return is_data_file(file) || file.extension() == ".dbtmp";
}

Contents without_current(const std::vector<fs::directory_entry>& entries) {
  for (const fs::directory_entry& entry : entries) {
    if (!is_rocksdb_file(entry.path())) {
      return {Kind::kForeign,
              fmt::format("it holds {}, which is no part of a database",
                          entry.path().filename().string())};
    }
  }
  for (const fs::directory_entry& entry : entries) {
    std::error_code error;
    if (is_data_file(entry.path()) && entry.file_size(error) > 0) {
      return {Kind::kDamaged, "the file CURRENT is missing"};
    }
  }
  return {};
}

// A database with only the default family is another program's, unless it is empty: then it is
// ours, killed while it was being created.
core::Result<Contents> default_family_only(const fs::path& directory,
                                           const rocksdb::DBOptions& options) {
  std::vector<rocksdb::ColumnFamilyHandle*> handles;
  rocksdb::DB* opened = nullptr;
  const rocksdb::Status status = rocksdb::DB::OpenForReadOnly(
      options,
      directory.string(),
      {{rocksdb::kDefaultColumnFamilyName, rocksdb::ColumnFamilyOptions()}},
      &handles,
      &opened);
  if (!status.ok()) {
    return Contents{status.IsCorruption() ? Kind::kDamaged : Kind::kForeign, status.ToString()};
  }
  const std::unique_ptr<rocksdb::DB> database(opened);
  const std::unique_ptr<rocksdb::Iterator> iterator(
      database->NewIterator(rocksdb::ReadOptions(), handles.front()));
  iterator->SeekToFirst();
  const bool empty = !iterator->Valid() && iterator->status().ok();
  (void)database->DestroyColumnFamilyHandle(handles.front());
  return empty ? Contents{Kind::kOurs, ""}
               : Contents{Kind::kForeign, "it is a RocksDB database of another program"};
}

core::Result<Contents> with_current(const fs::path& directory, rocksdb::Env* env) {
  const rocksdb::DBOptions options =
      database_options({.mode = OpenMode::kReadOnly, .env = env, .skip_damaged_log = true});
  std::vector<std::string> families;
  const rocksdb::Status status =
      rocksdb::DB::ListColumnFamilies(options, directory.string(), &families);
  if (!status.ok()) {
    const core::Error error = to_error(directory.string(), status);
    if (error.code == core::ErrorCode::kUnavailable || error.code == core::ErrorCode::kExhausted) {
      return error;
    }
    return Contents{Kind::kDamaged, status.ToString()};
  }
  std::erase(families, rocksdb::kDefaultColumnFamilyName);
  for (const std::string& family : families) {
    if (std::find(kFamilyNames.begin(), kFamilyNames.end(), family) == kFamilyNames.end()) {
      return Contents{
          Kind::kForeign,
          fmt::format("it has a column family '{}', which this program does not know", family)};
    }
  }
  return families.empty() ? default_family_only(directory, options) : Contents{Kind::kOurs, ""};
}

}  // namespace

core::Result<Contents> inspect(const fs::path& directory, rocksdb::Env* env) {
  std::error_code error;
  std::vector<fs::directory_entry> entries;
  for (fs::directory_iterator entry(directory, error), end; !error && entry != end;
       entry.increment(error)) {
    entries.push_back(*entry);
  }
  if (error) {
    return core::make_error(core::ErrorCode::kUnavailable,
                            fmt::format("{}: {}", directory.string(), error.message()));
  }
  const auto has = [&entries](std::string_view name) {
    return std::any_of(entries.begin(), entries.end(), [name](const fs::directory_entry& entry) {
      return entry.path().filename() == name;
    });
  };
  if (has(kDamageMarker)) {
    std::string reason;
    std::ifstream file(directory / kDamageMarker);
    std::getline(file, reason);
    return Contents{Kind::kDamaged, "damage was met while it was in use: " + reason};
  }
  return has("CURRENT") ? with_current(directory, env) : without_current(entries);
}

}  // namespace reformer::storage
