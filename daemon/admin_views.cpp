#include "daemon/admin_views.h"

#include "core/problem_text.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>
#include <vector>

namespace reformer::daemon {
namespace {

core::Error wrong(const char* member, const char* expected) {
  return core::make_error(core::ErrorCode::kInvalidArgument,
                          std::string(member) + ": expected " + expected);
}

bool take_text(const Json& request, const char* name, std::string& out) {
  const auto found = request.find(name);
  if (found == request.end() || found->is_null()) {
    return true;
  }
  if (!found->is_string()) {
    return false;
  }
  out = found->get<std::string>();
  return true;
}

Json candidate_json(const core::Candidate& candidate, float best_us) {
  Json rank = Json::object();
  for (const auto& [name, value] : {std::pair{"a", candidate.rank_a},
                                    {"b", candidate.rank_b},
                                    {"fallback", candidate.rank_fallback}}) {
    if (value != core::kNoRank) {
      rank[name] = value;
    }
  }
  return {{"config", core::format_engine_config(candidate.config)},
          {"time_us", number_or_null(static_cast<double>(candidate.time_us))},
          {"slowdown", number_or_null(static_cast<double>(candidate.time_us / best_us))},
          {"timing", core::to_string(candidate.timing)},
          {"spread", number_or_null(static_cast<double>(candidate.spread))},
          {"samples", candidate.samples},
          {"rank", std::move(rank)},
          {"numerical_notes", candidate.numerical_notes},
          {"behavior_notes", candidate.behavior_notes},
          {"workspace_bytes", candidate.workspace_bytes},
          {"build_us", number_or_null(static_cast<double>(candidate.build_us))},
          {"status", candidate.status}};
}

}  // namespace

const char* layout_name(core::Layout layout) {
  return layout == core::Layout::kNhwc   ? "nhwc"
         : layout == core::Layout::kNchw ? "nchw"
                                         : "strided";
}

Json number_or_null(double value) {
  return std::isfinite(value) ? Json(value) : Json(nullptr);
}

Json decision_json(const core::Decision& decision) {
  Json entries = Json::array();
  for (const core::DecisionEntry& entry : decision.entries) {
    entries.push_back({{"config", core::format_engine_config(entry.config)},
                       {"time_us", number_or_null(static_cast<double>(entry.time_us))},
                       {"workspace_bytes", entry.workspace_bytes},
                       {"numerical_notes", entry.numerical_notes},
                       {"behavior_notes", entry.behavior_notes},
                       {"build_us", number_or_null(static_cast<double>(entry.build_us))}});
  }
  return {{"source", core::to_string(decision.source)},
          {"confidence", static_cast<double>(decision.confidence)},
          {"model", decision.model},
          {"entries", std::move(entries)}};
}

Json record_json(const core::Record& record, const storage::UseStatistics& uses) {
  std::vector<const core::Candidate*> ordered;
  for (const core::Candidate& candidate : record.candidates) {
    ordered.push_back(&candidate);
  }
  std::stable_sort(ordered.begin(), ordered.end(), [](const auto* one, const auto* other) {
    return one->timed() != other->timed() ? one->timed()
                                          : one->timed() && one->time_us < other->time_us;
  });
  const core::Candidate* const best = core::fastest(record);
  Json candidates = Json::array();
  for (const core::Candidate* candidate : ordered) {
    candidates.push_back(
        candidate_json(*candidate, best != nullptr ? best->time_us : core::kNoTime));
  }
  const core::Provenance& provenance = record.provenance;
  return {{"problem", core::format_problem(record.key.problem)},
          {"key", core::format_hash(core::hash_key(record.key))},
          {"device", core::format_device(record.key.context.device)},
          {"cudnn", record.key.context.cudnn_version},
          {"uses", uses.executions},
          {"provenance",
           {{"measured_at", provenance.measured_at_s},
            {"library", provenance.library},
            {"source", provenance.source},
            {"sm_clock_mhz", provenance.sm_clock_mhz},
            {"temperature_c", provenance.temperature_c},
            {"other_processes", provenance.other_processes},
            {"disturbed", provenance.disturbed}}},
          {"candidates", std::move(candidates)}};
}

Json list_row(const core::Record& record, const storage::UseStatistics& uses) {
  const core::Candidate* const best = core::fastest(record);
  const core::Candidate* const first = core::first_of_heuristic_a(record);
  Json row{{"problem", core::format_problem(record.key.problem)},
           {"device", core::format_device(record.key.context.device)},
           {"cudnn", record.key.context.cudnn_version}};
  row["best"] = best != nullptr ? Json(core::format_engine_config(best->config)) : Json(nullptr);
  row["time_us"] = best != nullptr ? Json(static_cast<double>(best->time_us)) : Json(nullptr);
  row["heuristic_a_us"] =
      first != nullptr ? Json(static_cast<double>(first->time_us)) : Json(nullptr);
  row["gain"] = first != nullptr && best != nullptr
                    ? Json(static_cast<double>(first->time_us) / static_cast<double>(best->time_us))
                    : Json(nullptr);
  row["candidates"] = record.candidates.size();
  row["uses"] = uses.executions;
  row["measured_at"] = record.provenance.measured_at_s;
  return row;
}

core::Result<core::Constraints> constraints_from(const Json& request) {
  core::Constraints constraints;
  const auto found = request.find("constraints");
  if (found == request.end() || found->is_null()) {
    return constraints;
  }
  if (!found->is_object()) {
    return wrong("constraints", "an object");
  }
  namespace note = core::numerical_note;
  const std::array<std::pair<const char*, std::uint32_t>, 4> flags{
      {{"deterministic", note::kNondeterministic},
       {"no_tensor_core", note::kTensorCore},
       {"no_down_convert", note::kDownConvertInputs},
       {"no_winograd", note::kWinograd}}};
  for (const auto& [name, bits] : flags) {
    const auto flag = found->find(name);
    if (flag != found->end() && !flag->is_boolean()) {
      return wrong(name, "true or false");
    }
    constraints.forbidden_numerical_notes |= flag != found->end() && flag->get<bool>() ? bits : 0;
  }
  const auto workspace = found->find("max_workspace_bytes");
  if (workspace != found->end() && !workspace->is_null()) {
    if (!workspace->is_number_unsigned()) {
      return wrong("max_workspace_bytes", "bytes");
    }
    constraints.max_workspace_bytes = static_cast<std::int64_t>(
        std::min<std::uint64_t>(workspace->get<std::uint64_t>(), std::uint64_t{1} << 62));
  }
  const auto build = found->find("max_build_us");
  if (build != found->end() && !build->is_null()) {
    if (!build->is_number() || build->get<double>() < 0) {
      return wrong("max_build_us", "microseconds");
    }
    constraints.max_build_us = static_cast<float>(build->get<double>());
  }
  return constraints;
}

bool RecordFilter::empty() const {
  return operation.empty() && type.empty() && layout.empty() && device.empty() &&
         contains.empty() && cudnn == 0;
}

bool RecordFilter::matches(const core::Record& record) const {
  const core::Problem& problem = record.key.problem;
  return (operation.empty() || operation == core::to_string(problem.operation)) &&
         (type.empty() || type == core::to_string(problem.x.type)) &&
         (layout.empty() || layout == layout_name(core::layout_of(problem.x))) &&
         (device.empty() ||
          core::format_device(record.key.context.device).find(device) != std::string::npos) &&
         (cudnn == 0 || cudnn == record.key.context.cudnn_version) &&
         (contains.empty() || core::format_problem(problem).find(contains) != std::string::npos);
}

core::Result<RecordFilter> filter_from(const Json& request) {
  RecordFilter filter;
  const std::array<std::pair<const char*, std::string*>, 5> texts{{{"op", &filter.operation},
                                                                   {"dtype", &filter.type},
                                                                   {"layout", &filter.layout},
                                                                   {"device", &filter.device},
                                                                   {"contains", &filter.contains}}};
  for (const auto& [name, text] : texts) {
    if (!take_text(request, name, *text)) {
      return wrong(name, "text");
    }
  }
  const auto version = request.find("cudnn");
  if (version != request.end() && !version->is_null()) {
    if (!version->is_number_unsigned()) {
      return wrong("cudnn", "a version number such as 91900");
    }
    filter.cudnn = version->get<std::int64_t>();
  }
  return filter;
}

}  // namespace reformer::daemon
