#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>

namespace reformer::storage {

struct TableEntry {
  std::string_view key;
  std::string_view value;
  std::uint64_t sequence = 0;
  bool erased = false;
};

// The column family that the properties of a table file name; empty where they are lost.
[[nodiscard]] std::string_view family_of_table(std::span<const std::byte> file);

// Gives the entries of all data blocks that are sound, without the table's index: for one that
// RocksDB does not open. Only tables with CRC-32C sums, uncompressed or of Zstandard, as this
// program writes them.
void read_table(std::span<const std::byte> file,
                const std::function<void(const TableEntry& entry)>& visit);

}  // namespace reformer::storage
