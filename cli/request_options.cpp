#include "cli/request_options.h"

#include "core/problem_text.h"
#include "core/types.h"

#include <charconv>
#include <limits>

namespace reformer::cli {
namespace {

const std::vector<std::string> kOperations{"fwd", "dgrad", "wgrad"};
const std::vector<std::string> kLayouts{"nchw", "nhwc", "strided"};

// A CLI11 check; its error message is what it returns.
std::string check_data_type(const std::string& text) {
  return core::parse_data_type(text) ? "" : "unknown type " + text;
}

std::string check_duration(const std::string& text) {
  return parse_duration_s(text) ? "" : text + ": expected a time like 90s, 15m, 6h, 7d or 2w";
}

void put(Json& request, const char* name, const std::string& text) {
  if (!text.empty()) {
    request[name] = text;
  }
}

void put(Json& request, const char* name, std::int64_t number) {
  if (number != 0) {
    request[name] = number;
  }
}

void add_context(CLI::App& command, std::string& device, std::int64_t& cudnn) {
  command.add_option("--device", device, "GPU, as `list` shows it: \"NVIDIA H200/sm90/132\"");
  command.add_option("--cudnn", cudnn, "cuDNN version number: 91900")
      ->check(CLI::Range(std::int64_t{1}, std::numeric_limits<std::int64_t>::max()));
}

void add_kind(CLI::App& command, std::string& op, std::string& dtype, std::string& layout) {
  command.add_option("--op", op, "Operation: fwd, dgrad, wgrad")->check(CLI::IsMember(kOperations));
  command.add_option("--dtype", dtype, "Type of the image: f32, f16, bf16, i8, e4m3, ...")
      ->check(check_data_type);
  command.add_option("--layout", layout, "nchw, nhwc or strided")->check(CLI::IsMember(kLayouts));
}

}  // namespace

std::optional<std::int64_t> parse_duration_s(std::string_view text) {
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || number < 0) {
    return std::nullopt;
  }
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  const std::int64_t unit = text.empty() || text == "s" ? 1
                            : text == "m"               ? 60
                            : text == "h"               ? 3600
                            : text == "d"               ? 86400
                            : text == "w"               ? 7 * 86400
                                                        : 0;
  if (unit == 0 || number > std::numeric_limits<std::int32_t>::max()) {
    return std::nullopt;
  }
  return number * unit;
}

void put_problem(Json& request, const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) {
    text += (text.empty() ? "" : " ") + word;
  }
  if (text.empty()) {
    return;
  }
  const auto problem = core::parse_problem(text);
  if (!problem) {
    throw Failure(kExitUsage, "problem: " + problem.error().message);
  }
  request["problem"] = core::format_problem(*problem);
}

void ProblemOptions::add(CLI::App& command) {
  command
      .add_option("PROBLEM",
                  words_,
                  "The problem, quoted or not: fwd f16 nhwc n32 c64 h56 w56 k64 r3 s3 pad1")
      ->required();
  add_context(command, device_, cudnn_);
}

void ProblemOptions::fill(Json& request) const {
  put_problem(request, words_);
  put(request, "device", device_);
  put(request, "cudnn", cudnn_);
}

void FilterOptions::add(CLI::App& command) {
  add_kind(command, op_, dtype_, layout_);
  add_context(command, device_, cudnn_);
  command.add_option("--contains", contains_, "Only problems whose text has this in it: \"r3 s3\"");
}

void FilterOptions::fill(Json& request) const {
  put(request, "op", op_);
  put(request, "dtype", dtype_);
  put(request, "layout", layout_);
  put(request, "device", device_);
  put(request, "cudnn", cudnn_);
  put(request, "contains", contains_);
}

void ViewOptions::add(CLI::App& command) {
  CLI::Option* without = command.add_flag(
      "--without-tensor-cores",
      without_tensor_cores,
      "Only f32 problems, as an application sees them that refuses TF32: without the candidates "
      "that use tensor cores");
  command
      .add_flag("--deterministic",
                deterministic,
                "And without the non-deterministic ones; with --without-tensor-cores")
      ->needs(without);
}

void AccuracyOptions::add(CLI::App& command) {
  add_kind(command, op_, dtype_, layout_);
  command.add_option("--device", device_, "GPU, as `list` shows it");
  command.add_option("--since", since_, "Only what was verified in the last 6h, 7d, 2w, ...")
      ->check(check_duration);
  view_.add(command);
  command.add_flag(
      "--weighted-by-use", weighted_by_use_, "Count a problem as often as applications ran it");
  command.add_flag("--uncorrected",
                   uncorrected_,
                   "Without the correction for the order in which problems were verified");
}

void AccuracyOptions::fill(Json& request) const {
  put(request, "op", op_);
  put(request, "dtype", dtype_);
  put(request, "layout", layout_);
  put(request, "device", device_);
  if (!since_.empty()) {
    request["since_s"] = parse_duration_s(since_).value();
  }
  if (view_.without_tensor_cores) {
    request["view"] = view_.deterministic ? "deterministic" : "without_tensor_cores";
  }
  if (weighted_by_use_) {
    request["weighted_by_use"] = true;
  }
  if (uncorrected_) {
    request["uncorrected"] = true;
  }
}

void ConstraintOptions::add(CLI::App& command) {
  command.add_flag("--deterministic", deterministic_, "Only kernels that give the same bits again");
  command.add_flag("--no-tensor-core", no_tensor_core_, "No tensor cores (f32 without TF32)");
  command.add_flag("--no-down-convert", no_down_convert_, "No conversion to a narrower type");
  command.add_flag("--no-winograd", no_winograd_, "No Winograd transforms");
  command.add_option("--max-workspace", max_workspace_bytes_, "Workspace limit in bytes")
      ->type_name("BYTES");
  command.add_option("--max-build-us", max_build_us_, "Limit on building the plan, microseconds")
      ->type_name("US")
      ->check(CLI::NonNegativeNumber);
}

void ConstraintOptions::fill(Json& request) const {
  Json constraints = Json::object();
  const auto flag = [&](const char* name, bool value) {
    if (value) {
      constraints[name] = true;
    }
  };
  flag("deterministic", deterministic_);
  flag("no_tensor_core", no_tensor_core_);
  flag("no_down_convert", no_down_convert_);
  flag("no_winograd", no_winograd_);
  if (max_workspace_bytes_) {
    constraints["max_workspace_bytes"] = *max_workspace_bytes_;
  }
  if (max_build_us_) {
    constraints["max_build_us"] = *max_build_us_;
  }
  if (!constraints.empty()) {
    request["constraints"] = std::move(constraints);
  }
}

}  // namespace reformer::cli
