#include "core/engine_config.h"

#include "core/append_int.h"

#include <algorithm>
#include <charconv>

namespace reformer::core {
namespace {

// Takes a non-negative decimal number off the front of `text`.
bool take_int(std::string_view& text, std::int32_t& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || value < 0 || text.front() == '-') {
    return false;
  }
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return true;
}

// The same, of a number that may be negative: some of cuDNN's knobs have -1. "-0" is none, because
// it would not be written so.
bool take_signed_int(std::string_view& text, std::int32_t& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || (value == 0 && text.front() == '-')) {
    return false;
  }
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return true;
}

bool take_char(std::string_view& text, char expected) {
  if (text.empty() || text.front() != expected) {
    return false;
  }
  text.remove_prefix(1);
  return true;
}

}  // namespace

Status EngineConfig::add_knob(Knob knob) {
  if (knob.type < 0) {
    return make_error(ErrorCode::kInvalidArgument, "negative knob type");
  }
  if (knob_count_ == kMaxKnobs) {
    return make_error(ErrorCode::kExhausted, "more than 16 knobs");
  }
  const auto begin = knobs_.begin();
  const auto end = begin + knob_count_;
  const auto place =
      std::lower_bound(begin, end, knob.type, [](const Knob& known, std::int32_t type) {
        return known.type < type;
      });
  if (place != end && place->type == knob.type) {
    return make_error(ErrorCode::kInvalidArgument, "knob type given twice");
  }
  std::copy_backward(place, end, end + 1);
  *place = knob;
  ++knob_count_;
  return ok_status();
}

std::string format_engine_config(const EngineConfig& config) {
  std::string text;
  append_int(text, config.engine());
  char separator = ':';
  for (const Knob& knob : config.knobs()) {
    text += separator;
    append_int(text, knob.type);
    text += '=';
    append_int(text, knob.value);
    separator = ',';
  }
  return text;
}

Result<EngineConfig> parse_engine_config(std::string_view text) {
  const auto bad = [whole = std::string(text)](std::string_view why) {
    return make_error(ErrorCode::kInvalidArgument,
                      "engine configuration '" + whole + "': " + std::string(why) +
                          "; expected ENGINE:KNOB=VALUE,... such as 57:2=1,5=3");
  };
  std::int32_t engine = 0;
  if (text.empty() || !take_int(text, engine)) {
    return bad("no engine number");
  }
  EngineConfig config(engine);
  char separator = ':';
  while (!text.empty()) {
    Knob knob;
    if (!take_char(text, separator) || text.empty() || !take_int(text, knob.type) ||
        !take_char(text, '=') || text.empty() || !take_signed_int(text, knob.value)) {
      return bad("not a list of knobs");
    }
    if (!config.knobs().empty() && config.knobs().back().type >= knob.type) {
      return bad("knobs must ascend by type");
    }
    if (const Status added = config.add_knob(knob); !added) {
      return bad(added.error().message);
    }
    separator = ',';
  }
  return config;
}

std::size_t EngineConfigHash::operator()(const EngineConfig& config) const noexcept {
  std::uint64_t hash = 0x9e3779b97f4a7c15ull + static_cast<std::uint32_t>(config.engine());
  const auto mix = [&hash](std::uint32_t value) {
    hash = (hash ^ value) * 0xff51afd7ed558ccdull;
    hash ^= hash >> 32;
  };
  for (const Knob& knob : config.knobs()) {
    mix(static_cast<std::uint32_t>(knob.type));
    mix(static_cast<std::uint32_t>(knob.value));
  }
  return static_cast<std::size_t>(hash);
}

}  // namespace reformer::core
