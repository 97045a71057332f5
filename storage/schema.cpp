#include "storage/schema.h"

#include "storage/rocks_database.h"
#include "storage/row_codec.h"

#include <fmt/core.h>

#include <algorithm>

namespace reformer::storage {

core::Lookup<std::uint64_t> read_schema(Store& store) {
  std::string bytes;
  const core::Result<bool> found = store.get(Family::kMeta, meta::kSchema, bytes);
  if (!found) {
    return found.error();
  }
  if (!*found) {
    return std::optional<std::uint64_t>();
  }
  const core::Result<std::uint64_t> version = decode_number(bytes);
  if (!version) {
    return version.error();
  }
  return std::optional(*version);
}

core::Status write_schema(Store& store, std::uint64_t version) {
  Batch batch;
  batch.put(Family::kMeta, meta::kSchema, encode_row(version));
  return store.write(batch, Durability::kSynced);
}

core::Status upgrade(Store& store, std::uint64_t version, const Schema& schema) {
  for (; version < schema.version; ++version) {
    const auto migration = std::find_if(
        schema.migrations.begin(), schema.migrations.end(), [version](const Migration& candidate) {
          return candidate.from == version;
        });
    if (migration == schema.migrations.end()) {
      return core::make_error(core::ErrorCode::kUnsupported,
                              fmt::format("no way to upgrade a database of schema {}", version));
    }
    if (const core::Status applied = migration->apply(store); !applied) {
      return core::in_context(fmt::format("upgrading from schema {}", version), applied.error());
    }
    if (const core::Status written = write_schema(store, version + 1); !written) {
      return written;
    }
  }
  return core::ok_status();
}

}  // namespace reformer::storage
