#pragma once

#include "core/device.h"
#include "core/problem.h"
#include "core/result.h"

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace reformer::core {

// Where a problem runs.
struct Context {
  DeviceFingerprint device;
  std::int64_t cudnn_version = 0;  // cudnnGetVersion(): 91900
  friend bool operator==(const Context&, const Context&) = default;
};

struct Key {
  Context context;
  Problem problem;  // canonical
  friend bool operator==(const Key&, const Key&) = default;
};

// 128 bits of xxh3 over context and problem bytes, big-endian canonical form. Collisions are ruled
// out by comparing the whole key where a record is read.
struct KeyHash {
  std::array<std::uint8_t, 16> bytes{};
  friend auto operator<=>(const KeyHash&, const KeyHash&) = default;
};

struct KeyHasher {
  [[nodiscard]] std::size_t operator()(const KeyHash& hash) const noexcept {
    std::size_t word = 0;
    std::memcpy(&word, hash.bytes.data(), sizeof word);
    return word;
  }
};

// The context's share of the hash: compute once, then hash problems against it (about 20 ns each,
// no allocation).
[[nodiscard]] std::uint64_t hash_context(const Context& context);
[[nodiscard]] KeyHash hash_problem(std::uint64_t context_hash, const Problem& canonical);
[[nodiscard]] KeyHash hash_key(const Key& key);

// 32 lower-case hexadecimal digits.
[[nodiscard]] std::string format_hash(const KeyHash& hash);
[[nodiscard]] Result<KeyHash> parse_hash(std::string_view text);

}  // namespace reformer::core
