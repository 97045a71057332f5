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

// Numbers below 2^62 that are all above some minimum: that, then the differences. Each number has a
// group, below kMaxGroups, which both sides know; those of a group are of about the same size.
inline constexpr std::size_t kMaxGroups = 8;
void write_above_minimum(BitWriter& out,
                         std::span<const std::uint64_t> values,
                         std::span<const std::uint8_t> groups);
[[nodiscard]] bool read_above_minimum(BitReader& in,
                                      std::span<std::uint64_t> values,
                                      std::span<const std::uint8_t> groups);

// Numbers below 2^63 that repeat: the last one of the same group, or a place in the list of the
// last different ones, or the number itself. Here a group may be any number.
void write_repeating(BitWriter& out,
                     std::span<const std::uint64_t> values,
                     std::span<const std::int32_t> groups);
[[nodiscard]] bool read_repeating(BitReader& in,
                                  std::span<std::uint64_t> values,
                                  std::span<const std::int32_t> groups);

// Places in a list: absent (core::kNoRank), the one after the last present one, or any other.
void write_ranks(BitWriter& out, std::span<const std::int16_t> ranks);
[[nodiscard]] bool read_ranks(BitReader& in, std::span<std::int16_t> ranks);

}  // namespace reformer::storage
