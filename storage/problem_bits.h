#pragma once

#include "core/problem.h"
#include "storage/bit_stream.h"

namespace reformer::storage {

// A canonical problem in about 25 bytes instead of 328: what follows from the rest (packed strides,
// output dims, equal types, symmetric padding) is one bit.
void write_problem(BitWriter& out, const core::Problem& canonical);

// False for bytes that do not decode into a canonical problem.
[[nodiscard]] bool read_problem(BitReader& in, core::Problem& problem);

}  // namespace reformer::storage
