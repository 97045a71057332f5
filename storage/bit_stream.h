#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>

namespace reformer::storage {

// Bits, low first, and exponential-Golomb numbers: what records are made of. See docs/storage.md.
// Threads: one at a time.

// Bits of a number without leading zeros; std::bit_width's type differs between libraries.
[[nodiscard]] constexpr int width_of(std::uint64_t value) {
  return 64 - std::countl_zero(value);
}

// The bits that golomb(value, order) takes.
[[nodiscard]] constexpr int golomb_bits(std::uint64_t value, int order) {
  const int width = width_of((value >> order) + 1);
  return 2 * width - 1 + order;
}

class BitWriter {
 public:
  // Appends to `out`, which must outlive the writer.
  explicit BitWriter(std::string& out) : out_(&out) {}

  // The low `count` bits of value; the others must be zero. count is 0 to 64.
  void bits(std::uint64_t value, int count) {
    if (count > 32) {
      bits(value & 0xffffffff, 32);
      value >>= 32;
      count -= 32;
    }
    pending_ |= value << pending_count_;
    pending_count_ += count;
    while (pending_count_ >= 8) {
      out_->push_back(static_cast<char>(pending_ & 0xff));
      pending_ >>= 8;
      pending_count_ -= 8;
    }
  }
  void flag(bool value) { bits(value ? 1 : 0, 1); }
  // Any value below 2^63 - 1: short for those around 2^order and below. order is 0 to 40.
  void golomb(std::uint64_t value, int order) {
    const std::uint64_t quotient = (value >> order) + 1;
    const int width = width_of(quotient);
    bits(0, width - 1);
    bits(1, 1);
    // width is at least 1: quotient is.
    // NOLINTNEXTLINE(clang-analyzer-core.UndefinedBinaryOperatorResult)
    bits(quotient & ((std::uint64_t{1} << (width - 1)) - 1), width - 1);
    bits(value & ((std::uint64_t{1} << order) - 1), order);
  }
  // Signed, above -2^62 and below 2^62.
  void signed_golomb(std::int64_t value, int order) {
    golomb((static_cast<std::uint64_t>(value) << 1) ^ static_cast<std::uint64_t>(value >> 63),
           order);
  }
  // Zeros up to the next whole byte. Nothing may be written afterwards.
  void finish() {
    if (pending_count_ > 0) {
      bits(0, 8 - pending_count_);
    }
  }

 private:
  std::string* out_;
  std::uint64_t pending_ = 0;
  int pending_count_ = 0;  // below 8 between calls
};

// Never reads past the end: the first read that does not fit makes ok() false for good, and that
// one and all later ones give zeros.
class BitReader {
 public:
  explicit BitReader(std::span<const std::byte> bytes) : rest_(bytes) {}

  [[nodiscard]] bool ok() const { return ok_; }

  std::uint64_t bits(int count) {
    if (count > 32) {
      const std::uint64_t low = bits(32);
      return low | (bits(count - 32) << 32);
    }
    if (!need(count)) {
      return 0;
    }
    const std::uint64_t value = window_ & ((std::uint64_t{1} << count) - 1);
    drop(count);
    return value;
  }
  bool flag() { return bits(1) != 0; }
  std::uint64_t golomb(int order) {
    const int zeros = leading_zeros();
    drop(1);
    const std::uint64_t quotient = ((std::uint64_t{1} << zeros) | bits(zeros)) - 1;
    if (zeros + order > 63) {
      fail();
      return 0;
    }
    const std::uint64_t low = bits(order);
    return ok_ ? (quotient << order) | low : 0;
  }
  std::int64_t signed_golomb(int order) {
    const std::uint64_t value = golomb(order);
    return static_cast<std::int64_t>(value >> 1) ^ -static_cast<std::int64_t>(value & 1);
  }
  // Everything was read but for the zeros that fill the last byte.
  [[nodiscard]] bool at_end() const {
    return ok_ && rest_.empty() && available_ < 8 && window_ == 0;
  }
  void fail() {
    ok_ = false;
    rest_ = {};
    window_ = 0;
    available_ = 0;
  }

 private:
  // Zeros before the next one, which is left to be read; fails at more than 62.
  int leading_zeros() {
    int zeros = 0;
    while (need(1)) {
      if (window_ != 0) {
        const int run = std::countr_zero(window_);
        drop(run);
        zeros += run;
        break;
      }
      zeros += available_;
      drop(available_);
    }
    if (!ok_ || zeros > 62) {
      fail();
      return 0;
    }
    return zeros;
  }
  bool need(int count) {
    if (available_ < count) {
      refill();
      if (available_ < count) {
        fail();
      }
    }
    return ok_;
  }
  void refill() {
    if (rest_.size() >= sizeof(std::uint64_t)) {
      std::uint64_t word = 0;
      std::memcpy(&word, rest_.data(), sizeof word);
      const int taken = (63 - available_) / 8;
      window_ |= (word & (~std::uint64_t{0} >> (64 - 8 * taken))) << available_;
      available_ += 8 * taken;
      rest_ = rest_.subspan(static_cast<std::size_t>(taken));
      return;
    }
    while (available_ <= 55 && !rest_.empty()) {
      window_ |= static_cast<std::uint64_t>(rest_.front()) << available_;
      available_ += 8;
      rest_ = rest_.subspan(1);
    }
  }
  void drop(int count) {
    if (count <= available_) {
      window_ = count < 64 ? window_ >> count : 0;
      available_ -= count;
    }
  }

  std::span<const std::byte> rest_;
  std::uint64_t window_ = 0;  // bits that come next; zero above `available_`
  int available_ = 0;         // at most 63
  bool ok_ = true;
};

}  // namespace reformer::storage
