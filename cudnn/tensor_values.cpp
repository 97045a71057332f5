#include "cudnn/tensor_values.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <random>

namespace reformer::cudnn {
namespace {

std::uint16_t to_half(float value) {
  // For |value| in [2^-14, 1): normal numbers only, rounded to zero.
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t sign = (bits >> 16) & 0x8000;
  const std::int32_t exponent = static_cast<std::int32_t>((bits >> 23) & 255) - 127 + 15;
  return exponent <= 0
             ? static_cast<std::uint16_t>(sign)
             : static_cast<std::uint16_t>(sign | (static_cast<std::uint32_t>(exponent) << 10) |
                                          ((bits >> 13) & 1023));
}

float from_half(std::uint16_t half) {
  const std::uint32_t exponent = (half >> 10) & 31;
  const std::uint32_t mantissa = half & 1023u;
  const float magnitude = exponent == 0    ? std::ldexp(static_cast<float>(mantissa), -24)
                          : exponent == 31 ? (mantissa == 0 ? INFINITY : NAN)
                                           : std::ldexp(static_cast<float>(mantissa + 1024),
                                                        static_cast<int>(exponent) - 25);
  return (half & 0x8000) != 0 ? -magnitude : magnitude;
}

float element_at(const std::byte* bytes, core::DataType type) {
  std::uint32_t word = 0;
  std::uint16_t half = 0;
  switch (type) {
    case core::DataType::kF32:
      std::memcpy(&word, bytes, sizeof word);
      return std::bit_cast<float>(word);
    case core::DataType::kF16:
      std::memcpy(&half, bytes, sizeof half);
      return from_half(half);
    case core::DataType::kBf16:
      std::memcpy(&half, bytes, sizeof half);
      return std::bit_cast<float>(static_cast<std::uint32_t>(half) << 16);
    default:
      return static_cast<float>(static_cast<std::int8_t>(*bytes));
  }
}

// Largest difference that two right kernels may show, over the root mean square of the output: sums
// in another order, TF32, Winograd.
constexpr float kTolerance = 0.1f;

}  // namespace

std::vector<std::byte> random_values(core::DataType type, std::size_t count) {
  std::vector<std::byte> bytes(count);
  std::mt19937 random(12345);
  const auto uniform = [&random] {
    return static_cast<float>(random()) * 0x1p-31f - 1.0f + 0x1p-12f;
  };
  const auto fill = [&bytes](auto make) {
    using Element = decltype(make());
    for (std::size_t at = 0; at + sizeof(Element) <= bytes.size(); at += sizeof(Element)) {
      const Element element = make();
      std::memcpy(bytes.data() + at, &element, sizeof element);
    }
  };
  switch (type) {
    case core::DataType::kF32:
    case core::DataType::kFastFloatForFp8:
      fill(uniform);
      break;
    case core::DataType::kF64:
      fill([&] { return static_cast<double>(uniform()); });
      break;
    case core::DataType::kF16:
      fill([&] { return to_half(uniform()); });
      break;
    case core::DataType::kBf16:
      fill([&] {
        return static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(uniform()) >> 16);
      });
      break;
    case core::DataType::kFp8E4m3:
    case core::DataType::kFp8E5m2:
      fill([&] { return static_cast<std::uint8_t>(random() & 0xbb); });
      break;
    default:
      fill([&] { return static_cast<std::uint8_t>(random() & 0x0f); });
      break;
  }
  return bytes;
}

bool agree(const std::vector<std::byte>& one,
           const std::vector<std::byte>& other,
           core::DataType type) {
  if (type != core::DataType::kF32 && type != core::DataType::kF16 &&
      type != core::DataType::kBf16) {
    return true;
  }
  const auto size = static_cast<std::size_t>(core::size_of(type));
  double squares = 0;
  float worst = 0;
  const std::size_t count = one.size() / size;
  for (std::size_t i = 0; i < count; ++i) {
    const float a = element_at(one.data() + i * size, type);
    const float b = element_at(other.data() + i * size, type);
    if (!std::isfinite(a) || !std::isfinite(b)) {
      if (std::isfinite(a) != std::isfinite(b)) {
        return false;
      }
      continue;
    }
    squares += static_cast<double>(b) * b;
    worst = std::max(worst, std::abs(a - b));
  }
  const double rms = std::sqrt(squares / static_cast<double>(std::max<std::size_t>(1, count)));
  return worst <= kTolerance * rms + 1e-6;
}

}  // namespace reformer::cudnn
