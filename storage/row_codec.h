#pragma once

#include "core/key.h"
#include "core/result.h"
#include "storage/database.h"

#include <string>
#include <string_view>

namespace reformer::storage {

// The bytes of everything in the database but records. Each begins with the number of its form, so
// that a later program can tell. Decoding reads bytes that may be damaged. Errors: kCorrupt.

[[nodiscard]] std::string encode_row(const UseStatistics& uses);
[[nodiscard]] std::string encode_row(const QueuedJob& job);
[[nodiscard]] std::string encode_row(const AccuracyRow& row);
[[nodiscard]] std::string encode_row(std::uint64_t number);

[[nodiscard]] core::Result<UseStatistics> decode_uses(std::string_view bytes);
[[nodiscard]] core::Result<QueuedJob> decode_job(std::string_view bytes);
[[nodiscard]] core::Result<AccuracyRow> decode_accuracy(std::string_view bytes);
[[nodiscard]] core::Result<std::uint64_t> decode_number(std::string_view bytes);

// Keys. A hash's 16 bytes; of the accuracy log, time and sequence so that byte order is their
// order.
[[nodiscard]] inline std::string_view key_of(const core::KeyHash& hash) {
  return {reinterpret_cast<const char*>(hash.bytes.data()), hash.bytes.size()};
}
// Of a key that is not 16 bytes long: the hash of zeros.
[[nodiscard]] core::KeyHash hash_of_key(std::string_view key);
[[nodiscard]] std::string accuracy_key(std::int64_t time_s, std::uint64_t sequence);
// The lowest possible time for a key that is none.
[[nodiscard]] std::int64_t time_of_accuracy_key(std::string_view key);

}  // namespace reformer::storage
