#include "storage/stored_values.h"

#include <algorithm>
#include <cmath>

namespace reformer::storage {
namespace {

constexpr double kMaxUnits = 0x1p53;  // below it a double is exact
constexpr std::size_t kMaxTextBytes = 4096;
constexpr int kLengthOrder = 5;

double units_of(float value, Unit unit) {
  return static_cast<double>(value) * static_cast<double>(unit);
}

}  // namespace

bool storable(float value, Unit unit) {
  return std::isnan(value) || (value >= 0 && units_of(value, unit) <= kMaxUnits);
}

std::uint64_t to_units(float value, Unit unit) {
  const auto units = static_cast<std::uint64_t>(std::llround(units_of(value, unit)));
  return value > 0 ? std::max<std::uint64_t>(units, 1) : units;
}

float from_units(std::uint64_t units, Unit unit) {
  return static_cast<float>(static_cast<double>(units) / static_cast<double>(unit));
}

void write_text(BitWriter& out, std::string_view text) {
  text = text.substr(0, kMaxTextBytes);
  out.golomb(text.size(), kLengthOrder);
  for (const char byte : text) {
    out.bits(static_cast<unsigned char>(byte), 8);
  }
}
bool read_text(BitReader& in, std::string& text) {
  const std::uint64_t size = in.golomb(kLengthOrder);
  if (!in.ok() || size > kMaxTextBytes) {
    return false;
  }
  text.clear();
  for (std::uint64_t i = 0; i < size && in.ok(); ++i) {
    text += static_cast<char>(in.bits(8));
  }
  return in.ok();
}

}  // namespace reformer::storage
