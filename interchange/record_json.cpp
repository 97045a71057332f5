#include "core/problem_text.h"
#include "interchange/json_depth.h"
#include "interchange/json_fields.h"
#include "interchange/measurements.h"
#include "interchange/problem_json.h"

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cmath>
#include <utility>

namespace reformer::interchange {
namespace {

using core::Candidate;
using core::Record;
using nlohmann::json;
using nlohmann::ordered_json;

constexpr std::string_view kSchema = "reformer-measurements/1";
constexpr std::size_t kMaxTextBytes = 4096;
constexpr std::int64_t kMaxWorkspace = std::int64_t{1} << 50;

// Launches behind a time, where the line does not say.
std::uint16_t usual_samples(core::Timing timing) {
  return timing == core::Timing::kNone ? 0 : timing == core::Timing::kGraphMedian ? 7 : 1;
}

// The double whose shortest decimal form is that of the float: 18.073, not 18.072999954223633.
double shortest(float value) {
  std::array<char, 32> digits{};
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr;
  double result = 0;
  std::from_chars(digits.data(), end, result);
  return result;
}

// A list of cuDNN's note numbers as bits; numbers above 31 are left out.
bool read_notes(const json& object, const char* field, std::uint32_t& bits) {
  const auto found = object.find(field);
  if (found == object.end()) {
    return true;
  }
  if (!found->is_array()) {
    return false;
  }
  for (const json& note : *found) {
    if (!note.is_number_unsigned()) {
      return false;
    }
    const auto number = note.get<std::uint64_t>();
    bits |= number < 32 ? 1u << number : 0u;
  }
  return true;
}

ordered_json notes(std::uint32_t bits) {
  ordered_json array = ordered_json::array();
  for (; bits != 0; bits &= bits - 1) {
    array.push_back(std::countr_zero(bits));
  }
  return array;
}

core::Result<core::EngineConfig> read_config(const json& object) {
  constexpr std::int64_t kMaxInt = std::numeric_limits<std::int32_t>::max();
  std::int32_t engine = 0;
  if (!read_int(object, "engine", 0, kMaxInt, engine)) {
    return bad_field("engine", "a number");
  }
  core::EngineConfig config(engine);
  const auto knobs = object.find("knobs");
  if (knobs == object.end()) {
    return config;
  }
  if (!knobs->is_object() || knobs->size() > core::kMaxKnobs) {
    return bad_field("knobs", "an object of at most 16 numbers");
  }
  for (const auto& [name, value] : knobs->items()) {
    core::Knob knob;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), knob.type);
    if (error != std::errc() || end != name.data() + name.size() || !value.is_number_integer()) {
      return bad_field("knobs", "knob numbers and values");
    }
    const auto number = value.get<std::int64_t>();
    if (number < std::numeric_limits<std::int32_t>::min() || number > kMaxInt) {
      return bad_field("knobs", "values of 32 bits");
    }
    knob.value = static_cast<std::int32_t>(number);
    if (const core::Status added = config.add_knob(knob); !added) {
      return bad_field("knobs", added.error().message);
    }
  }
  return config;
}

core::Status read_ranks(const json& object, Candidate& candidate) {
  const auto ranks = object.find("rank");
  if (ranks == object.end()) {
    return core::ok_status();
  }
  if (!ranks->is_object()) {
    return bad_field("rank", "an object");
  }
  const std::array<std::pair<const char*, std::int16_t*>, 3> lists{
      {{"a", &candidate.rank_a}, {"b", &candidate.rank_b}, {"fallback", &candidate.rank_fallback}}};
  for (const auto& [name, rank] : lists) {
    if (ranks->contains(name) && !read_int(*ranks, name, 0, core::kMaxCandidates - 1, *rank)) {
      return bad_field("rank", "positions from 0");
    }
  }
  return core::ok_status();
}

core::Status read_timing(const json& object, Candidate& candidate) {
  const auto time = object.find("time_us");
  if (time != object.end() && !time->is_null()) {
    if (!read_time(*time, candidate.time_us)) {
      return bad_field("time_us", "microseconds");
    }
    const auto timing = object.find("timing");
    const auto parsed = timing != object.end() && timing->is_string()
                            ? core::parse_timing(timing->get_ref<const std::string&>())
                            : std::nullopt;
    if (!parsed) {
      return bad_field("timing", "one of docs/measurements.md");
    }
    candidate.timing = *parsed;
  }
  candidate.samples = usual_samples(candidate.timing);
  if (object.contains("samples") && !read_int(object, "samples", 0, 65535, candidate.samples)) {
    return bad_field("samples", "a count");
  }
  const std::array<std::pair<const char*, float*>, 2> times{
      {{"spread", &candidate.spread}, {"build_us", &candidate.build_us}}};
  for (const auto& [name, value] : times) {
    const auto found = object.find(name);
    if (found != object.end() && !found->is_null() && !read_time(*found, *value)) {
      return bad_field(name, "a number that is not negative");
    }
  }
  return core::ok_status();
}

core::Result<Candidate> read_candidate(const json& object) {
  if (!object.is_object()) {
    return bad_field("candidates", "objects");
  }
  core::Result<core::EngineConfig> config = read_config(object);
  if (!config) {
    return config.error();
  }
  Candidate candidate;
  candidate.config = *config;
  for (const auto step : {read_ranks, read_timing}) {
    if (const core::Status done = step(object, candidate); !done) {
      return done.error();
    }
  }
  if (object.contains("workspace") && !object["workspace"].is_null() &&
      !read_int(object, "workspace", 0, kMaxWorkspace, candidate.workspace_bytes)) {
    return bad_field("workspace", "bytes");
  }
  if (!read_notes(object, "numerical_notes", candidate.numerical_notes) ||
      !read_notes(object, "behavior_notes", candidate.behavior_notes)) {
    return bad_field("numerical_notes or behavior_notes", "lists of numbers");
  }
  const auto status = object.find("status");
  if (status != object.end()) {
    if (!status->is_string()) {
      return bad_field("status", "text");
    }
    candidate.status = status->get<std::string>();
    candidate.status.resize(std::min<std::size_t>(candidate.status.size(), 255));
  }
  return candidate;
}

core::Status read_context(const json& object, core::Context& context) {
  const auto device = object.find("device");
  if (device == object.end() || !device->is_string()) {
    return bad_field("device", "a GPU's name");
  }
  context.device.name = device->get<std::string>();
  if (!read_int(object, "sm", 10, 10000, context.device.compute_capability)) {
    return bad_field("sm", "compute capability x 10");
  }
  if (!read_int(object, "cudnn", 1, 1000000000, context.cudnn_version)) {
    return bad_field("cudnn", "cudnnGetVersion()");
  }
  if (object.contains("sm_count")) {
    if (!read_int(object, "sm_count", 1, 100000, context.device.sm_count)) {
      return bad_field("sm_count", "a positive count");
    }
  } else if (const auto known = core::known_sm_count(context.device.name)) {
    context.device.sm_count = *known;
  } else {
    return core::make_error(core::ErrorCode::kInvalidArgument,
                            "\"sm_count\": missing, and not known for '" + context.device.name +
                                "'; add it to the lines");
  }
  if (!core::parse_device(core::format_device(context.device))) {
    return bad_field("device", "a GPU's name without control characters or '/'");
  }
  return core::ok_status();
}

core::Status read_heuristic_times(const json& object, Record& record) {
  const auto times = object.find("heuristic_us");
  if (times == object.end()) {
    return core::ok_status();
  }
  if (!times->is_object()) {
    return bad_field("heuristic_us", "an object");
  }
  const std::array<std::pair<const char*, float*>, 3> modes{
      {{"a", &record.heuristic_a_us},
       {"b", &record.heuristic_b_us},
       {"fallback", &record.heuristic_fallback_us}}};
  for (const auto& [name, value] : modes) {
    const auto found = times->find(name);
    if (found != times->end() && !found->is_null() && !read_time(*found, *value)) {
      return bad_field("heuristic_us", "microseconds");
    }
  }
  return core::ok_status();
}

core::Status read_provenance(const json& object, core::Provenance& provenance) {
  const auto found = object.find("provenance");
  if (found == object.end()) {
    return core::ok_status();
  }
  if (!found->is_object()) {
    return bad_field("provenance", "an object");
  }
  const auto text = [&](const char* name, std::string& out) {
    const auto member = found->find(name);
    if (member != found->end() && member->is_string()) {
      out = member->get<std::string>().substr(0, kMaxTextBytes);
    }
  };
  text("library", provenance.library);
  text("source", provenance.source);
  constexpr std::int64_t kMax = std::numeric_limits<std::int32_t>::max();
  bool good = !found->contains("measured_at") ||
              read_int(*found, "measured_at", 0, std::int64_t{1} << 40, provenance.measured_at_s);
  good &= !found->contains("sm_clock_mhz") ||
          read_int(*found, "sm_clock_mhz", 0, kMax, provenance.sm_clock_mhz);
  good &= !found->contains("temperature_c") ||
          read_int(*found, "temperature_c", -300, kMax, provenance.temperature_c);
  good &= !found->contains("other_processes") ||
          read_int(*found, "other_processes", -1, kMax, provenance.other_processes);
  const auto disturbed = found->find("disturbed");
  if (disturbed != found->end()) {
    good &= disturbed->is_boolean();
    provenance.disturbed = disturbed->is_boolean() && disturbed->get<bool>();
  }
  return good ? core::ok_status() : core::Status(bad_field("provenance", "numbers in range"));
}

core::Status read_candidates(const json& object, Record& record) {
  const auto candidates = object.find("candidates");
  if (candidates == object.end() || !candidates->is_array()) {
    return bad_field("candidates", "a list");
  }
  if (candidates->size() > core::kMaxCandidates) {
    return bad_field("candidates", "at most 4096");
  }
  record.candidates.reserve(candidates->size());
  for (const json& element : *candidates) {
    core::Result<Candidate> candidate = read_candidate(element);
    if (!candidate) {
      return core::in_context("candidates[" + std::to_string(record.candidates.size()) + "]",
                              candidate.error());
    }
    record.candidates.push_back(std::move(*candidate));
  }
  return core::ok_status();
}

core::Result<Record> read_record(const json& object) {
  if (!object.is_object()) {
    return core::make_error(core::ErrorCode::kCorrupt, "not a JSON object");
  }
  const auto schema = object.find("schema");
  if (schema == object.end() || !schema->is_string()) {
    return bad_field("schema", "\"reformer-measurements/1\"");
  }
  if (*schema != kSchema) {
    return core::make_error(
        core::ErrorCode::kUnsupported,
        "schema " + schema->dump() + ", this program reads " + std::string(kSchema));
  }
  Record record;
  const auto described = object.find("problem");
  if (described == object.end()) {
    return bad_field("problem", "an object");
  }
  core::Result<core::Problem> problem = problem_from_json(*described);
  if (!problem) {
    return problem.error();
  }
  record.key.problem = *problem;
  if (const core::Status done = read_context(object, record.key.context); !done) {
    return done.error();
  }
  if (const core::Status done = read_heuristic_times(object, record); !done) {
    return done.error();
  }
  if (const core::Status done = read_provenance(object, record.provenance); !done) {
    return done.error();
  }
  if (const core::Status done = read_candidates(object, record); !done) {
    return done.error();
  }
  return record;
}

ordered_json candidate_to_json(const Candidate& candidate) {
  ordered_json object{{"engine", candidate.config.engine()}, {"knobs", ordered_json::object()}};
  for (const core::Knob& knob : candidate.config.knobs()) {
    object["knobs"][std::to_string(knob.type)] = knob.value;
  }
  ordered_json rank = ordered_json::object();
  for (const auto& [name, value] : {std::pair{"a", candidate.rank_a},
                                    {"b", candidate.rank_b},
                                    {"fallback", candidate.rank_fallback}}) {
    if (value != core::kNoRank) {
      rank[name] = value;
    }
  }
  object["rank"] = std::move(rank);
  object["workspace"] = candidate.workspace_bytes;
  object["numerical_notes"] = notes(candidate.numerical_notes);
  object["behavior_notes"] = notes(candidate.behavior_notes);
  object["build_us"] = shortest(candidate.build_us);
  if (!std::isnan(candidate.time_us)) {
    object["time_us"] = shortest(candidate.time_us);
    object["timing"] = core::to_string(candidate.timing);
  }
  if (candidate.samples != usual_samples(candidate.timing)) {
    object["samples"] = candidate.samples;
  }
  if (!std::isnan(candidate.spread)) {
    object["spread"] = shortest(candidate.spread);
  }
  if (!candidate.status.empty()) {
    object["status"] = candidate.status;
  }
  return object;
}

ordered_json provenance_to_json(const core::Provenance& provenance) {
  const core::Provenance unknown;
  ordered_json object = ordered_json::object();
  const auto set = [&object](const char* name, const auto& value, const auto& usual) {
    if (value != usual) {
      object[name] = value;
    }
  };
  set("measured_at", provenance.measured_at_s, unknown.measured_at_s);
  set("library", provenance.library, unknown.library);
  set("source", provenance.source, unknown.source);
  set("sm_clock_mhz", provenance.sm_clock_mhz, unknown.sm_clock_mhz);
  set("temperature_c", provenance.temperature_c, unknown.temperature_c);
  set("other_processes", provenance.other_processes, unknown.other_processes);
  set("disturbed", provenance.disturbed, unknown.disturbed);
  return object;
}

}  // namespace

core::Result<Record> record_from_json(std::string_view line) {
  if (nested_too_deeply(line)) {
    return core::make_error(core::ErrorCode::kCorrupt, "nested too deeply");
  }
  const json parsed = json::parse(line, nullptr, false);
  if (parsed.is_discarded()) {
    return core::make_error(core::ErrorCode::kCorrupt, "not JSON");
  }
  return read_record(parsed);
}

std::string record_to_json(const Record& record) {
  const core::Context& context = record.key.context;
  ordered_json object{{"schema", kSchema},
                      {"device", context.device.name},
                      {"sm", context.device.compute_capability},
                      {"sm_count", context.device.sm_count},
                      {"cudnn", context.cudnn_version},
                      {"problem", problem_to_json(record.key.problem)}};
  ordered_json heuristics = ordered_json::object();
  for (const auto& [name, value] : {std::pair{"a", record.heuristic_a_us},
                                    {"b", record.heuristic_b_us},
                                    {"fallback", record.heuristic_fallback_us}}) {
    if (!std::isnan(value)) {
      heuristics[name] = shortest(value);
    }
  }
  if (!heuristics.empty()) {
    object["heuristic_us"] = std::move(heuristics);
  }
  if (ordered_json provenance = provenance_to_json(record.provenance); !provenance.empty()) {
    object["provenance"] = std::move(provenance);
  }
  object["candidates"] = ordered_json::array();
  for (const Candidate& candidate : record.candidates) {
    object["candidates"].push_back(candidate_to_json(candidate));
  }
  // Text from outside may not be UTF-8: replaced, never thrown on.
  return object.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
}

}  // namespace reformer::interchange
