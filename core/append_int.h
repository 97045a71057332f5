#pragma once

#include <charconv>
#include <concepts>
#include <iterator>
#include <limits>
#include <string>

namespace reformer::core {

// Appends `value` in decimal.
template <std::integral Int>
void append_int(std::string& text, Int value) {
  char digits[std::numeric_limits<Int>::digits10 + 2];  // a sign, and one digit more
  const auto end = std::to_chars(std::begin(digits), std::end(digits), value).ptr;
  text.append(digits, end);
}

}  // namespace reformer::core
