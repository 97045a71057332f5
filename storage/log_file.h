#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <string>

namespace reformer::storage {

// What a file in the format of RocksDB's logs (write-ahead log, MANIFEST) is like.
struct LogCondition {
  // Bytes that are no sound entry stand before one that is: that is damage, no unfinished write.
  bool damaged_within = false;
  // It ends in bytes that are no sound entry: an unfinished last write, or damage there.
  bool torn_end = false;
};

// Gives every entry whose own bytes are sound to `visit`, in order: unlike RocksDB's own reader it
// looks for the next sound entry right behind the damage, not in the next 32 KiB.
LogCondition read_log(std::span<const std::byte> file,
                      const std::function<void(std::string&& entry)>& visit);

}  // namespace reformer::storage
