#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#if !defined(__SSE4_2__)
#include <array>
#endif

// CRC-32C as RocksDB writes it into its files, for reading them without RocksDB.
namespace reformer::storage {

#if defined(__SSE4_2__)
// One more byte. Begin with ~0 and turn the bits of the result over.
[[nodiscard]] inline std::uint32_t crc32c_add(std::uint32_t crc, std::byte byte) {
  return __builtin_ia32_crc32qi(crc, static_cast<unsigned char>(byte));
}
#else
inline constexpr std::array<std::uint32_t, 256> kCrc32c = [] {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t i = 0; i < 256; ++i) {
    std::uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) {
      crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82f63b78U : 0U);
    }
    table[i] = crc;
  }
  return table;
}();
[[nodiscard]] inline std::uint32_t crc32c_add(std::uint32_t crc, std::byte byte) {
  return kCrc32c[(crc ^ static_cast<std::uint32_t>(byte)) & 0xff] ^ (crc >> 8);
}
#endif

[[nodiscard]] inline std::uint32_t crc32c(std::span<const std::byte> bytes) {
  std::uint32_t crc = ~0U;
#if defined(__SSE4_2__)
  for (; bytes.size() >= sizeof(std::uint64_t); bytes = bytes.subspan(sizeof(std::uint64_t))) {
    std::uint64_t eight = 0;
    std::memcpy(&eight, bytes.data(), sizeof eight);
    crc = static_cast<std::uint32_t>(__builtin_ia32_crc32di(crc, eight));
  }
#endif
  for (const std::byte byte : bytes) {
    crc = crc32c_add(crc, byte);
  }
  return ~crc;
}

// RocksDB stores sums in this form, so that a sum over bytes that hold sums stays one.
[[nodiscard]] inline std::uint32_t masked(std::uint32_t crc) {
  return std::rotr(crc, 15) + 0xa282ead8U;
}

[[nodiscard]] inline std::uint32_t little_endian_32(const std::byte* bytes) {
  std::uint32_t value = 0;
  std::memcpy(&value, bytes, sizeof value);
  return value;  // x86-64
}

}  // namespace reformer::storage
