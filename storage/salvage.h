#pragma once

#include "core/result.h"
#include "storage/schema.h"

#include <rocksdb/env.h>

#include <cstdint>
#include <filesystem>
#include <string>

namespace reformer::storage {

// Copies what can be read of the damaged database in `directory` into a new one in `fresh`, entry
// by entry, so that the copy is sound whatever the damage: through RocksDB as it is, or else after
// RocksDB's own repair of a copy of its files, and what only raw_entries.h finds. `directory` is
// not changed; `fresh` is made anew.
//
// Errors: what writing the copy fails with (a full disk).
struct Salvaged {
  std::uint64_t records = 0;
  std::string failure;  // why nothing could be read; empty otherwise
};
[[nodiscard]] core::Result<Salvaged> salvage(const std::filesystem::path& directory,
                                             const std::filesystem::path& fresh,
                                             const Schema& schema,
                                             rocksdb::Env* env);

// Where the copies are made; removed when they are of no more use.
[[nodiscard]] std::filesystem::path salvage_path(const std::filesystem::path& directory);
[[nodiscard]] std::filesystem::path repair_path(const std::filesystem::path& directory);

}  // namespace reformer::storage
