#include "storage/dictionary_file.h"

#include "storage/rocks_options.h"

#include <fmt/core.h>

#include <xxhash.h>

#include <fstream>
#include <optional>
#include <string_view>

namespace reformer::storage {
namespace {

constexpr std::size_t kSumDigits = 16;

std::string sum_of(std::string_view text) {
  return fmt::format("{:016x}", XXH3_64bits(text.data(), text.size()));
}

std::string line_of(const std::string& name, const std::string& bytes) {
  std::string rest = name + ' ';
  for (const char byte : bytes) {
    rest += fmt::format("{:02x}", static_cast<unsigned char>(byte));
  }
  return sum_of(rest) + ' ' + rest + '\n';
}

std::optional<int> digit(char c) {
  if (c >= '0' && c <= '9') {
    return c - '0';
  }
  return c >= 'a' && c <= 'f' ? std::optional(c - 'a' + 10) : std::nullopt;
}

std::optional<std::string> from_digits(std::string_view digits) {
  std::string bytes;
  for (std::size_t i = 0; i + 1 < digits.size(); i += 2) {
    const std::optional<int> high = digit(digits[i]);
    const std::optional<int> low = digit(digits[i + 1]);
    if (!high || !low) {
      return std::nullopt;
    }
    bytes.push_back(static_cast<char>(*high * 16 + *low));
  }
  return digits.size() % 2 == 0 ? std::optional(bytes) : std::nullopt;
}

}  // namespace

DictionaryFile::Entries DictionaryFile::read(const std::filesystem::path& directory) {
  Entries entries;
  std::ifstream file(directory / kName, std::ios::binary);
  for (std::string line; std::getline(file, line);) {
    const std::string_view text = line;
    const std::size_t space = text.find(' ', kSumDigits + 1);
    if (space == std::string_view::npos || text[kSumDigits] != ' ' ||
        text.substr(0, kSumDigits) != sum_of(text.substr(kSumDigits + 1))) {
      continue;
    }
    if (std::optional<std::string> bytes = from_digits(text.substr(space + 1))) {
      entries.insert_or_assign(std::string(text.substr(kSumDigits + 1, space - kSumDigits - 1)),
                               *std::move(bytes));
    }
  }
  return entries;
}

core::Status DictionaryFile::failed(const rocksdb::Status& status) {
  file_.reset();
  return to_error((directory_ / kName).string(), status);
}

core::Status DictionaryFile::replace(const Entries& all) {
  const std::string path = (directory_ / kName).string();
  const std::string fresh = path + ".dbtmp";
  std::string text;
  for (const auto& [name, bytes] : all) {
    text += line_of(name, bytes);
  }
  rocksdb::Status status = env_->NewWritableFile(fresh, &file_, rocksdb::EnvOptions());
  if (status.ok()) {
    status = file_->Append(text);
  }
  if (status.ok()) {
    status = file_->Sync();
  }
  if (status.ok()) {
    status = env_->RenameFile(fresh, path);
  }
  std::unique_ptr<rocksdb::Directory> directory;
  if (status.ok()) {
    status = env_->NewDirectory(directory_.string(), &directory);
  }
  if (status.ok()) {
    status = directory->Fsync();
  }
  unsynced_ = false;
  return status.ok() ? core::ok_status() : failed(status);
}

core::Status DictionaryFile::add(const std::vector<Entry>& entries) {
  std::string text;
  for (const auto& [name, bytes] : entries) {
    text += line_of(name, bytes);
  }
  unsynced_ = true;
  const rocksdb::Status status = file_->Append(text);
  return status.ok() ? core::ok_status() : failed(status);
}

core::Status DictionaryFile::sync() {
  if (file_ == nullptr || !unsynced_) {
    return core::ok_status();
  }
  const rocksdb::Status status = file_->Sync();
  unsynced_ = !status.ok();
  return status.ok() ? core::ok_status() : failed(status);
}

}  // namespace reformer::storage
