#include "core/shared_table.h"

#include "core/byte_io.h"
#include "core/codec.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstring>
#include <string>

#define XXH_INLINE_ALL
#include <xxhash.h>

// How a slot is read without a lock. The writer makes the sequence odd, changes the other words,
// makes it even; each store is a release. The reader loads the sequence, the words, the sequence
// again; each load is an acquire. If it sees any changed word, it also sees the odd sequence that
// was stored before it. Loads and stores with an order, rather than fences, because the thread
// sanitizer understands them; on x86-64 they cost the same.
//
// Heap bytes are plain memory: the writer fills them before the slot names them, and never again.
namespace reformer::core::shared_table {
namespace {

static_assert(std::endian::native == std::endian::little, "the table is little-endian");
static_assert(std::atomic_ref<std::uint64_t>::is_always_lock_free);

constexpr std::uint32_t kVersion = 1;
constexpr std::size_t kHashBytes = sizeof(KeyHash);
// A heap entry: checksum of what follows, key, encoded decision.
constexpr std::size_t kEntryPrefixBytes = sizeof(std::uint64_t) + kHashBytes;
constexpr std::size_t kHeapAlignment = 8;
// Longest run of slots that a reader looks at. At 3/4 full, runs of a million-slot table stay below
// 400; a hostile table cannot make a look-up slow.
constexpr std::uint32_t kMaxProbes = 1024;

// The words of a slot, by index.
enum SlotWord : std::size_t { kKeyLow, kKeyHigh, kSequenceAndLength, kOffset };
// In kSequenceAndLength: sequence in the low half, length in the high one.
constexpr std::uint64_t kSequenceMask = 0xffffffff;

struct KeyWords {
  std::uint64_t low;
  std::uint64_t high;
  friend bool operator==(const KeyWords&, const KeyWords&) = default;
};

KeyWords words_of(const KeyHash& key) {
  return std::bit_cast<KeyWords>(key.bytes);
}
bool never_used(const KeyWords& words) {
  return words.low == 0 && words.high == 0;
}

// atomic_ref of const is not in C++20; loads never write.
std::uint64_t load_word(const std::byte* address) {
  auto* word = reinterpret_cast<std::uint64_t*>(const_cast<std::byte*>(address));
  return std::atomic_ref(*word).load(std::memory_order_acquire);
}
void store_word(std::byte* address, std::uint64_t value) {
  std::atomic_ref(*reinterpret_cast<std::uint64_t*>(address))
      .store(value, std::memory_order_release);
}
std::uint32_t load_half(const std::byte* address) {
  auto* word = reinterpret_cast<std::uint32_t*>(const_cast<std::byte*>(address));
  return std::atomic_ref(*word).load(std::memory_order_acquire);
}
void store_half(std::byte* address, std::uint32_t value) {
  std::atomic_ref(*reinterpret_cast<std::uint32_t*>(address))
      .store(value, std::memory_order_release);
}

template <typename Bytes>
auto* slot_at(Bytes memory, std::uint32_t index) {
  return memory.data() + kHeaderBytes + std::size_t{index} * kSlotBytes;
}
template <typename Byte>
Byte* word_of(Byte* slot, SlotWord word) {
  return slot + word * sizeof(std::uint64_t);
}
KeyWords key_at(const std::byte* slot) {
  return {load_word(word_of(slot, kKeyLow)), load_word(word_of(slot, kKeyHigh))};
}

std::uint32_t first_slot(const KeyWords& key, std::uint32_t slot_count) {
  return static_cast<std::uint32_t>(key.low) & (slot_count - 1);
}
std::uint32_t probes(std::uint32_t slot_count) {
  return std::min(slot_count, kMaxProbes);
}

std::uint64_t checksum(std::span<const std::byte> entry) {
  const auto covered = entry.subspan(sizeof(std::uint64_t));
  return XXH3_64bits(covered.data(), covered.size());
}

// Whether a private copy of a heap entry is whole and of this key.
bool is_intact(std::span<const std::byte> entry, const KeyHash& key) {
  std::uint64_t stored = 0;
  std::memcpy(&stored, entry.data(), sizeof stored);
  return stored == checksum(entry) &&
         std::memcmp(entry.data() + sizeof stored, key.bytes.data(), kHashBytes) == 0;
}

// The slot of `key`, or the free one where it belongs; null if there is none within kMaxProbes.
std::byte* slot_for(std::span<std::byte> memory, std::uint32_t slot_count, const KeyWords& key) {
  std::uint32_t index = first_slot(key, slot_count);
  for (std::uint32_t probe = 0; probe < probes(slot_count); ++probe) {
    std::byte* slot = slot_at(memory, index);
    const KeyWords found = key_at(slot);
    if (found == key || never_used(found)) {
      return slot;
    }
    index = (index + 1) & (slot_count - 1);
  }
  return nullptr;
}

// Points a slot at a span of the heap; length 0 removes. Readers see the old span or the new one.
void swing(std::byte* slot, const KeyWords& key, std::uint64_t offset, std::uint64_t length) {
  std::byte* control = word_of(slot, kSequenceAndLength);
  const std::uint64_t sequence = load_word(control) & kSequenceMask;
  store_word(control, ((sequence + 1) & kSequenceMask) | (length << 32));
  store_word(word_of(slot, kOffset), offset);
  store_word(word_of(slot, kKeyHigh), key.high);
  store_word(word_of(slot, kKeyLow), key.low);
  store_word(control, ((sequence + 2) & kSequenceMask) | (length << 32));
}

std::uint64_t length_at(const std::byte* slot) {
  return load_word(word_of(slot, kSequenceAndLength)) >> 32;
}

}  // namespace

std::size_t table_bytes(std::uint32_t slot_count, std::uint64_t heap_bytes) {
  return kHeaderBytes + std::size_t{slot_count} * kSlotBytes + heap_bytes;
}

View::View(std::span<const std::byte> memory, std::uint32_t slot_count, std::size_t heap_bytes)
    : memory_(memory), slot_count_(slot_count), heap_bytes_(heap_bytes) {}

Result<View> View::open(std::span<const std::byte> memory) {
  if (memory.size() < kHeaderBytes ||
      reinterpret_cast<std::uintptr_t>(memory.data()) % alignof(std::uint64_t) != 0 ||
      load_word(memory.data() + offsetof(TableHeader, magic)) != kMagic) {
    return make_error(ErrorCode::kCorrupt, "not a shared table");
  }
  const std::uint32_t version = load_half(memory.data() + offsetof(TableHeader, version));
  if (version != kVersion) {
    return make_error(ErrorCode::kUnsupported,
                      "shared table of version " + std::to_string(version));
  }
  const std::uint32_t slots = load_half(memory.data() + offsetof(TableHeader, slot_count));
  const std::uint64_t heap = load_word(memory.data() + offsetof(TableHeader, heap_bytes));
  if (!std::has_single_bit(slots) || heap > memory.size() ||
      table_bytes(slots, heap) > memory.size()) {
    return make_error(ErrorCode::kCorrupt, "shared table of impossible size");
  }
  return View(memory, slots, heap);
}

std::span<const std::byte> View::locate(const KeyHash& key) const {
  const KeyWords wanted = words_of(key);
  if (never_used(wanted)) {
    return {};
  }
  std::uint32_t index = first_slot(wanted, slot_count_);
  for (std::uint32_t probe = 0; probe < probes(slot_count_); ++probe) {
    const std::byte* slot = slot_at(memory_, index);
    const KeyWords found = key_at(slot);
    if (found == wanted) {
      const std::uint64_t before = load_word(word_of(slot, kSequenceAndLength));
      const std::uint64_t offset = load_word(word_of(slot, kOffset));
      const std::uint64_t after = load_word(word_of(slot, kSequenceAndLength));
      const std::uint64_t length = before >> 32;
      if (before != after || (before & 1) != 0 || length <= kEntryPrefixBytes ||
          length > kMaxDecisionBytes || offset > heap_bytes_ || length > heap_bytes_ - offset) {
        return {};
      }
      return {slot_at(memory_, slot_count_) + offset, length};
    }
    if (never_used(found)) {
      return {};
    }
    index = (index + 1) & (slot_count_ - 1);
  }
  return {};
}

std::optional<Decision> View::find(const KeyHash& key) const {
  const std::span<const std::byte> shared = locate(key);
  if (shared.empty()) {
    return std::nullopt;
  }
  // The check and the decoder must see the same bytes, whatever the other side does meanwhile.
  std::array<std::byte, kMaxDecisionBytes> copy;  // NOLINT: filled up to length
  std::memcpy(copy.data(), shared.data(), shared.size());
  const std::span<const std::byte> entry(copy.data(), shared.size());
  if (!is_intact(entry, key)) {
    return std::nullopt;
  }
  ByteReader reader(entry.subspan(kEntryPrefixBytes));
  Decision decision;
  if (!decode(reader, decision) || !reader.at_end()) {
    return std::nullopt;
  }
  return decision;
}

bool View::copy_own(const KeyHash& key, std::vector<std::byte>& out) const {
  const std::span<const std::byte> entry = locate(key);
  if (entry.empty()) {
    return false;
  }
  out.insert(out.end(), entry.begin() + kEntryPrefixBytes, entry.end());
  return true;
}

bool View::superseded() const {
  return load_half(memory_.data() + offsetof(TableHeader, superseded)) != 0;
}

Writer::Writer(std::span<std::byte> memory,
               std::uint32_t slot_count,
               std::uint64_t heap_bytes,
               std::uint64_t generation)
    : memory_(memory), slot_count_(slot_count), heap_bytes_(heap_bytes) {
  store_half(memory_.data() + offsetof(TableHeader, version), kVersion);
  store_half(memory_.data() + offsetof(TableHeader, slot_count), slot_count);
  store_word(memory_.data() + offsetof(TableHeader, heap_bytes), heap_bytes);
  store_word(memory_.data() + offsetof(TableHeader, heap_used), 0);
  store_half(memory_.data() + offsetof(TableHeader, entries), 0);
  store_half(memory_.data() + offsetof(TableHeader, superseded), 0);
  store_word(memory_.data() + offsetof(TableHeader, generation), generation);
  store_word(memory_.data() + offsetof(TableHeader, magic), kMagic);  // last: now it is a table
}

Status Writer::put(const KeyHash& key, const Decision& decision) {
  const KeyWords words = words_of(key);
  if (never_used(words)) {
    return make_error(ErrorCode::kInvalidArgument, "the all-zero key marks free slots");
  }
  std::vector<std::byte> entry(kEntryPrefixBytes);
  std::memcpy(entry.data() + sizeof(std::uint64_t), key.bytes.data(), kHashBytes);
  ByteWriter writer(entry);
  encode(writer, decision);
  if (entry.size() > kMaxDecisionBytes) {
    return make_error(ErrorCode::kInvalidArgument, "decision too long for the shared table");
  }
  const std::uint64_t sum = checksum(entry);
  std::memcpy(entry.data(), &sum, sizeof sum);

  std::byte* slot = slot_for(memory_, slot_count_, words);
  const bool is_new = slot != nullptr && never_used(key_at(slot));
  if (slot == nullptr || (is_new && used_slots_ >= slot_count_ / 4 * 3)) {
    return make_error(ErrorCode::kExhausted, "shared table: slots are full");
  }
  std::byte* heap_used = memory_.data() + offsetof(TableHeader, heap_used);
  const std::uint64_t offset = load_word(heap_used);
  if (entry.size() > heap_bytes_ - offset) {
    return make_error(ErrorCode::kExhausted, "shared table: heap is full");
  }
  std::memcpy(slot_at(memory_, slot_count_) + offset, entry.data(), entry.size());
  const std::uint64_t end = offset + entry.size();
  const std::uint64_t padding = (kHeapAlignment - end % kHeapAlignment) % kHeapAlignment;
  store_word(heap_used, std::min(end + padding, heap_bytes_));

  used_slots_ += is_new ? 1 : 0;
  const bool was_absent = is_new || length_at(slot) == 0;
  swing(slot, words, offset, entry.size());
  if (was_absent) {
    store_half(memory_.data() + offsetof(TableHeader, entries), entries() + 1);
  }
  return ok_status();
}

void Writer::remove(const KeyHash& key) {
  const KeyWords words = words_of(key);
  std::byte* slot = slot_for(memory_, slot_count_, words);
  if (slot == nullptr || never_used(key_at(slot)) || length_at(slot) == 0) {
    return;
  }
  swing(slot, words, 0, 0);  // the key stays, so that runs of slots keep together
  store_half(memory_.data() + offsetof(TableHeader, entries), entries() - 1);
}

void Writer::supersede() {
  store_half(memory_.data() + offsetof(TableHeader, superseded), 1);
}

std::uint64_t Writer::heap_used() const {
  return load_word(memory_.data() + offsetof(TableHeader, heap_used));
}

std::uint32_t Writer::entries() const {
  return load_half(memory_.data() + offsetof(TableHeader, entries));
}

}  // namespace reformer::core::shared_table
