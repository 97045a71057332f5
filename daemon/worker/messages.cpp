#include "daemon/worker/messages.h"

#include "core/problem_text.h"
#include "interchange/measurements.h"

#include <unistd.h>

#include <nlohmann/json.hpp>

namespace reformer::worker {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

constexpr std::size_t kMaxExtra = 256;
constexpr std::int64_t kMaxMilliseconds = std::int64_t{3600} * 1000;

std::string dump(const ordered_json& object) {
  return object.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
}

// The word that a supervisor decides by.
std::string_view word_for(core::ErrorCode code, bool recorded) {
  switch (code) {
    case core::ErrorCode::kUnsupported:
      return "unsupported";
    case core::ErrorCode::kExhausted:
      return "out_of_memory";
    case core::ErrorCode::kTimeout:
      return "out_of_time";
    case core::ErrorCode::kDenied:
      return "busy";
    case core::ErrorCode::kInvalidArgument:
      return "invalid";
    case core::ErrorCode::kUnavailable:
      return recorded ? "not_recorded" : "unavailable";
    default:
      return "failed";
  }
}

bool read_bool(const json& object, const char* name, bool& value) {
  const auto found = object.find(name);
  if (found == object.end()) {
    return true;
  }
  value = found->is_boolean() && found->get<bool>();
  return found->is_boolean();
}

bool read_positive(const json& object, const char* name, std::int64_t limit, std::int64_t& value) {
  const auto found = object.find(name);
  if (found == object.end()) {
    return true;
  }
  if (!found->is_number_unsigned() ||
      found->get<std::uint64_t>() > static_cast<std::uint64_t>(limit)) {
    return false;
  }
  value = found->get<std::int64_t>();
  return value > 0;
}

core::Status read_context(const json& object, Job& job) {
  const auto device = object.find("device");
  const auto version = object.find("cudnn");
  if (device == object.end() && version == object.end()) {
    return core::ok_status();
  }
  if (device == object.end() || !device->is_string() || version == object.end() ||
      !version->is_number_unsigned()) {
    return core::make_error(core::ErrorCode::kInvalidArgument,
                            "device (text) and cudnn (number) go together");
  }
  const auto fingerprint = core::parse_device(device->get_ref<const std::string&>());
  if (!fingerprint) {
    return fingerprint.error();
  }
  job.context = core::Context{*fingerprint, version->get<std::int64_t>()};
  return core::ok_status();
}

core::Status read_extra(const json& object, Job& job) {
  const auto extra = object.find("extra");
  if (extra == object.end()) {
    return core::ok_status();
  }
  if (!extra->is_array() || extra->size() > kMaxExtra) {
    return core::make_error(core::ErrorCode::kInvalidArgument, "extra: a list of at most 256");
  }
  for (const json& text : *extra) {
    if (!text.is_string()) {
      return core::make_error(core::ErrorCode::kInvalidArgument, "extra: configurations as text");
    }
    const auto config = core::parse_engine_config(text.get_ref<const std::string&>());
    if (!config) {
      return config.error();
    }
    job.extra.push_back(*config);
  }
  return core::ok_status();
}

core::Result<Job> read_job(const json& object, std::uint64_t id) {
  Job job;
  job.id = id;
  const auto problem = object.find("problem");
  if (problem == object.end() || !problem->is_string()) {
    return core::make_error(core::ErrorCode::kInvalidArgument, "problem: expected problem text");
  }
  const auto parsed = core::parse_problem(problem->get_ref<const std::string&>());
  if (!parsed) {
    return parsed.error();
  }
  job.problem = *parsed;
  for (const auto step : {read_context, read_extra}) {
    if (const core::Status done = step(object, job); !done) {
      return done.error();
    }
  }
  std::int64_t max_ms = job.max_time.count();
  if (!read_bool(object, "explore", job.explore) ||
      !read_bool(object, "only_when_idle", job.only_when_idle) ||
      !read_positive(object, "max_ms", kMaxMilliseconds, max_ms) ||
      !read_positive(object, "max_memory_bytes", std::int64_t{1} << 50, job.max_memory_bytes)) {
    return core::make_error(core::ErrorCode::kInvalidArgument,
                            "explore, only_when_idle, max_ms or max_memory_bytes: wrong type");
  }
  job.max_time = std::chrono::milliseconds(max_ms);
  return job;
}

}  // namespace

std::variant<Request, BadRequest> parse_request(std::string_view line) {
  const json object = json::parse(line, nullptr, false);
  if (!object.is_object()) {
    return BadRequest{0, "not a JSON object"};
  }
  const auto cancel = object.find("cancel");
  if (cancel != object.end() && cancel->is_number_unsigned()) {
    return Request(Cancel{cancel->get<std::uint64_t>()});
  }
  const auto id = object.find("id");
  if (id == object.end() || !id->is_number_unsigned() || *id == 0) {
    return BadRequest{0, "id: expected a positive number"};
  }
  const auto number = id->get<std::uint64_t>();
  core::Result<Job> job = read_job(object, number);
  if (!job) {
    return BadRequest{number, job.error().message};
  }
  return Request(std::move(*job));
}

std::string format_hello(const Timer& timer) {
  ordered_json hello{{"hello", 1},
                     {"protocol", kWorkerProtocol},
                     {"pid", getpid()},
                     {"timer", timer.kind()},
                     {"library", timer.library()}};
  if (const auto context = timer.context()) {
    hello["device"] = core::format_device(context->device);
    hello["cudnn"] = context->cudnn_version;
  }
  return dump(hello);
}

std::string format_record(std::uint64_t id,
                          const core::Record& record,
                          std::span<const core::StoredPlan> plans) {
  std::string line =
      "{\"id\":" + std::to_string(id) + ",\"record\":" + interchange::record_to_json(record);
  if (!plans.empty()) {
    ordered_json list = ordered_json::array();
    for (const core::StoredPlan& plan : plans) {
      list.push_back({{"config", core::format_engine_config(plan.config)},
                      {"cuda", plan.cuda_version},
                      {"json", plan.json}});
    }
    line += ",\"plans\":" + dump(list);
  }
  return line + "}";
}

std::string format_error(std::uint64_t id, const core::Error& error, bool recorded) {
  return dump({{"id", id}, {"error", word_for(error.code, recorded)}, {"message", error.message}});
}

std::string format_bad_request(const BadRequest& bad) {
  return dump({{"id", bad.id}, {"error", "invalid"}, {"message", bad.message}});
}

}  // namespace reformer::worker
