#include "storage/record_codec.h"

#include "storage/bit_stream.h"
#include "storage/candidate_columns.h"
#include "storage/problem_bits.h"
#include "storage/stored_values.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <vector>

namespace reformer::storage {
namespace {

using core::ErrorCode;
using core::make_error;
using core::Record;

constexpr std::uint64_t kForm = 1;
constexpr int kFormBits = 4;
constexpr int kCountOrder = 6;
constexpr int kNumberOrder = 2;
constexpr int kDateOrder = 31;
constexpr int kDurationOrder = 14;
constexpr std::int64_t kMaxDate = std::int64_t{1} << 60;

// A dictionary's number, or 0 and the text.
void write_text_once(BitWriter& out, const std::string& text, Dictionary& dictionary) {
  const std::uint32_t number = dictionary.number_of(text);
  out.golomb(number, kNumberOrder);
  if (number == Dictionary::kNoNumber) {
    write_text(out, text);
  }
}
bool read_text_once(BitReader& in, std::string& text, const Dictionary& dictionary) {
  const std::uint64_t number = in.golomb(kNumberOrder);
  if (in.ok() && number == Dictionary::kNoNumber) {
    return read_text(in, text);
  }
  const std::string* known = dictionary.text(number);
  if (known != nullptr) {
    text = *known;
  }
  return in.ok() && known != nullptr;
}

void write_context(BitWriter& out, const core::Context& context, Dictionary& dictionary) {
  const std::uint32_t number = dictionary.number_of(context);
  out.golomb(number, kNumberOrder);
  if (number == Dictionary::kNoNumber) {
    write_text(out, core::format_device(context.device));
    out.signed_golomb(context.cudnn_version, 0);
  }
}
bool read_context(BitReader& in, core::Context& context, const Dictionary& dictionary) {
  const std::uint64_t number = in.golomb(kNumberOrder);
  if (in.ok() && number == Dictionary::kNoNumber) {
    std::string text;
    if (!read_text(in, text)) {
      return false;
    }
    core::Result<core::DeviceFingerprint> device = core::parse_device(text);
    if (!device) {
      return false;
    }
    context = {.device = *device, .cudnn_version = in.signed_golomb(0)};
    return in.ok();
  }
  const core::Context* known = dictionary.context(number);
  if (known != nullptr) {
    context = *known;
  }
  return in.ok() && known != nullptr;
}

void write_provenance(BitWriter& out, const core::Provenance& provenance, Dictionary& dictionary) {
  out.signed_golomb(provenance.measured_at_s, kDateOrder);
  write_text_once(out, provenance.library, dictionary);
  write_text_once(out, provenance.source, dictionary);
  out.signed_golomb(provenance.sm_clock_mhz, 0);
  out.signed_golomb(provenance.temperature_c, 0);
  out.signed_golomb(provenance.other_processes, 0);
  out.flag(provenance.disturbed);
}
bool read_int32(BitReader& in, std::int32_t& value) {
  const std::int64_t wide = in.signed_golomb(0);
  value = static_cast<std::int32_t>(wide);
  return in.ok() && value == wide;
}
bool read_provenance(BitReader& in, core::Provenance& provenance, const Dictionary& dictionary) {
  provenance.measured_at_s = in.signed_golomb(kDateOrder);
  if (!read_text_once(in, provenance.library, dictionary) ||
      !read_text_once(in, provenance.source, dictionary) ||
      !read_int32(in, provenance.sm_clock_mhz) || !read_int32(in, provenance.temperature_c) ||
      !read_int32(in, provenance.other_processes)) {
    return false;
  }
  provenance.disturbed = in.flag();
  return in.ok();
}

void write_duration(BitWriter& out, float us) {
  out.flag(!std::isnan(us));
  if (!std::isnan(us)) {
    out.golomb(to_units(us, Unit::kTenthMicrosecond), kDurationOrder);
  }
}
float read_duration(BitReader& in) {
  return in.flag() ? from_units(in.golomb(kDurationOrder), Unit::kTenthMicrosecond) : core::kNoTime;
}

core::Status check_storable(const Record& record) {
  const auto refuse = [](std::string_view what) {
    return make_error(ErrorCode::kInvalidArgument, fmt::format("a record with {}", what));
  };
  if (record.candidates.size() > core::kMaxCandidates) {
    return refuse("too many candidates");
  }
  if (std::abs(record.provenance.measured_at_s) > kMaxDate) {
    return refuse("an impossible date");
  }
  for (const float us :
       {record.heuristic_a_us, record.heuristic_b_us, record.heuristic_fallback_us}) {
    if (!storable(us, Unit::kTenthMicrosecond)) {
      return refuse("an impossible heuristic time");
    }
  }
  for (const core::Candidate& candidate : record.candidates) {
    if (!storable(candidate.time_us, Unit::kNanosecond) ||
        !storable(candidate.build_us, Unit::kTenthMicrosecond) ||
        !storable(candidate.spread, Unit::kSpread)) {
      return refuse("a negative or infinite measurement");
    }
    if (std::min({candidate.rank_a, candidate.rank_b, candidate.rank_fallback}) < core::kNoRank ||
        candidate.workspace_bytes < 0) {
      return refuse("a negative rank or workspace");
    }
  }
  return core::ok_status();
}

}  // namespace

core::Result<std::string> encode_record(const Record& record, Dictionary& dictionary) {
  if (const core::Status checked = check_storable(record); !checked) {
    return checked.error();
  }
  std::string bytes;
  BitWriter out(bytes);
  out.bits(kForm, kFormBits);
  write_context(out, record.key.context, dictionary);
  write_problem(out, record.key.problem);
  write_provenance(out, record.provenance, dictionary);
  write_duration(out, record.heuristic_a_us);
  write_duration(out, record.heuristic_b_us);
  write_duration(out, record.heuristic_fallback_us);
  out.golomb(record.candidates.size(), kCountOrder);
  write_candidates(out, record.candidates, dictionary);
  out.finish();
  return bytes;
}

core::Result<Record> decode_record(std::string_view bytes, const Dictionary& dictionary) {
  BitReader in(std::as_bytes(std::span(bytes)));
  if (const std::uint64_t form = in.bits(kFormBits); in.ok() && form != kForm) {
    return make_error(ErrorCode::kUnsupported, fmt::format("a record of form {}", form));
  }
  const core::Error corrupt = make_error(ErrorCode::kCorrupt, "the record does not decode");
  Record record;
  if (!read_context(in, record.key.context, dictionary) || !read_problem(in, record.key.problem) ||
      !read_provenance(in, record.provenance, dictionary)) {
    return corrupt;
  }
  record.heuristic_a_us = read_duration(in);
  record.heuristic_b_us = read_duration(in);
  record.heuristic_fallback_us = read_duration(in);
  const std::uint64_t count = in.golomb(kCountOrder);
  if (!in.ok() || count > core::kMaxCandidates) {
    return corrupt;
  }
  record.candidates.resize(count);
  if (!read_candidates(in, record.candidates, dictionary) || !in.at_end() ||
      !check_storable(record)) {
    return corrupt;
  }
  return record;
}

}  // namespace reformer::storage
