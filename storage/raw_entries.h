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
// over families that have no table yet), and tables that it does not open.
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

// Whether the file that says which files are the database's does not end with an entry. RocksDB
// takes that for an unfinished write, and deletes the tables that it does not know of.
[[nodiscard]] bool manifest_is_torn(const std::filesystem::path& directory);
// What RocksDB would not say when it opens the database, and go on without what stands behind:
// damage within a log, a MANIFEST that does not end with an entry. Empty if there is none.
[[nodiscard]] std::string silent_damage(const std::filesystem::path& directory);

}  // namespace reformer::storage
