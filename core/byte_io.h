#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace reformer::core {

static_assert(std::endian::native == std::endian::little, "formats are little-endian, by memcpy");

// Appends little-endian values to bytes that someone else owns.
class ByteWriter {
 public:
  explicit ByteWriter(std::vector<std::byte>& out) : out_(&out) {}

  void u8(std::uint8_t value) { put(value); }
  void u16(std::uint16_t value) { put(value); }
  void u32(std::uint32_t value) { put(value); }
  void u64(std::uint64_t value) { put(value); }
  void i16(std::int16_t value) { put(value); }
  void i32(std::int32_t value) { put(value); }
  void i64(std::int64_t value) { put(value); }
  void f32(float value) { put(value); }

  // LEB128: 7 bits a byte, low first.
  void varint(std::uint64_t value) {
    for (; value >= 0x80; value >>= 7) {
      u8(static_cast<std::uint8_t>(value | 0x80));
    }
    u8(static_cast<std::uint8_t>(value));
  }
  // Signed, with small absolute values short.
  void zigzag(std::int64_t value) {
    varint((static_cast<std::uint64_t>(value) << 1) ^ static_cast<std::uint64_t>(value >> 63));
  }
  void bytes(std::span<const std::byte> more) {
    out_->insert(out_->end(), more.begin(), more.end());
  }
  // u16 length, then the bytes; cut at 65 535.
  void text(std::string_view value) {
    value = value.substr(0, std::numeric_limits<std::uint16_t>::max());
    u16(static_cast<std::uint16_t>(value.size()));
    bytes(std::as_bytes(std::span(value)));
  }

 private:
  template <typename T>
  void put(T value) {
    const std::size_t at = out_->size();
    out_->resize(at + sizeof value);
    std::memcpy(out_->data() + at, &value, sizeof value);
  }

  std::vector<std::byte>* out_;
};

// Reads them back, never past the end. The first read that does not fit makes ok() false for good,
// and that read and all later ones give zeros: check once, before using what was read.
class ByteReader {
 public:
  explicit ByteReader(std::span<const std::byte> bytes)
      : at_(bytes.data()), end_(bytes.data() + bytes.size()) {}

  [[nodiscard]] bool ok() const { return ok_; }
  [[nodiscard]] std::size_t remaining() const { return static_cast<std::size_t>(end_ - at_); }
  // Everything was read, and nothing beyond it.
  [[nodiscard]] bool at_end() const { return ok_ && at_ == end_; }

  std::uint8_t u8() { return get<std::uint8_t>(); }
  std::uint16_t u16() { return get<std::uint16_t>(); }
  std::uint32_t u32() { return get<std::uint32_t>(); }
  std::uint64_t u64() { return get<std::uint64_t>(); }
  std::int16_t i16() { return get<std::int16_t>(); }
  std::int32_t i32() { return get<std::int32_t>(); }
  std::int64_t i64() { return get<std::int64_t>(); }
  float f32() { return get<float>(); }

  std::uint64_t varint() {
    if (at_ != end_ && (*at_ & std::byte{0x80}) == std::byte{0}) {  // most are below 128
      return std::to_integer<std::uint64_t>(*at_++);
    }
    return long_varint();
  }
  std::int64_t zigzag() {
    const std::uint64_t value = varint();
    return static_cast<std::int64_t>(value >> 1) ^ -static_cast<std::int64_t>(value & 1);
  }
  void bytes(std::span<std::byte> out) {
    if (remaining() < out.size()) {
      fail();
      return;
    }
    if (!out.empty()) {
      std::memcpy(out.data(), at_, out.size());
    }
    at_ += out.size();
  }
  // False where the text is longer than `limit` or than what is left.
  bool text(std::size_t limit, std::string& out) {
    const std::size_t length = u16();
    if (!ok_ || length > limit || length > remaining()) {
      fail();
      return false;
    }
    out.assign(reinterpret_cast<const char*>(at_), length);
    at_ += length;
    return true;
  }
  void fail() {
    ok_ = false;
    at_ = end_;
  }

 private:
  template <typename T>
  T get() {
    if (remaining() < sizeof(T)) {
      fail();
      return T{};
    }
    T value;
    std::memcpy(&value, at_, sizeof value);
    at_ += sizeof value;
    return value;
  }
  std::uint64_t long_varint() {
    std::uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const std::uint8_t byte = u8();
      const auto bits = static_cast<std::uint64_t>(byte & 0x7f);
      if (shift == 63 && bits > 1) {
        break;
      }
      value |= bits << shift;
      if ((byte & 0x80) == 0) {
        return value;
      }
    }
    fail();
    return 0;
  }

  const std::byte* at_;
  const std::byte* end_;
  bool ok_ = true;
};

}  // namespace reformer::core
