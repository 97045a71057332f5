#include "core/codec.h"

#include <algorithm>
#include <cmath>

namespace reformer::core {
namespace {

constexpr std::size_t kMaxModelBytes = 255;
constexpr std::size_t kMaxLibraryBytes = 4096;
constexpr std::size_t kMaxSourceBytes = 255;
constexpr std::size_t kMaxStatusBytes = 255;

// A time or a duration as it may be stored: NaN for unknown, otherwise finite and not negative.
bool sane_time(float value) {
  return std::isnan(value) || (std::isfinite(value) && value >= 0);
}

// How a candidate begins: which of its parts follow.
enum CandidateBits : std::uint8_t {
  kHasTime = 1,
  kHasSpread = 2,
  kHasStatus = 4,
  kHasRanks = 8,
  kHasWorkspace = 16,
};

std::uint64_t shifted(std::int16_t rank) {
  return static_cast<std::uint64_t>(rank + 1);
}

bool read_rank(ByteReader& in, std::int16_t& rank) {
  const std::uint64_t value = in.varint();
  if (!in.ok() || value > kMaxCandidates) {
    return false;
  }
  rank = static_cast<std::int16_t>(static_cast<std::int64_t>(value) - 1);
  return true;
}

void encode_config(ByteWriter& out, const Candidate& candidate, ConfigTable* table) {
  if (table != nullptr) {
    out.varint(
        table->number_of({candidate.config, candidate.numerical_notes, candidate.behavior_notes}));
    return;
  }
  encode(out, candidate.config);
  out.u32(candidate.numerical_notes);
  out.u32(candidate.behavior_notes);
}

bool decode_config(ByteReader& in, Candidate& candidate, ConfigTable* table) {
  if (table == nullptr) {
    if (!decode(in, candidate.config)) {
      return false;
    }
    candidate.numerical_notes = in.u32();
    candidate.behavior_notes = in.u32();
    return in.ok();
  }
  const std::uint64_t number = in.varint();
  if (!in.ok() || number > std::numeric_limits<std::uint32_t>::max()) {
    return false;
  }
  const auto entry = table->entry_of(static_cast<std::uint32_t>(number));
  if (!entry) {
    return false;
  }
  candidate.config = entry->config;
  candidate.numerical_notes = entry->numerical_notes;
  candidate.behavior_notes = entry->behavior_notes;
  return true;
}

void encode_candidate(ByteWriter& out, const Candidate& candidate, ConfigTable* table) {
  const bool ranked = candidate.rank_a != kNoRank || candidate.rank_b != kNoRank ||
                      candidate.rank_fallback != kNoRank;
  encode_config(out, candidate, table);
  out.u8(static_cast<std::uint8_t>((std::isnan(candidate.time_us) ? 0 : kHasTime) |
                                   (std::isnan(candidate.spread) ? 0 : kHasSpread) |
                                   (candidate.status.empty() ? 0 : kHasStatus) |
                                   (ranked ? kHasRanks : 0) |
                                   (candidate.workspace_bytes != 0 ? kHasWorkspace : 0)));
  out.u8(static_cast<std::uint8_t>(candidate.timing));
  out.varint(candidate.samples);
  out.f32(candidate.build_us);
  if (ranked) {
    out.varint(shifted(candidate.rank_a));
    out.varint(shifted(candidate.rank_b));
    out.varint(shifted(candidate.rank_fallback));
  }
  if (candidate.workspace_bytes != 0) {
    out.zigzag(candidate.workspace_bytes);
  }
  if (!std::isnan(candidate.time_us)) {
    out.f32(candidate.time_us);
  }
  if (!std::isnan(candidate.spread)) {
    out.f32(candidate.spread);
  }
  if (!candidate.status.empty()) {
    out.text(std::string_view(candidate.status).substr(0, kMaxStatusBytes));
  }
}

bool decode_candidate(ByteReader& in, Candidate& candidate, ConfigTable* table) {
  if (!decode_config(in, candidate, table)) {
    return false;
  }
  const std::uint8_t bits = in.u8();
  const std::uint8_t timing = in.u8();
  const std::uint64_t samples = in.varint();
  candidate.build_us = in.f32();
  if (!in.ok() || timing > static_cast<std::uint8_t>(Timing::kInApplication) ||
      samples > std::numeric_limits<std::uint16_t>::max() || !sane_time(candidate.build_us)) {
    return false;
  }
  candidate.timing = static_cast<Timing>(timing);
  candidate.samples = static_cast<std::uint16_t>(samples);
  if ((bits & kHasRanks) != 0 &&
      !(read_rank(in, candidate.rank_a) && read_rank(in, candidate.rank_b) &&
        read_rank(in, candidate.rank_fallback))) {
    return false;
  }
  candidate.workspace_bytes = (bits & kHasWorkspace) != 0 ? in.zigzag() : 0;
  candidate.time_us = (bits & kHasTime) != 0 ? in.f32() : kNoTime;
  candidate.spread = (bits & kHasSpread) != 0 ? in.f32() : kNoTime;
  return in.ok() && candidate.workspace_bytes >= 0 && sane_time(candidate.time_us) &&
         sane_time(candidate.spread) &&
         ((bits & kHasStatus) == 0 || in.text(kMaxStatusBytes, candidate.status));
}

}  // namespace

void encode(ByteWriter& out, const Problem& problem) {
  out.bytes(std::as_bytes(std::span(&problem, 1)));
}

bool decode(ByteReader& in, Problem& problem) {
  Problem raw;
  in.bytes(std::as_writable_bytes(std::span(&raw, 1)));
  if (!in.ok()) {
    return false;
  }
  Result<Problem> canonical = canonicalise(raw);
  if (!canonical) {
    return false;
  }
  problem = *canonical;
  return true;
}

void encode(ByteWriter& out, const Context& context) {
  out.text(context.device.name);
  out.i32(context.device.compute_capability);
  out.i32(context.device.sm_count);
  out.i64(context.cudnn_version);
}

bool decode(ByteReader& in, Context& context) {
  if (!in.text(kMaxDeviceNameBytes, context.device.name) || context.device.name.empty()) {
    return false;
  }
  context.device.compute_capability = in.i32();
  context.device.sm_count = in.i32();
  context.cudnn_version = in.i64();
  // The name must survive a round trip through format_device.
  return in.ok() && context.device.compute_capability > 0 && context.device.sm_count > 0 &&
         context.cudnn_version > 0 && parse_device(format_device(context.device)).ok();
}

void encode(ByteWriter& out, const EngineConfig& config) {
  out.zigzag(config.engine());
  out.u8(static_cast<std::uint8_t>(config.knobs().size()));
  for (const Knob& knob : config.knobs()) {
    out.zigzag(knob.type);
    out.zigzag(knob.value);
  }
}

bool decode(ByteReader& in, EngineConfig& config) {
  const auto fits = [](std::int64_t value) {
    return value >= std::numeric_limits<std::int32_t>::min() &&
           value <= std::numeric_limits<std::int32_t>::max();
  };
  const std::int64_t engine = in.zigzag();
  const std::size_t count = in.u8();
  if (!in.ok() || !fits(engine) || count > kMaxKnobs) {
    return false;
  }
  config.reset(static_cast<std::int32_t>(engine));
  for (std::size_t i = 0; i < count; ++i) {
    const std::int64_t type = in.zigzag();
    const std::int64_t value = in.zigzag();
    if (!fits(type) || !fits(value) ||
        !config.append_knob({static_cast<std::int32_t>(type), static_cast<std::int32_t>(value)})) {
      return false;
    }
  }
  return in.ok();
}

void encode(ByteWriter& out, const DecisionEntry& entry) {
  encode(out, entry.config);
  out.u32(entry.numerical_notes);
  out.u32(entry.behavior_notes);
  out.zigzag(entry.workspace_bytes);
  out.f32(entry.time_us);
  out.f32(entry.build_us);
}

bool decode(ByteReader& in, DecisionEntry& entry) {
  if (!decode(in, entry.config)) {
    return false;
  }
  entry.numerical_notes = in.u32();
  entry.behavior_notes = in.u32();
  entry.workspace_bytes = in.zigzag();
  entry.time_us = in.f32();
  entry.build_us = in.f32();
  return in.ok() && entry.workspace_bytes >= -1 && sane_time(entry.time_us) &&
         sane_time(entry.build_us);
}

void encode(ByteWriter& out, const Decision& decision) {
  out.u8(static_cast<std::uint8_t>(decision.source));
  out.f32(decision.confidence);
  out.text(std::string_view(decision.model).substr(0, kMaxModelBytes));
  const std::size_t count = std::min(decision.entries.size(), kMaxDecisionEntries);
  out.u8(static_cast<std::uint8_t>(count));
  for (std::size_t i = 0; i < count; ++i) {
    encode(out, decision.entries[i]);
  }
}

bool decode(ByteReader& in, Decision& decision) {
  const std::uint8_t source = in.u8();
  decision.confidence = in.f32();
  if (!in.ok() || source > static_cast<std::uint8_t>(Source::kFrozen) ||
      !(decision.confidence >= 0 && decision.confidence <= 1) ||
      !in.text(kMaxModelBytes, decision.model)) {
    return false;
  }
  decision.source = static_cast<Source>(source);
  const std::size_t count = in.u8();
  if (!in.ok() || count > kMaxDecisionEntries) {
    return false;
  }
  decision.entries.resize(count);
  return std::all_of(decision.entries.begin(), decision.entries.end(), [&in](DecisionEntry& entry) {
    return decode(in, entry);
  });
}

void encode(ByteWriter& out, const Provenance& provenance) {
  out.i64(provenance.measured_at_s);
  out.text(std::string_view(provenance.library).substr(0, kMaxLibraryBytes));
  out.text(std::string_view(provenance.source).substr(0, kMaxSourceBytes));
  out.zigzag(provenance.sm_clock_mhz);
  out.zigzag(provenance.temperature_c);
  out.zigzag(provenance.other_processes);
  out.u8(provenance.disturbed ? 1 : 0);
}

bool decode(ByteReader& in, Provenance& provenance) {
  provenance.measured_at_s = in.i64();
  if (!in.text(kMaxLibraryBytes, provenance.library) ||
      !in.text(kMaxSourceBytes, provenance.source)) {
    return false;
  }
  provenance.sm_clock_mhz = static_cast<std::int32_t>(in.zigzag());
  provenance.temperature_c = static_cast<std::int32_t>(in.zigzag());
  provenance.other_processes = static_cast<std::int32_t>(in.zigzag());
  const std::uint8_t disturbed = in.u8();
  provenance.disturbed = disturbed == 1;
  return in.ok() && disturbed <= 1;
}

void encode(ByteWriter& out, const Record& record, ConfigTable* table) {
  encode(out, record.key.context);
  encode(out, record.key.problem);
  encode(out, record.provenance);
  out.f32(record.heuristic_a_us);
  out.f32(record.heuristic_b_us);
  out.f32(record.heuristic_fallback_us);
  const std::size_t count = std::min(record.candidates.size(), kMaxCandidates);
  out.varint(count);
  for (std::size_t i = 0; i < count; ++i) {
    encode_candidate(out, record.candidates[i], table);
  }
}

bool decode(ByteReader& in, Record& record, ConfigTable* table) {
  if (!decode(in, record.key.context) || !decode(in, record.key.problem) ||
      !decode(in, record.provenance)) {
    return false;
  }
  record.heuristic_a_us = in.f32();
  record.heuristic_b_us = in.f32();
  record.heuristic_fallback_us = in.f32();
  const std::uint64_t count = in.varint();
  // A candidate takes at least 8 bytes: a count cannot make us allocate more than was sent.
  if (!in.ok() || count > kMaxCandidates || count > in.remaining() / 8 + 1) {
    return false;
  }
  record.candidates.assign(count, {});
  return std::all_of(record.candidates.begin(), record.candidates.end(), [&](Candidate& candidate) {
    return decode_candidate(in, candidate, table);
  });
}

}  // namespace reformer::core
