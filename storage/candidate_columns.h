#pragma once

#include "core/record.h"
#include "storage/bit_stream.h"
#include "storage/dictionary.h"

#include <span>

namespace reformer::storage {

// The candidates of a record, column by column. The values must be storable().
void write_candidates(BitWriter& out,
                      std::span<const core::Candidate> candidates,
                      Dictionary& dictionary);

// Fills default-made candidates; their number is known from elsewhere. False for bytes that do not
// decode.
[[nodiscard]] bool read_candidates(BitReader& in,
                                   std::span<core::Candidate> candidates,
                                   const Dictionary& dictionary);

}  // namespace reformer::storage
