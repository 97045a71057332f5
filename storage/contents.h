#pragma once

#include "core/result.h"

#include <rocksdb/env.h>

#include <filesystem>
#include <string>

namespace reformer::storage {

// What a directory holds that is to be opened as our database.
struct Contents {
  enum class Kind {
    kNothing,  // empty, or a database whose creation was cut short before anything was in it
    kOurs,
    kForeign,  // somebody else's files or database
    kDamaged,  // a database that cannot, or must not, be opened as it is
  };
  Kind kind = Kind::kNothing;
  std::string reason;  // for kForeign and kDamaged
};

// Looks without changing anything. Errors: kUnavailable where the directory cannot be read.
[[nodiscard]] core::Result<Contents> inspect(const std::filesystem::path& directory,
                                             rocksdb::Env* env);

}  // namespace reformer::storage
