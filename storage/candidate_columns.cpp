#include "storage/candidate_columns.h"

#include "storage/columns.h"
#include "storage/stored_values.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace reformer::storage {
namespace {

using core::Candidate;

// How the candidates were timed: few combinations in a record, so one number each (see
// write_repeating). Low bits first: timing, which values follow, samples, number of the status
// text.
struct Manner {
  core::Timing timing = core::Timing::kNone;
  bool has_time = false;
  bool has_build = false;
  bool has_spread = false;
  std::uint16_t samples = 0;
  std::uint64_t status = 0;  // 0 none, else 1 + index

  [[nodiscard]] std::uint64_t packed() const {
    return static_cast<std::uint64_t>(timing) | (std::uint64_t{has_time} << 3) |
           (std::uint64_t{has_build} << 4) | (std::uint64_t{has_spread} << 5) |
           (std::uint64_t{samples} << 6) | (status << 22);
  }
  static Manner unpacked(std::uint64_t bits) {
    return {.timing = static_cast<core::Timing>(bits & 7),
            .has_time = (bits & 8) != 0,
            .has_build = (bits & 16) != 0,
            .has_spread = (bits & 32) != 0,
            .samples = static_cast<std::uint16_t>(bits >> 6),
            .status = bits >> 22};
  }
};

// A configuration with its notes, where the dictionary has no room.
void write_config(BitWriter& out, const Candidate& candidate) {
  out.signed_golomb(candidate.config.engine(), 6);
  out.golomb(candidate.config.knobs().size(), 2);
  for (const core::Knob& knob : candidate.config.knobs()) {
    out.signed_golomb(knob.type, 5);
    out.signed_golomb(knob.value, 3);
  }
  out.bits(candidate.numerical_notes, 32);
  out.bits(candidate.behavior_notes, 32);
}
bool read_config(BitReader& in, Candidate& candidate) {
  const auto read = [&in](int order) { return static_cast<std::int32_t>(in.signed_golomb(order)); };
  candidate.config = core::EngineConfig(read(6));
  const std::uint64_t knobs = in.golomb(2);
  if (!in.ok() || knobs > core::kMaxKnobs) {
    return false;
  }
  for (std::uint64_t i = 0; i < knobs; ++i) {
    const std::int32_t type = read(5);
    if (!candidate.config.add_knob({.type = type, .value = read(3)})) {
      return false;
    }
  }
  candidate.numerical_notes = static_cast<std::uint32_t>(in.bits(32));
  candidate.behavior_notes = static_cast<std::uint32_t>(in.bits(32));
  return in.ok();
}

void write_configs(BitWriter& out, std::span<const Candidate> candidates, Dictionary& dictionary) {
  std::vector<std::uint64_t> numbers;
  numbers.reserve(candidates.size());
  for (const Candidate& candidate : candidates) {
    numbers.push_back(dictionary.number_of(
        Dictionary::Config{candidate.config, candidate.numerical_notes, candidate.behavior_notes}));
  }
  write_numbers(out, numbers);
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    if (numbers[i] == Dictionary::kNoNumber) {
      write_config(out, candidates[i]);
    }
  }
}
bool read_configs(BitReader& in, std::span<Candidate> candidates, const Dictionary& dictionary) {
  std::vector<std::uint64_t> numbers(candidates.size());
  if (!read_numbers(in, numbers)) {
    return false;
  }
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    if (numbers[i] == Dictionary::kNoNumber) {
      if (!read_config(in, candidates[i])) {
        return false;
      }
      continue;
    }
    const Dictionary::Config* known = dictionary.config(numbers[i]);
    if (known == nullptr) {
      return false;
    }
    candidates[i].config = known->config;
    candidates[i].numerical_notes = known->numerical_notes;
    candidates[i].behavior_notes = known->behavior_notes;
  }
  return true;
}

constexpr std::int16_t Candidate::*kRankMembers[] = {
    &Candidate::rank_a, &Candidate::rank_b, &Candidate::rank_fallback};

void write_rank_columns(BitWriter& out, std::span<const Candidate> candidates) {
  std::vector<std::int16_t> ranks(candidates.size());
  for (const auto member : kRankMembers) {
    std::transform(
        candidates.begin(), candidates.end(), ranks.begin(), [member](const Candidate& candidate) {
          return candidate.*member;
        });
    write_ranks(out, ranks);
  }
}
bool read_rank_columns(BitReader& in, std::span<Candidate> candidates) {
  std::vector<std::int16_t> ranks(candidates.size());
  for (const auto member : kRankMembers) {
    if (!read_ranks(in, ranks)) {
      return false;
    }
    for (std::size_t i = 0; i < candidates.size(); ++i) {
      candidates[i].*member = ranks[i];
    }
  }
  return true;
}

std::vector<std::int32_t> one_group(std::size_t size) {
  return std::vector<std::int32_t>(size);
}

// The status texts that occur, then each candidate's manner.
void write_manners(BitWriter& out, std::span<const Candidate> candidates) {
  std::vector<std::string_view> texts;
  std::vector<std::uint64_t> packed;
  packed.reserve(candidates.size());
  for (const Candidate& candidate : candidates) {
    Manner manner{.timing = candidate.timing,
                  .has_time = !std::isnan(candidate.time_us),
                  .has_build = !std::isnan(candidate.build_us),
                  .has_spread = !std::isnan(candidate.spread),
                  .samples = candidate.samples,
                  .status = 0};
    if (!candidate.status.empty()) {
      const auto known = std::find(texts.begin(), texts.end(), candidate.status);
      manner.status = static_cast<std::uint64_t>(known - texts.begin()) + 1;
      if (known == texts.end()) {
        texts.push_back(candidate.status);
      }
    }
    packed.push_back(manner.packed());
  }
  out.golomb(texts.size(), 0);
  for (const std::string_view text : texts) {
    write_text(out, text);
  }
  write_repeating(out, packed, one_group(packed.size()));
}
bool read_manners(BitReader& in, std::span<Candidate> candidates, std::span<Manner> manners) {
  const std::uint64_t text_count = in.golomb(0);
  if (!in.ok() || text_count > candidates.size()) {
    return false;
  }
  std::vector<std::string> texts(text_count);
  for (std::string& text : texts) {
    if (!read_text(in, text)) {
      return false;
    }
  }
  std::vector<std::uint64_t> packed(candidates.size());
  if (!read_repeating(in, packed, one_group(packed.size()))) {
    return false;
  }
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    const Manner& manner = manners[i] = Manner::unpacked(packed[i]);
    if (manner.timing > core::Timing::kInApplication || manner.status > texts.size()) {
      return false;
    }
    candidates[i].timing = manner.timing;
    candidates[i].samples = manner.samples;
    if (manner.status > 0) {
      candidates[i].status = texts[manner.status - 1];
    }
  }
  return true;
}

// A measured property, and what says how large it will be.
struct Measured {
  float Candidate::*value;
  Unit unit;
  std::uint8_t (*group)(const Candidate& candidate);
};
constexpr Measured kBuild{
    &Candidate::build_us, Unit::kTenthMicrosecond, [](const Candidate& of) {
      return static_cast<std::uint8_t>(
          (of.behavior_notes & core::behavior_note::kRuntimeCompilation) != 0);
    }};
constexpr Measured kTime{&Candidate::time_us, Unit::kNanosecond, [](const Candidate& of) {
                           return static_cast<std::uint8_t>(of.timing);
                         }};
constexpr Measured kSpread{
    &Candidate::spread, Unit::kSpread, [](const Candidate&) { return std::uint8_t{0}; }};
static_assert(static_cast<std::size_t>(core::Timing::kInApplication) < kMaxGroups);

// The values of those candidates that have one.
void write_measured(BitWriter& out,
                    std::span<const Candidate> candidates,
                    const Measured& measured) {
  std::vector<std::uint64_t> units;
  std::vector<std::uint8_t> groups;
  for (const Candidate& candidate : candidates) {
    if (!std::isnan(candidate.*measured.value)) {
      units.push_back(to_units(candidate.*measured.value, measured.unit));
      groups.push_back(measured.group(candidate));
    }
  }
  write_above_minimum(out, units, groups);
}
bool read_measured(BitReader& in,
                   std::span<Candidate> candidates,
                   std::span<const Manner> manners,
                   bool Manner::*has_value,
                   const Measured& measured) {
  std::vector<std::uint8_t> groups;
  groups.reserve(candidates.size());
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    if (manners[i].*has_value) {
      groups.push_back(measured.group(candidates[i]));
    }
  }
  std::vector<std::uint64_t> units(groups.size());
  if (!read_above_minimum(in, units, groups)) {
    return false;
  }
  std::size_t next = 0;
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    candidates[i].*measured.value =
        manners[i].*has_value ? from_units(units[next++], measured.unit) : core::kNoTime;
  }
  return true;
}

// The configurations of an engine often need the same.
std::vector<std::int32_t> engines_of(std::span<const Candidate> candidates) {
  std::vector<std::int32_t> engines;
  engines.reserve(candidates.size());
  for (const Candidate& candidate : candidates) {
    engines.push_back(candidate.config.engine());
  }
  return engines;
}

void write_workspaces(BitWriter& out, std::span<const Candidate> candidates) {
  std::vector<std::uint64_t> bytes;
  bytes.reserve(candidates.size());
  for (const Candidate& candidate : candidates) {
    bytes.push_back(static_cast<std::uint64_t>(candidate.workspace_bytes));
  }
  write_repeating(out, bytes, engines_of(candidates));
}
bool read_workspaces(BitReader& in, std::span<Candidate> candidates) {
  std::vector<std::uint64_t> bytes(candidates.size());
  if (!read_repeating(in, bytes, engines_of(candidates))) {
    return false;
  }
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    candidates[i].workspace_bytes = static_cast<std::int64_t>(bytes[i]);
    if (candidates[i].workspace_bytes < 0) {
      return false;
    }
  }
  return true;
}

}  // namespace

void write_candidates(BitWriter& out,
                      std::span<const Candidate> candidates,
                      Dictionary& dictionary) {
  write_configs(out, candidates, dictionary);
  write_rank_columns(out, candidates);
  write_manners(out, candidates);
  write_workspaces(out, candidates);
  write_measured(out, candidates, kBuild);
  write_measured(out, candidates, kTime);
  write_measured(out, candidates, kSpread);
}

bool read_candidates(BitReader& in, std::span<Candidate> candidates, const Dictionary& dictionary) {
  std::vector<Manner> manners(candidates.size());
  return read_configs(in, candidates, dictionary) && read_rank_columns(in, candidates) &&
         read_manners(in, candidates, manners) && read_workspaces(in, candidates) &&
         read_measured(in, candidates, manners, &Manner::has_build, kBuild) &&
         read_measured(in, candidates, manners, &Manner::has_time, kTime) &&
         read_measured(in, candidates, manners, &Manner::has_spread, kSpread);
}

}  // namespace reformer::storage
