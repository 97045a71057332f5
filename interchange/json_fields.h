#pragma once

#include "core/result.h"

#include <cmath>
#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>

// Typed access to members of JSON from outside. Private to interchange/.
namespace reformer::interchange {

[[nodiscard]] inline core::Error bad_field(std::string_view field, std::string_view expected) {
  return core::make_error(core::ErrorCode::kCorrupt,
                          "\"" + std::string(field) + "\": expected " + std::string(expected));
}

// Reads an integer member in [low, high]; false where it is absent or something else.
template <typename Int>
[[nodiscard]] bool read_int(const nlohmann::json& object,
                            const char* field,
                            std::int64_t low,
                            std::int64_t high,
                            Int& value) {
  const auto found = object.find(field);
  if (found == object.end() || !found->is_number_integer()) {
    return false;
  }
  if (found->is_number_unsigned() &&
      found->get<std::uint64_t>() > static_cast<std::uint64_t>(high < 0 ? 0 : high)) {
    return false;
  }
  const auto number = found->get<std::int64_t>();
  if (number < low || number > high) {
    return false;
  }
  value = static_cast<Int>(number);
  return true;
}

// A time: finite and not negative.
[[nodiscard]] inline bool read_time(const nlohmann::json& json, float& value) {
  if (!json.is_number()) {
    return false;
  }
  const double number = json.get<double>();
  if (!std::isfinite(number) || number < 0 || number > std::numeric_limits<float>::max()) {
    return false;
  }
  value = static_cast<float>(number);
  return true;
}

}  // namespace reformer::interchange
