#include "core/shared_table.h"

#include <boost/test/unit_test.hpp>

#include <atomic>
#include <bit>
#include <cstring>
#include <memory>
#include <new>
#include <random>
#include <string>
#include <thread>

namespace {

using namespace reformer::core;
namespace table = shared_table;

// Page-aligned zeroed memory, as mmap gives it.
class Memory {
 public:
  explicit Memory(std::size_t bytes) : bytes_(bytes), words_((bytes + 7) / 8) {}
  [[nodiscard]] std::span<std::byte> span() {
    return std::as_writable_bytes(std::span(words_)).first(bytes_);
  }

 private:
  std::size_t bytes_;
  std::vector<std::uint64_t> words_;
};

KeyHash key(std::uint64_t number) {
  KeyHash hash;
  const std::uint64_t spread = number * 0x9e3779b97f4a7c15;
  std::memcpy(hash.bytes.data(), &spread, sizeof spread);
  std::memcpy(hash.bytes.data() + 8, &number, sizeof number);
  return hash;
}

// Every field of it depends on `number`, so that a mixture of two is noticed.
Decision decision(std::int32_t number, std::size_t entries = 3) {
  Decision made{.source = Source::kMeasured, .confidence = 1, .model = "", .entries = {}};
  for (std::size_t i = 0; i < entries; ++i) {
    DecisionEntry entry;
    entry.config = EngineConfig(number);
    (void)entry.config.add_knob({.type = 2, .value = number});  // from reader threads too
    entry.time_us = static_cast<float>(number) + 1;
    entry.build_us = static_cast<float>(number);
    entry.workspace_bytes = number;
    made.entries.push_back(entry);
  }
  return made;
}

struct Table {
  Table(std::uint32_t slots, std::uint64_t heap)
      : memory(table::table_bytes(slots, heap)), writer(memory.span(), slots, heap, 1) {}
  [[nodiscard]] table::View view() { return table::View::open(memory.span()).value(); }

  Memory memory;
  table::Writer writer;
};

bool is_decision(const Decision& found, std::int32_t number) {
  return found.entries == decision(number, found.entries.size()).entries;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(shared_table_test)

BOOST_AUTO_TEST_CASE(find_of_an_unknown_key_is_absent) {
  Table shared(16, 4096);
  BOOST_TEST(!shared.view().find(key(1)).has_value());
  BOOST_TEST(!shared.view().find(KeyHash{}).has_value());
}

BOOST_AUTO_TEST_CASE(what_was_put_is_found_replaced_and_removed) {
  Table shared(16, 4096);
  BOOST_TEST(shared.writer.put(key(1), decision(1)).ok());
  BOOST_TEST(shared.writer.put(key(2), decision(2)).ok());
  const table::View view = shared.view();
  BOOST_TEST(is_decision(view.find(key(1)).value(), 1));
  BOOST_TEST(is_decision(view.find(key(2)).value(), 2));
  BOOST_TEST(shared.writer.entries() == 2U);

  BOOST_TEST(shared.writer.put(key(1), decision(3, 2)).ok());
  BOOST_TEST(is_decision(view.find(key(1)).value(), 3));
  BOOST_TEST(shared.writer.entries() == 2U);

  shared.writer.remove(key(1));
  shared.writer.remove(key(1));
  shared.writer.remove(key(99));
  BOOST_TEST(!view.find(key(1)).has_value());
  BOOST_TEST(shared.writer.entries() == 1U);

  BOOST_TEST(shared.writer.put(key(1), decision(4)).ok());
  BOOST_TEST(is_decision(view.find(key(1)).value(), 4));
  BOOST_TEST(shared.writer.entries() == 2U);
}

BOOST_AUTO_TEST_CASE(a_full_table_says_so_and_keeps_what_it_has) {
  Table shared(64, 1 << 16);
  for (std::uint32_t i = 1; i <= 48; ++i) {
    BOOST_TEST(shared.writer.put(key(i), decision(1)).ok());
  }
  const Status slots = shared.writer.put(key(49), decision(1));
  BOOST_TEST((slots.error().code == ErrorCode::kExhausted));
  BOOST_TEST(shared.view().find(key(48)).has_value());

  Table small(64, 512);
  int stored = 0;
  while (stored < 48 && small.writer.put(key(7), decision(stored, 4)).ok()) {
    ++stored;
  }
  BOOST_TEST(stored > 0);
  BOOST_TEST(stored < 48);
  BOOST_TEST(is_decision(small.view().find(key(7)).value(), stored - 1));
}

BOOST_AUTO_TEST_CASE(keys_that_fall_on_one_slot_are_all_found) {
  Table shared(64, 1 << 16);
  for (std::uint8_t i = 1; i <= 40; ++i) {
    KeyHash hash;  // the same low bytes: the same first slot
    hash.bytes[0] = 63;
    hash.bytes[15] = i;
    BOOST_TEST(shared.writer.put(hash, decision(i)).ok());
  }
  KeyHash hash;
  hash.bytes[0] = 63;
  hash.bytes[15] = 40;
  BOOST_TEST(is_decision(shared.view().find(hash).value(), 40));
  hash.bytes[15] = 41;
  BOOST_TEST(!shared.view().find(hash).has_value());
}

BOOST_AUTO_TEST_CASE(the_largest_decision_fits) {
  Table shared(16, 1 << 16);
  Decision large = decision(1 << 30, kMaxDecisionEntries);
  for (DecisionEntry& entry : large.entries) {
    for (std::int32_t type = 100; entry.config.knobs().size() < kMaxKnobs; ++type) {
      BOOST_REQUIRE(entry.config.add_knob({.type = type << 16, .value = -(1 << 30)}).ok());
    }
  }
  BOOST_TEST(shared.writer.put(key(1), large).ok());
  BOOST_TEST((shared.view().find(key(1)).value().entries == large.entries));
}

BOOST_AUTO_TEST_CASE(superseded_is_seen_by_readers) {
  Table shared(16, 4096);
  const table::View view = shared.view();
  BOOST_TEST(!view.superseded());
  shared.writer.supersede();
  BOOST_TEST(view.superseded());
}

BOOST_AUTO_TEST_CASE(memory_that_is_no_table_is_refused) {
  Table shared(16, 4096);
  const std::span<std::byte> whole = shared.memory.span();
  for (std::size_t size = 0; size < whole.size(); size += size < 64 ? 1 : 256) {
    BOOST_TEST(!table::View::open(whole.first(size)).ok());
  }
  const auto corrupted = [&](std::size_t offset, std::uint64_t value) {
    std::uint64_t saved = 0;
    std::memcpy(&saved, whole.data() + offset, sizeof saved);
    std::memcpy(whole.data() + offset, &value, sizeof value);
    const auto opened = table::View::open(whole);
    std::memcpy(whole.data() + offset, &saved, sizeof saved);
    return opened.ok() ? std::nullopt : std::optional(opened.error().code);
  };
  BOOST_TEST((corrupted(0, 1) == ErrorCode::kCorrupt));
  BOOST_TEST((corrupted(8, 2 | (16ULL << 32)) == ErrorCode::kUnsupported));
  BOOST_TEST((corrupted(8, 1 | (17ULL << 32)) == ErrorCode::kCorrupt));
  BOOST_TEST((corrupted(8, 1 | (1ULL << 63)) == ErrorCode::kCorrupt));
  BOOST_TEST((corrupted(8, 1) == ErrorCode::kCorrupt));
  BOOST_TEST((corrupted(16, ~0ULL) == ErrorCode::kCorrupt));
  BOOST_TEST((corrupted(16, 4097) == ErrorCode::kCorrupt));
  BOOST_TEST((corrupted(offsetof(table::TableHeader, heap_used), ~0ULL) == std::nullopt));
  BOOST_TEST(!table::View::open(whole.subspan(1)).ok());
}

// Under the address sanitizer a look-up out of bounds ends the test.
BOOST_AUTO_TEST_CASE(flipped_bits_give_absent_or_the_truth) {
  Table shared(8, 512);
  BOOST_REQUIRE(shared.writer.put(key(1), decision(1, 1)).ok());
  BOOST_REQUIRE(shared.writer.put(key(2), decision(2, 1)).ok());
  const table::View view = shared.view();  // opened before the damage
  const std::span<std::byte> body = shared.memory.span();
  for (std::size_t bit = table::kHeaderBytes * 8; bit < body.size() * 8; ++bit) {
    body[bit / 8] ^= std::byte(1U << (bit % 8));
    for (std::int32_t number = 1; number <= 2; ++number) {
      const auto found = view.find(key(static_cast<std::uint64_t>(number)));
      BOOST_TEST((!found.has_value() || is_decision(*found, number)));
    }
    body[bit / 8] ^= std::byte(1U << (bit % 8));
  }
}

BOOST_AUTO_TEST_CASE(random_slots_and_heap_are_never_read_out_of_bounds) {
  std::mt19937_64 random(1);
  for (int round = 0; round < 2'000; ++round) {
    Table shared(16, 256);
    const table::View view = shared.view();
    const std::span<std::byte> body = shared.memory.span().subspan(table::kHeaderBytes);
    for (std::byte& byte : body) {
      byte = std::byte(random());
    }
    for (std::size_t slot = 0; slot < 16; ++slot) {  // keys that do match
      const KeyHash wanted = key(slot + 1);
      std::memcpy(body.data() + slot * table::kSlotBytes, wanted.bytes.data(), 16);
      if (round % 2 == 0) {  // lengths and offsets near the edge
        const std::uint64_t words[] = {(random() % 300) << 32, random() % 300};
        std::memcpy(body.data() + slot * table::kSlotBytes + 16, words, sizeof words);
      }
    }
    for (std::uint64_t number = 1; number <= 16; ++number) {
      BOOST_TEST(!view.find(key(number)).has_value());
    }
  }
}

BOOST_AUTO_TEST_CASE(a_table_without_a_free_slot_ends_the_search) {
  constexpr std::uint32_t kSlots = 1 << 16;
  Table shared(kSlots, 64);
  const table::View view = shared.view();
  for (std::byte& byte : shared.memory.span().subspan(table::kHeaderBytes)) {
    byte = std::byte{1};
  }
  BOOST_TEST(!view.find(key(1)).has_value());
}

BOOST_AUTO_TEST_CASE(readers_see_the_old_answer_or_the_new_one_while_the_writer_works) {
  constexpr int kKeys = 8;
  constexpr std::int32_t kVersions = 4'000;
  Table shared(32, std::uint64_t{kVersions} * kKeys * 256);
  for (int i = 1; i <= kKeys; ++i) {
    BOOST_REQUIRE(shared.writer.put(key(static_cast<std::uint64_t>(i)), decision(0)).ok());
  }
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> mixed{0};
  std::atomic<std::uint64_t> backwards{0};
  std::atomic<std::uint64_t> seen{0};
  const auto read = [&] {
    const table::View view = shared.view();
    std::int32_t last[kKeys + 1] = {};
    while (!stop.load()) {
      for (int i = 1; i <= kKeys; ++i) {
        const auto found = view.find(key(static_cast<std::uint64_t>(i)));
        if (!found) {
          continue;  // met in the middle of a change
        }
        ++seen;
        const std::int32_t version = found->entries.at(0).config.engine();
        mixed += is_decision(*found, version) ? 0 : 1;
        backwards += version < last[i] ? 1 : 0;
        last[i] = version;
      }
    }
  };
  {
    std::jthread reader(read);
    std::jthread other(read);
    for (std::int32_t version = 1; version < kVersions; ++version) {
      for (int i = 1; i <= kKeys; ++i) {
        if (!shared.writer.put(key(static_cast<std::uint64_t>(i)), decision(version)).ok()) {
          version = kVersions;  // heap full: enough
          break;
        }
      }
    }
    while (seen.load() < 1'000) {
      std::this_thread::yield();
    }
    stop = true;
  }
  BOOST_TEST(mixed.load() == 0U);
  BOOST_TEST(backwards.load() == 0U);
}

BOOST_AUTO_TEST_SUITE_END()
