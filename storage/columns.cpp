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
constexpr int kWidthBits = 7;
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
  std::uint64_t use(std::size_t place) {
    const auto at = values_.begin() + static_cast<std::ptrdiff_t>(place);
    std::rotate(values_.begin(), at, at + 1);
    return values_.front();
  }
  void add(std::uint64_t value) {
    size_ = std::min(size_ + 1, values_.size());
    std::shift_right(values_.begin(), values_.begin() + static_cast<std::ptrdiff_t>(size_), 1);
    values_.front() = value;
  }

 private:
  std::array<std::uint64_t, 64> values_{};
  std::size_t size_ = 0;
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

void write_above_minimum(BitWriter& out, std::span<const std::uint64_t> values) {
  if (values.empty()) {
    return;
  }
  const std::uint64_t minimum = *std::min_element(values.begin(), values.end());
  out.golomb(minimum, kMinimumOrder);
  std::vector<std::uint64_t> above(values.begin(), values.end());
  for (std::uint64_t& value : above) {
    value -= minimum;
  }
  write_numbers(out, above);
}

bool read_above_minimum(BitReader& in, std::span<std::uint64_t> values) {
  if (values.empty()) {
    return true;
  }
  const std::uint64_t minimum = in.golomb(kMinimumOrder);
  if (!read_numbers(in, values) || minimum > kMaxNumber) {
    return false;
  }
  for (std::uint64_t& value : values) {
    value += minimum;
  }
  return true;
}

void write_repeating(BitWriter& out, std::span<const std::uint64_t> values) {
  RecentValues recent;
  for (const std::uint64_t value : values) {
    const std::size_t place = recent.find(value);
    out.flag(place < recent.size());
    if (place < recent.size()) {
      out.golomb(place, 0);
      recent.use(place);
      continue;
    }
    const int width = width_of(value);
    out.bits(static_cast<std::uint64_t>(width), kWidthBits);
    out.bits(value, width);
    recent.add(value);
  }
}

bool read_repeating(BitReader& in, std::span<std::uint64_t> values) {
  RecentValues recent;
  for (std::uint64_t& value : values) {
    if (in.flag()) {
      const std::uint64_t place = in.golomb(0);
      if (!in.ok() || place >= recent.size()) {
        return false;
      }
      value = recent.use(place);
      continue;
    }
    const int width = static_cast<int>(in.bits(kWidthBits));
    if (!in.ok() || width > 64) {
      return false;
    }
    value = in.bits(width);
    recent.add(value);
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
