#include "cli/units.h"

#include "core/utf8.h"

#include <fmt/format.h>

#include <array>
#include <cmath>

namespace reformer::cli {
namespace {

constexpr const char* kUnknown = "-";

// Three significant digits, as tables have room for.
std::string digits(double value) {
  const double size = std::abs(value);
  return fmt::format("{:.{}f}", value, size < 9.995 ? 2 : size < 99.95 ? 1 : 0);
}

// Bytes of the well-formed UTF-8 sequence at the start of `text`, or 0.
std::size_t sequence_length(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const std::size_t length = byte(0) < 0x80                       ? 1
                             : byte(0) >= 0xc2 && byte(0) <= 0xdf ? 2
                             : (byte(0) & 0xf0) == 0xe0           ? 3
                             : byte(0) >= 0xf0 && byte(0) <= 0xf4 ? 4
                                                                  : 0;
  if (length == 0 || length > text.size()) {
    return 0;
  }
  for (std::size_t i = 1; i < length; ++i) {
    if (core::starts_code_point(text[i])) {
      return 0;
    }
  }
  return length;
}

}  // namespace

std::string human_us(double microseconds) {
  if (!std::isfinite(microseconds)) {
    return kUnknown;
  }
  if (microseconds < 999.5) {
    return digits(microseconds) + " us";
  }
  if (microseconds < 999.5e3) {
    return digits(microseconds / 1e3) + " ms";
  }
  return digits(microseconds / 1e6) + " s";
}

std::string human_bytes(double bytes) {
  if (!std::isfinite(bytes) || bytes < 0) {
    return kUnknown;
  }
  constexpr std::array<const char*, 5> kUnits{"KiB", "MiB", "GiB", "TiB", "PiB"};
  if (bytes < 1024) {
    return fmt::format("{:.0f} B", bytes);
  }
  std::size_t unit = 0;
  for (bytes /= 1024; bytes >= 1023.5 && unit + 1 < kUnits.size(); ++unit) {
    bytes /= 1024;
  }
  return digits(bytes) + " " + kUnits[unit];
}

std::string human_seconds(double seconds) {
  if (!std::isfinite(seconds)) {
    return kUnknown;
  }
  if (seconds < 120) {
    return fmt::format("{:.0f} s", seconds);
  }
  if (seconds < 120 * 60) {
    return fmt::format("{:.0f} min", seconds / 60);
  }
  if (seconds < 48 * 3600) {
    return fmt::format("{:.1f} h", seconds / 3600);
  }
  return fmt::format("{:.0f} d", seconds / 86400);
}

std::string human_factor(double factor) {
  if (!std::isfinite(factor)) {
    return kUnknown;
  }
  return factor < 9.9995 ? fmt::format("{:.3f}x", factor) : digits(factor) + "x";
}

std::string human_share(double share) {
  return std::isfinite(share) ? fmt::format("{:.1f} %", 100 * share) : kUnknown;
}

std::string human_count(std::uint64_t count) {
  std::string text = std::to_string(count);
  for (std::size_t at = text.size(); at > 3;) {
    at -= 3;
    text.insert(at, 1, ' ');
  }
  return text;
}

std::string human_age(std::int64_t time_s, std::int64_t now_s) {
  if (time_s <= 0) {
    return kUnknown;
  }
  return time_s >= now_s ? "just now" : human_seconds(static_cast<double>(now_s - time_s)) + " ago";
}

std::string printable(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const std::size_t length = sequence_length(text);
    const auto first = static_cast<unsigned char>(text[0]);
    // C0, DEL, and C1 (0xc2 0x80 to 0xc2 0x9f), all of which terminals obey.
    const bool control =
        first < 0x20 || first == 0x7f ||
        (length == 2 && first == 0xc2 && static_cast<unsigned char>(text[1]) < 0xa0);
    if (length == 0 || control) {
      out += '?';
    } else {
      out += text.substr(0, length);
    }
    text.remove_prefix(length == 0 ? 1 : length);
  }
  return out;
}

}  // namespace reformer::cli
