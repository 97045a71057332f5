#pragma once

#include "core/decision.h"
#include "core/key.h"
#include "core/result.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

// The layout of the table of measured answers that reformerd publishes in a file (on a memory file
// system) and clients map read-only. docs/protocol.md describes it. One writer, any number of
// readers in other processes, no locks.
//
//   header (4096 bytes) | slots (capacity x 32 bytes) | heap (append only)
//
// A slot names a span of the heap; the heap holds encoded decisions, each with a checksum over key
// and bytes. Replacing an answer appends the new bytes and then swings the slot, so a reader sees
// the old answer or the new one. A reader that meets a torn slot (odd sequence, span out of bounds,
// checksum that does not fit) treats it as absent. When slots or heap are full, the writer builds a
// larger file under a temporary name, renames it over the old path and sets `superseded` in the
// old header; readers map the new one at their next look-up.
namespace reformer::core::shared_table {

inline constexpr std::uint64_t kMagic = 0x31454c4241544652;  // "RFTABLE1"
inline constexpr std::size_t kHeaderBytes = 4096;
inline constexpr std::size_t kSlotBytes = 32;
inline constexpr std::uint32_t kMaxDecisionBytes = 8192;

struct TableHeader {
  std::uint64_t magic;
  std::uint32_t version;     // 1
  std::uint32_t slot_count;  // a power of two
  std::uint64_t heap_bytes;
  std::uint64_t heap_used;  // written with release order; readers need not look at it
  std::uint32_t entries;
  std::uint32_t superseded;  // non-zero: a newer file stands at the same path
  std::uint64_t generation;
};

struct Slot {
  std::uint8_t key[16];    // all zero: never used
  std::uint32_t sequence;  // odd while the writer changes the slot
  std::uint32_t length;    // bytes in the heap, 0: removed
  std::uint64_t offset;    // from the start of the heap
};
static_assert(sizeof(Slot) == kSlotBytes);

// Reads a mapped table. The memory is never trusted: every offset is checked at each use. The span
// must outlive the view. Threads: any number.
class View {
 public:
  // Errors: kCorrupt (not a table, impossible sizes), kUnsupported (another version).
  static Result<View> open(std::span<const std::byte> memory);
  // The answer, absent where there is none or the slot is being changed. Allocates only the
  // decision.
  [[nodiscard]] std::optional<Decision> find(const KeyHash& key) const;
  // For the process that writes the table: appends the encoded decision to `out`, as put() wrote
  // it, without checking or decoding it. False, and nothing appended, where there is none.
  [[nodiscard]] bool copy_own(const KeyHash& key, std::vector<std::byte>& out) const;
  [[nodiscard]] bool superseded() const;

 private:
  // Where the entry of `key` lies, within bounds; empty where there is none.
  [[nodiscard]] std::span<const std::byte> locate(const KeyHash& key) const;
  View(std::span<const std::byte> memory, std::uint32_t slot_count, std::size_t heap_bytes);
  std::span<const std::byte> memory_;
  std::uint32_t slot_count_;
  std::size_t heap_bytes_;
};

// Bytes of a table for so many slots and so much heap.
[[nodiscard]] std::size_t table_bytes(std::uint32_t slot_count, std::uint64_t heap_bytes);

// Writes a table in memory that one process owns and others may be reading. Threads: one writer.
class Writer {
 public:
  // Formats `memory` (zeroed, table_bytes() long) as an empty table.
  Writer(std::span<std::byte> memory,
         std::uint32_t slot_count,
         std::uint64_t heap_bytes,
         std::uint64_t generation);
  // Adds or replaces. Errors: kExhausted when slots (over 3/4 used) or heap are full.
  Status put(const KeyHash& key, const Decision& decision);
  void remove(const KeyHash& key);
  void supersede();
  [[nodiscard]] std::uint32_t entries() const;
  [[nodiscard]] std::uint64_t heap_used() const;

 private:
  std::span<std::byte> memory_;
  std::uint32_t slot_count_;
  std::uint64_t heap_bytes_;
  std::uint32_t used_slots_ = 0;
};

}  // namespace reformer::core::shared_table
