#pragma once

#include "storage/bit_stream.h"

#include <cstdint>
#include <span>

namespace reformer::storage {

// One property of all candidates of a record, written together. The reader knows how many values
// there are; false means that the bytes do not decode. docs/storage.md gives the layout.

// Numbers below 2^62 of about the same size: the Golomb order that fits best, then each.
void write_numbers(BitWriter& out, std::span<const std::uint64_t> values);
[[nodiscard]] bool read_numbers(BitReader& in, std::span<std::uint64_t> values);

// Numbers below 2^62 that are all above some minimum: that, then the differences.
void write_above_minimum(BitWriter& out, std::span<const std::uint64_t> values);
[[nodiscard]] bool read_above_minimum(BitReader& in, std::span<std::uint64_t> values);

// Numbers that repeat: a place in the list of the last different ones, or the number itself.
void write_repeating(BitWriter& out, std::span<const std::uint64_t> values);
[[nodiscard]] bool read_repeating(BitReader& in, std::span<std::uint64_t> values);

// Places in a list: absent (core::kNoRank), the one after the last present one, or any other.
void write_ranks(BitWriter& out, std::span<const std::int16_t> ranks);
[[nodiscard]] bool read_ranks(BitReader& in, std::span<std::int16_t> ranks);

}  // namespace reformer::storage
