#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <span>

// IEEE 754 binary16, in which a trained model's weights are kept: half the memory to read in a
// prediction, and exact, because training rounds them before the judge and the figures in the file
// see what they predict.
namespace reformer::model {

[[nodiscard]] inline float half_to_float(std::uint16_t half) {
  // As a float of the same bits the exponent is 112 too small; also right for subnormal numbers.
  const float magnitude = std::bit_cast<float>((half & 0x7fffU) << 13) * 0x1p112F;
  const std::uint32_t sign = (half & 0x8000U) << 16;
  return std::bit_cast<float>(std::bit_cast<std::uint32_t>(magnitude) | sign);
}

inline constexpr float kLargestHalf = 65504;

// To nearest, ties to even. For |value| <= kLargestHalf.
[[nodiscard]] inline std::uint16_t float_to_half(float value) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  const auto sign = static_cast<std::uint16_t>((bits >> 16) & 0x8000U);
  // Adding this constant leaves 11 significant bits, or what a subnormal number has, at its end.
  const float magnitude = std::abs(value);
  const float scale = magnitude < 0x1p-14F ? 0x1p-14F : std::ldexp(1.0F, std::ilogb(magnitude));
  const float rounder = scale * 0x1.8p13F;
  const float rounded = (magnitude + rounder) - rounder;
  const std::uint32_t result = std::bit_cast<std::uint32_t>(rounded * 0x1p-112F) >> 13;
  return static_cast<std::uint16_t>(sign | result);
}

// The value itself where float16 cannot hold one near it.
[[nodiscard]] inline float rounded_to_half(float value) {
  return std::abs(value) <= kLargestHalf ? half_to_float(float_to_half(value)) : value;
}

inline void round_to_half(std::span<float> values) {
  for (float& value : values) {
    value = rounded_to_half(value);
  }
}

[[nodiscard]] inline bool all_are_halves(std::span<const float> values) {
  for (const float value : values) {
    if (!(std::abs(value) <= kLargestHalf) || half_to_float(float_to_half(value)) != value) {
      return false;
    }
  }
  return true;
}

}  // namespace reformer::model
