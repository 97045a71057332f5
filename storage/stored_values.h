#pragma once

#include "storage/bit_stream.h"

#include <cstdint>
#include <string>
#include <string_view>

namespace reformer::storage {

// The units in which measured values are kept, a whole number of them. See record_codec.h.
enum class Unit : std::uint16_t {
  kNanosecond = 1000,      // of a GPU time in us
  kTenthMicrosecond = 10,  // of a plan-building or heuristic time in us
  kSpread = 10'000,        // of a spread, which is a ratio
};

// NaN (unknown), or zero to 2^53 units.
[[nodiscard]] bool storable(float value, Unit unit);
// A value above zero gets at least one unit: zero would say that the time is not to be trusted.
[[nodiscard]] std::uint64_t to_units(float value, Unit unit);
[[nodiscard]] float from_units(std::uint64_t units, Unit unit);

// At most 4 096 bytes; longer ones are cut.
void write_text(BitWriter& out, std::string_view text);
[[nodiscard]] bool read_text(BitReader& in, std::string& text);

}  // namespace reformer::storage
