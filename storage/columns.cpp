#include "storage/columns.h"

#include "core/record.h"

#include <algorithm>
#include <array>
#include <limits>
#include <vector>

namespace reformer::storage {
namespace {

constexpr int kOrderBits = 6;
constexpr int kMaxOrder = 40;
constexpr int kMinimumOrder = 12;
constexpr int kWidthBits = 6;
constexpr int kRankOrder = 4;
constexpr std::uint64_t kMaxNumber = (std::uint64_t{1} << 62) - 1;

int best_order(std::span<const std::uint64_t> values) {
  if (values.empty()) {
    return 0;
  }
  int best = 0;
  std::uint64_t best_bits = std::numeric_limits<std::uint64_t>::max();
  const int width = width_of(*std::max_element(values.begin(), values.end()));
  for (int order = 0; order <= std::min(width, kMaxOrder); ++order) {
    std::uint64_t bits = 0;
    for (const std::uint64_t value : values) {
      bits += static_cast<std::uint64_t>(golomb_bits(value, order));
    }
    if (bits < best_bits) {
      best_bits = bits;
      best = order;
    }
  }
  return best;
}

// The last different values, the latest first; bounded, so that a long column stays cheap.
class RecentValues {
 public:
  [[nodiscard]] std::size_t size() const { return size_; }

  // The place of `value`, or size().
  [[nodiscard]] std::size_t find(std::uint64_t value) const {
    return static_cast<std::size_t>(
        std::find(values_.begin(), values_.begin() + static_cast<std::ptrdiff_t>(size_), value) -
        values_.begin());
  }
  [[nodiscard]] std::uint64_t at(std::size_t place) const { return values_[place]; }
  // Brings the value, which stands at `place` or nowhere (size()), to the front.
  void use(std::uint64_t value, std::size_t place) {
    if (place == size_) {
      size_ = std::min(size_ + 1, values_.size());
      place = size_ - 1;  // of the new place, or of the oldest value
    }
    std::copy_backward(values_.begin(),
                       values_.begin() + static_cast<std::ptrdiff_t>(place),
                       values_.begin() + static_cast<std::ptrdiff_t>(place) + 1);
    values_.front() = value;
  }

 private:
  std::array<std::uint64_t, 64> values_{};
  std::size_t size_ = 0;
};

// The last value of each group.
class LastOfGroup {
 public:
  // A place for it, zero at first.
  std::uint64_t& operator[](std::int32_t group) {
    for (Entry& entry : entries_) {
      if (entry.group == group) {
        return entry.value;
      }
    }
    return entries_.emplace_back(Entry{group, 0}).value;
  }

 private:
  struct Entry {
    std::int32_t group;
    std::uint64_t value;
  };
  std::vector<Entry> entries_;  // a record has a dozen groups
};

// How a rank follows from the ones before it.
enum RankState : int { kAbsent, kNext, kOther };
constexpr int kRankStates = 3;

}  // namespace

void write_numbers(BitWriter& out, std::span<const std::uint64_t> values) {
  const int order = best_order(values);
  out.bits(static_cast<std::uint64_t>(order), kOrderBits);
  for (const std::uint64_t value : values) {
    out.golomb(value, order);
  }
}

bool read_numbers(BitReader& in, std::span<std::uint64_t> values) {
  const int order = static_cast<int>(in.bits(kOrderBits));
  if (!in.ok() || order > kMaxOrder) {
    return false;
  }
  for (std::uint64_t& value : values) {
    value = in.golomb(order);
    if (!in.ok() || value > kMaxNumber) {
      return false;
    }
  }
  return true;
}

void write_above_minimum(BitWriter& out,
                         std::span<const std::uint64_t> values,
                         std::span<const std::uint8_t> groups) {
  if (values.empty()) {
    return;
  }
  const std::uint64_t minimum = *std::min_element(values.begin(), values.end());
  out.golomb(minimum, kMinimumOrder);
  std::array<std::vector<std::uint64_t>, kMaxGroups> above;
  for (std::size_t i = 0; i < values.size(); ++i) {
    above.at(groups[i]).push_back(values[i] - minimum);
  }
  std::array<int, kMaxGroups> orders{};
  for (std::size_t group = 0; group < kMaxGroups; ++group) {
    if (!above[group].empty()) {
      orders[group] = best_order(above[group]);
      out.bits(static_cast<std::uint64_t>(orders[group]), kOrderBits);
    }
  }
  for (std::size_t i = 0; i < values.size(); ++i) {
    out.golomb(values[i] - minimum, orders[groups[i]]);
  }
}

bool read_above_minimum(BitReader& in,
                        std::span<std::uint64_t> values,
                        std::span<const std::uint8_t> groups) {
  if (values.empty()) {
    return true;
  }
  const std::uint64_t minimum = in.golomb(kMinimumOrder);
  std::array<bool, kMaxGroups> occurs{};
  for (const std::uint8_t group : groups) {
    occurs.at(group) = true;
  }
  std::array<int, kMaxGroups> orders{};
  for (std::size_t group = 0; group < kMaxGroups; ++group) {
    orders[group] = occurs[group] ? static_cast<int>(in.bits(kOrderBits)) : 0;
    if (orders[group] > kMaxOrder) {
      return false;
    }
  }
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = in.golomb(orders[groups[i]]);
    if (!in.ok() || values[i] > kMaxNumber || minimum > kMaxNumber) {
      return false;
    }
    values[i] += minimum;
  }
  return true;
}

void write_repeating(BitWriter& out,
                     std::span<const std::uint64_t> values,
                     std::span<const std::int32_t> groups) {
  RecentValues recent;
  LastOfGroup last;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const std::uint64_t value = values[i];
    std::uint64_t& expected = last[groups[i]];
    const std::size_t place = recent.find(value);
    out.flag(value != expected);
    if (value != expected) {
      out.flag(place < recent.size());
      if (place < recent.size()) {
        out.golomb(place, 0);
      } else {
        const int width = width_of(value);  // the highest bit is known
        out.bits(static_cast<std::uint64_t>(width), kWidthBits);
        out.bits(width > 0 ? value ^ (std::uint64_t{1} << (width - 1)) : 0, std::max(width - 1, 0));
      }
    }
    expected = value;
    recent.use(value, place);
  }
}

bool read_repeating(BitReader& in,
                    std::span<std::uint64_t> values,
                    std::span<const std::int32_t> groups) {
  RecentValues recent;
  LastOfGroup last;
  for (std::size_t i = 0; i < values.size(); ++i) {
    std::uint64_t& value = last[groups[i]];
    std::size_t place = recent.size();
    if (!in.flag()) {
      place = recent.find(value);
    } else if (in.flag()) {
      place = in.golomb(0);
      if (!in.ok() || place >= recent.size()) {
        return false;
      }
      value = recent.at(place);
    } else {
      const int width = static_cast<int>(in.bits(kWidthBits));
      value = width > 0 ? in.bits(width - 1) | (std::uint64_t{1} << (width - 1)) : 0;
    }
    values[i] = value;
    recent.use(value, place);
  }
  return in.ok();
}

// One bit says whether the state is that of the candidate before; if not, a second one says which
// of the two others it is, counted in a circle.
void write_ranks(BitWriter& out, std::span<const std::int16_t> ranks) {
  int before = kAbsent;
  int next = 0;
  for (const std::int16_t rank : ranks) {
    const int state = rank == core::kNoRank ? kAbsent : rank == next ? kNext : kOther;
    out.flag(state != before);
    if (state != before) {
      out.flag((before + 1) % kRankStates != state);
    }
    if (state == kOther) {
      out.golomb(static_cast<std::uint64_t>(rank), kRankOrder);
    }
    if (state != kAbsent) {
      next = rank + 1;
    }
    before = state;
  }
}

bool read_ranks(BitReader& in, std::span<std::int16_t> ranks) {
  int state = kAbsent;
  std::uint64_t next = 0;
  for (std::int16_t& rank : ranks) {
    if (in.flag()) {
      state = (state + (in.flag() ? 2 : 1)) % kRankStates;
    }
    const std::uint64_t value = state == kOther ? in.golomb(kRankOrder) : next;
    if (!in.ok() || value > static_cast<std::uint64_t>(std::numeric_limits<std::int16_t>::max())) {
      return false;
    }
    rank = state == kAbsent ? core::kNoRank : static_cast<std::int16_t>(value);
    next = state == kAbsent ? next : value + 1;
  }
  return true;
}

}  // namespace reformer::storage
