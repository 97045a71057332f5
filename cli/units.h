#pragma once

#include <cstdint>
#include <string>
#include <string_view>

// Quantities as people read them. Unknown (NaN) is "-" everywhere.
namespace reformer::cli {

[[nodiscard]] std::string human_us(double microseconds);     // "12.3 us", "4.56 ms", "1.20 s"
[[nodiscard]] std::string human_bytes(double bytes);         // "512 B", "1.5 MiB"; below 0 is "-"
[[nodiscard]] std::string human_seconds(double seconds);     // "42 s", "3 min", "5.2 h", "12 d"
[[nodiscard]] std::string human_factor(double factor);       // "1.130x"
[[nodiscard]] std::string human_share(double share);         // 0.753 is "75.3 %"
[[nodiscard]] std::string human_count(std::uint64_t count);  // "12 345"
// "3 min ago" for a Unix time; "-" for 0. `now_s` is the present.
[[nodiscard]] std::string human_age(std::int64_t time_s, std::int64_t now_s);

// Text from outside for a terminal: control characters and malformed UTF-8 become '?'.
[[nodiscard]] std::string printable(std::string_view text);

}  // namespace reformer::cli
