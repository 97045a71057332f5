#pragma once

#include "storage/database.h"
#include "storage/schema.h"

#include <filesystem>
#include <memory>

namespace reformer::storage {

// Database::open() with what tests replace.
struct OpenInternals {
  rocksdb::Env* env = nullptr;  // null: the real one
  Schema schema;
};
core::Result<std::unique_ptr<Database>> open_database(const std::filesystem::path& directory,
                                                      OpenMode mode,
                                                      OpenReport* report,
                                                      const OpenInternals& internals);

}  // namespace reformer::storage
