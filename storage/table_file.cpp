#include "storage/table_file.h"

#include "storage/crc32c.h"

#include <zstd.h>

#include <algorithm>
#include <optional>
#include <vector>

namespace reformer::storage {
namespace {

using Bytes = std::span<const std::byte>;

constexpr std::byte kUncompressed{0};
constexpr std::byte kZstandard{7};
constexpr std::size_t kTrailerBytes = 5;  // how it is compressed, masked sum
constexpr std::size_t kMostBlockBytes = 1U << 15;
constexpr std::size_t kMostDamage = 1U << 13;  // behind more of it nothing is looked for
constexpr std::size_t kMostUnpacked = 1U << 22;
constexpr std::size_t kTagBytes = 8;  // behind each key: what is done, and the sequence number
constexpr std::uint8_t kErase = 0;
constexpr std::uint8_t kPut = 1;

std::string_view text_of(Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// The block at the beginning, without its trailer: it ends where the sum is right.
std::optional<Bytes> block_at(Bytes rest) {
  std::uint32_t crc = ~0U;
  const std::size_t most = std::min(rest.size(), kMostBlockBytes);
  for (std::size_t at = 0; at + kTrailerBytes <= most; ++at) {
    crc = crc32c_add(crc, rest[at]);  // up to the byte that says how it is compressed
    if ((rest[at] == kUncompressed || rest[at] == kZstandard) &&
        little_endian_32(&rest[at + 1]) == masked(~crc)) {
      return rest.first(at + 1);
    }
  }
  return std::nullopt;
}

bool read_varint(Bytes& in, std::uint32_t& value) {
  value = 0;
  for (unsigned shift = 0; shift < 32 && !in.empty(); shift += 7) {
    const auto byte = static_cast<std::uint32_t>(in.front());
    in = in.subspan(1);
    value |= (byte & 0x7f) << shift;
    if ((byte & 0x80) == 0) {
      return true;
    }
  }
  return false;
}

bool unpack(Bytes packed, std::vector<std::byte>& out) {
  std::uint32_t size = 0;
  if (!read_varint(packed, size) || size > kMostUnpacked) {
    return false;
  }
  out.resize(size);
  return ZSTD_decompress(out.data(), out.size(), packed.data(), packed.size()) == size;
}

// Keys with what they share with the one before left out; then the list of those that share
// nothing.
void read_block(Bytes block, const std::function<void(const TableEntry&)>& visit) {
  if (block.size() < sizeof(std::uint32_t)) {
    return;
  }
  // The top bit says that a hash index follows, which we never write.
  const std::size_t whole = little_endian_32(&block[block.size() - 4]);
  if (whole > block.size() / sizeof(std::uint32_t) - 1) {
    return;
  }
  Bytes in = block.first(block.size() - sizeof(std::uint32_t) * (whole + 1));
  std::string key;
  while (!in.empty()) {
    std::uint32_t shared = 0;
    std::uint32_t own = 0;
    std::uint32_t value_bytes = 0;
    if (!read_varint(in, shared) || !read_varint(in, own) || !read_varint(in, value_bytes) ||
        shared > key.size() || own > in.size() || value_bytes > in.size() - own) {
      return;
    }
    key.resize(shared);
    key.append(text_of(in.first(own)));
    const std::string_view value = text_of(in.subspan(own, value_bytes));
    in = in.subspan(std::size_t{own} + value_bytes);
    if (key.size() < kTagBytes) {
      return;
    }
    std::uint64_t tag = 0;
    std::memcpy(&tag, &key[key.size() - kTagBytes], kTagBytes);
    const auto kind = static_cast<std::uint8_t>(tag);
    if (kind == kPut || kind == kErase) {
      visit({.key = std::string_view(key).substr(0, key.size() - kTagBytes),
             .value = value,
             .sequence = tag >> 8,
             .erased = kind == kErase});
    }
  }
}

}  // namespace

std::string_view family_of_table(Bytes file) {
  constexpr std::string_view kProperty = "rocksdb.column.family.name";
  const std::string_view text = text_of(file);
  const std::size_t at = text.rfind(kProperty);
  if (at == std::string_view::npos || at == 0) {
    return {};
  }
  const auto size = static_cast<std::uint8_t>(text[at - 1]);  // the last of the three lengths
  return size < 0x80 ? text.substr(at + kProperty.size(), size) : std::string_view();
}

void read_table(Bytes file, const std::function<void(const TableEntry& entry)>& visit) {
  std::size_t damage = 0;
  std::vector<std::byte> unpacked;
  while (!file.empty() && damage < kMostDamage) {
    const std::optional<Bytes> block = block_at(file);
    if (!block) {
      file = file.subspan(1);
      ++damage;
      continue;
    }
    damage = 0;
    const Bytes body = block->first(block->size() - 1);
    if (block->back() == kUncompressed) {
      read_block(body, visit);
    } else if (unpack(body, unpacked)) {
      read_block(unpacked, visit);
    }
    file = file.subspan(block->size() + kTrailerBytes - 1);
  }
}

}  // namespace reformer::storage
