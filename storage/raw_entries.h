#pragma once

#include "storage/rocks_options.h"

#include <array>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace reformer::storage {

// The newest of each key in those files of a damaged database that RocksDB reads badly or not at
// all: its logs (it passes over all that stands behind damage in a block of 32 KiB, and a repair
// over families that have no table yet), and, if one of them is damaged, its tables (it opens some
// of those not at all, a repair leaves them all out, and going on behind their damage it passes
// over what the sound ones have between the same keys).
struct RawEntries {
  struct Newest {
    std::uint64_t sequence = 0;
    bool erased = false;
    std::string value;
  };
  using Keys = std::map<std::string, Newest, std::less<>>;
  std::array<Keys, kFamilyNames.size()> families;
  // Of tables whose family is not known any more.
  Keys unknown;

  [[nodiscard]] const Keys& of(Family family) const {
    return families[static_cast<std::size_t>(family)];
  }
};

[[nodiscard]] RawEntries read_raw(const std::filesystem::path& directory, rocksdb::Env* env);

// Whether the file that says which files are the database's holds anything but sound entries.
// RocksDB takes some of that for an unfinished write, ends there, and deletes the files that it
// then does not know of.
[[nodiscard]] bool manifest_is_damaged(const std::filesystem::path& directory);
// What RocksDB would not say when it opens the database, and go on without what stands behind:
// damage within a log, any in a MANIFEST. Empty if there is none.
[[nodiscard]] std::string silent_damage(const std::filesystem::path& directory);

}  // namespace reformer::storage
