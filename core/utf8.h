#pragma once

namespace reformer::core {

// Whether a byte of UTF-8 is the first of a character: any but a continuation byte.
[[nodiscard]] constexpr bool starts_code_point(char byte) {
  return (static_cast<unsigned char>(byte) & 0xc0U) != 0x80U;
}

}  // namespace reformer::core
