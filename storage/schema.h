#pragma once

#include "core/result.h"
#include "storage/store.h"

#include <cstdint>
#include <optional>
#include <span>

// The version of everything that is on disk, and the way from an older one to the current one.
// docs/storage.md has the history.
namespace reformer::storage {

inline constexpr std::uint64_t kSchemaVersion = 1;

// Takes a database from one schema to the next. A kill in the middle repeats it at the next start:
// applying it to what it has half done must do the rest.
struct Migration {
  std::uint64_t from = 0;  // to from + 1
  core::Status (*apply)(Store& store) = nullptr;
};

struct Schema {
  std::uint64_t version = kSchemaVersion;
  std::span<const Migration> migrations;  // one for every older version
};

// What the database says; empty if nothing (it is new, or somebody else's).
[[nodiscard]] core::Lookup<std::uint64_t> read_schema(Store& store);
core::Status write_schema(Store& store, std::uint64_t version);

// Applies the migrations from `version` on, recording each. Errors: kUnsupported where one is
// missing, and what a migration fails with.
core::Status upgrade(Store& store, std::uint64_t version, const Schema& schema);

}  // namespace reformer::storage
