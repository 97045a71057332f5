#include "storage/raw_entries.h"

#include "storage/log_file.h"
#include "storage/table_file.h"

#include <fmt/core.h>
#include <rocksdb/sst_file_reader.h>
#include <rocksdb/write_batch.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <span>
#include <sstream>
#include <system_error>
#include <utility>

namespace reformer::storage {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kBatchHeaderBytes = 12;  // sequence number, count

std::string contents_of(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;  // in large pieces: every start reads the logs
  text << file.rdbuf();
  return std::move(text).str();
}

std::vector<fs::path> files_in(const fs::path& directory, std::string_view extension) {
  std::vector<fs::path> files;
  std::error_code error;
  for (fs::directory_iterator entry(directory, error), end; !error && entry != end;
       entry.increment(error)) {
    if (entry->path().extension() == extension) {
      files.push_back(entry->path());
    }
  }
  std::sort(files.begin(), files.end());
  return files;
}

void keep_newest(RawEntries::Keys& keys, std::string_view key, RawEntries::Newest entry) {
  const auto known = keys.find(key);
  if (known == keys.end()) {
    keys.emplace(std::string(key), std::move(entry));
  } else if (known->second.sequence <= entry.sequence) {
    known->second = std::move(entry);
  }
}

// The changes of one batch of a log. Families are numbered in the order in which they were made.
class BatchReader : public rocksdb::WriteBatch::Handler {
 public:
  BatchReader(RawEntries& entries, std::uint64_t sequence)
      : entries_(&entries), sequence_(sequence) {}

  rocksdb::Status PutCF(std::uint32_t family,
                        const rocksdb::Slice& key,
                        const rocksdb::Slice& value) override {
    add(family, key, {.sequence = sequence_, .erased = false, .value = value.ToString()});
    return rocksdb::Status::OK();
  }
  rocksdb::Status DeleteCF(std::uint32_t family, const rocksdb::Slice& key) override {
    add(family, key, {.sequence = sequence_, .erased = true, .value = {}});
    return rocksdb::Status::OK();
  }

 private:
  void add(std::uint32_t family, const rocksdb::Slice& key, RawEntries::Newest entry) {
    ++sequence_;
    if (family >= 1 && family <= entries_->families.size()) {  // 0 is RocksDB's own, empty
      keep_newest(entries_->families[family - 1], to_view(key), std::move(entry));
    }
  }

  RawEntries* entries_;
  std::uint64_t sequence_;
};

LogCondition condition_of(const fs::path& log) {
  const std::string bytes = contents_of(log);
  return read_log(std::as_bytes(std::span(bytes)), [](std::string&&) {});
}

void read_log_into(const fs::path& path, RawEntries& entries) {
  const std::string bytes = contents_of(path);
  (void)read_log(std::as_bytes(std::span(bytes)), [&entries](std::string&& entry) {
    if (entry.size() < kBatchHeaderBytes) {
      return;
    }
    std::uint64_t sequence = 0;
    std::memcpy(&sequence, entry.data(), sizeof sequence);
    BatchReader reader(entries, sequence);
    (void)rocksdb::WriteBatch(std::move(entry)).Iterate(&reader);
  });
}

bool is_sound(const fs::path& table, rocksdb::Env* env) {
  rocksdb::Options options;
  if (env != nullptr) {
    options.env = env;
  }
  rocksdb::SstFileReader reader(options);
  return reader.Open(table.string()).ok() && reader.VerifyChecksum().ok();
}

void read_table_into(const fs::path& path, RawEntries& entries) {
  const std::string bytes = contents_of(path);
  const auto file = std::as_bytes(std::span(bytes));
  const auto name = std::find(kFamilyNames.begin(), kFamilyNames.end(), family_of_table(file));
  RawEntries::Keys& keys =
      name == kFamilyNames.end()
          ? entries.unknown
          : entries.families[static_cast<std::size_t>(name - kFamilyNames.begin())];
  read_table(file, [&keys](const TableEntry& entry) {
    keep_newest(
        keys,
        entry.key,
        {.sequence = entry.sequence, .erased = entry.erased, .value = std::string(entry.value)});
  });
}

}  // namespace

RawEntries read_raw(const fs::path& directory, rocksdb::Env* env) {
  RawEntries entries;
  for (const fs::path& log : files_in(directory, ".log")) {
    read_log_into(log, entries);
  }
  // Of all tables if one is damaged: going behind its damage RocksDB also passes over what the
  // others have between the same keys.
  const std::vector<fs::path> tables = files_in(directory, ".sst");
  const bool all_sound = std::all_of(
      tables.begin(), tables.end(), [env](const fs::path& table) { return is_sound(table, env); });
  if (!all_sound) {
    for (const fs::path& table : tables) {
      read_table_into(table, entries);
    }
  }
  return entries;
}

bool manifest_is_damaged(const fs::path& directory) {
  std::string manifest = contents_of(directory / "CURRENT");
  while (!manifest.empty() && manifest.back() == '\n') {
    manifest.pop_back();
  }
  if (!manifest.starts_with("MANIFEST-")) {
    return false;
  }
  const LogCondition condition = condition_of(directory / manifest);
  return condition.torn_end || condition.damaged_within;
}

std::string silent_damage(const fs::path& directory) {
  for (const fs::path& log : files_in(directory, ".log")) {
    if (condition_of(log).damaged_within) {
      return fmt::format("{} is damaged", log.filename().string());
    }
  }
  return manifest_is_damaged(directory) ? "the MANIFEST is cut short or damaged" : "";
}

}  // namespace reformer::storage
