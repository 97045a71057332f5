#pragma once

#include "core/result.h"

#include <array>
#include <compare>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace reformer::core {

inline constexpr std::size_t kMaxKnobs = 16;

struct Knob {
  std::int32_t type = 0;   // cudnnBackendKnobType_t
  std::int32_t value = 0;  // fits: cuDNN's knob values are small integers
  friend auto operator<=>(const Knob&, const Knob&) = default;
};

// An engine configuration: an engine's global index and its knob choices, ascending by type. Means
// something only together with a cuDNN version and a device.
class EngineConfig {
 public:
  EngineConfig() = default;
  explicit EngineConfig(std::int32_t engine) : engine_(engine) {}

  [[nodiscard]] std::int32_t engine() const { return engine_; }
  [[nodiscard]] std::span<const Knob> knobs() const { return {knobs_.data(), knob_count_}; }

  // As EngineConfig(engine), at the cost of the knobs that it had.
  void reset(std::int32_t engine) noexcept {
    for (; knob_count_ > 0; --knob_count_) {
      knobs_[knob_count_ - 1] = {};
    }
    engine_ = engine;
  }
  // Keeps the order by type. Errors: kInvalidArgument for a repeated or negative type,
  // kExhausted for more than kMaxKnobs.
  Status add_knob(Knob knob);
  // For knobs that come in their order, as encoded ones do: false, and nothing added, where the
  // type is not above the last one's or there is no room.
  [[nodiscard]] bool append_knob(Knob knob) noexcept {
    const std::int32_t last = knob_count_ == 0 ? -1 : knobs_[knob_count_ - 1].type;
    if (knob_count_ == kMaxKnobs || knob.type <= last) {
      return false;
    }
    knobs_[knob_count_++] = knob;
    return true;
  }

  friend auto operator<=>(const EngineConfig&, const EngineConfig&) = default;

 private:
  std::int32_t engine_ = -1;
  std::uint32_t knob_count_ = 0;
  std::array<Knob, kMaxKnobs> knobs_{};  // those past knob_count_ stay zero
};

// "57:2=1,5=3,14=5"; an engine without knobs is "25". parse is the exact inverse.
[[nodiscard]] std::string format_engine_config(const EngineConfig& config);
[[nodiscard]] Result<EngineConfig> parse_engine_config(std::string_view text);

struct EngineConfigHash {
  [[nodiscard]] std::size_t operator()(const EngineConfig& config) const noexcept;
};

}  // namespace reformer::core
