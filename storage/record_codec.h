#pragma once

#include "core/record.h"
#include "core/result.h"
#include "storage/dictionary.h"

#include <string>
#include <string_view>

namespace reformer::storage {

// The form of a record on disk, about 350 bytes for 50 candidates. What is constant across records
// stands in the dictionary; the candidates are written column by column, in bits. docs/storage.md
// gives the layout.
//
// Measurements are kept to the precision of the interchange format, far finer than the noise of
// measuring: GPU time to 1 ns, plan-building and heuristic time to 0.1 us, spread to 1e-4. Encoding
// what was decoded gives the same bytes.

// Adds what is new to the dictionary. Errors: kInvalidArgument for values that no measurement has
// (negative or infinite times, a rank below -1, too many candidates).
[[nodiscard]] core::Result<std::string> encode_record(const core::Record& record,
                                                      Dictionary& dictionary);

// Errors: kCorrupt; kUnsupported for a later form of record.
[[nodiscard]] core::Result<core::Record> decode_record(std::string_view bytes,
                                                       const Dictionary& dictionary);

}  // namespace reformer::storage
