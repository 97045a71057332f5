#include "interchange/problem_json.h"

#include "core/problem_text.h"
#include "interchange/json_fields.h"

#include <algorithm>
#include <array>
#include <string>

namespace reformer::interchange {
namespace {

using core::Problem;
using nlohmann::json;
using nlohmann::ordered_json;

constexpr std::int64_t kMaxDim = std::int64_t{1} << 32;
constexpr std::int64_t kMaxSpatial = 1 << 24;
constexpr std::array<std::string_view, 3> kOperations{"conv_fwd", "conv_dgrad", "conv_wgrad"};

// [h, w] or [d, h, w] into [d, h, w]; `neutral` for a depth that is not there.
bool read_spatial(const json& object,
                  const char* field,
                  std::int32_t neutral,
                  std::array<std::int32_t, core::kSpatialAxes>& out) {
  const auto found = object.find(field);
  if (found == object.end() || !found->is_array() || found->size() < 2 || found->size() > 3) {
    return false;
  }
  out[0] = neutral;
  const std::size_t skip = core::kSpatialAxes - found->size();
  for (std::size_t i = 0; i < found->size(); ++i) {
    const json& element = (*found)[i];
    if (!element.is_number_unsigned() || element.get<std::uint64_t>() > kMaxSpatial) {
      return false;
    }
    out[skip + i] = element.get<std::int32_t>();
  }
  return true;
}

// Tensors of the problem, from dims that have been read and the common type, layout and alignment.
core::Status fill_tensors(const json& object, Problem& problem) {
  const auto type = core::parse_data_type(object.value("dtype", ""));
  if (!type) {
    return bad_field("dtype", "a data type such as \"f16\"");
  }
  const std::string name = object.value("layout", "");
  const bool nhwc = name == "nhwc" || name == "ndhwc";
  if (!nhwc && name != "nchw" && name != "ncdhw") {
    return bad_field("layout", "\"nchw\" or \"nhwc\"");
  }
  std::uint16_t alignment = core::kMaxAlignment;
  if (object.contains("alignment") && !read_int(object, "alignment", 1, 32768, alignment)) {
    return bad_field("alignment", "a power of two");
  }
  problem.y.dims = core::output_dims(problem);
  for (core::TensorSpec* tensor : {&problem.x, &problem.w, &problem.y}) {
    tensor->type = *type;
    tensor->alignment = alignment;
    for (const std::int64_t dim : tensor->dims) {
      if (dim <= 0) {
        return bad_field("problem", "a filter that fits into the padded image");
      }
    }
    tensor->strides =
        core::packed_strides(tensor->dims, nhwc ? core::Layout::kNhwc : core::Layout::kNchw);
  }
  return core::ok_status();
}

core::Status read_dims(const json& object, Problem& problem) {
  std::int64_t groups = 1;
  if (object.contains("groups") && !read_int(object, "groups", 1, kMaxDim, groups)) {
    return bad_field("groups", "a positive integer");
  }
  problem.spatial_rank = object.contains("d") ? 3 : 2;
  const std::array<std::pair<const char*, std::int64_t*>, 9> dims{{
      {"n", &problem.x.dims[0]},
      {"c", &problem.x.dims[1]},
      {"d", &problem.x.dims[2]},
      {"h", &problem.x.dims[3]},
      {"w", &problem.x.dims[4]},
      {"k", &problem.w.dims[0]},
      {"t", &problem.w.dims[2]},
      {"r", &problem.w.dims[3]},
      {"s", &problem.w.dims[4]},
  }};
  for (const auto& [field, dim] : dims) {
    const bool deep_only = *field == 'd' || *field == 't';
    if (deep_only && problem.spatial_rank == 2) {
      continue;
    }
    if (!read_int(object, field, 1, kMaxDim, *dim)) {
      return bad_field(field, "a positive integer");
    }
  }
  if (problem.x.dims[1] % groups != 0) {
    return bad_field("groups", "a divisor of c");
  }
  problem.w.dims[1] = problem.x.dims[1] / groups;
  return core::ok_status();
}

core::Status read_parameters(const json& object, Problem& problem) {
  if (!read_spatial(object, "pad", 0, problem.pad_before)) {
    return bad_field("pad", "[h, w] or [d, h, w]");
  }
  problem.pad_after = problem.pad_before;
  if (!read_spatial(object, "stride", 1, problem.stride)) {
    return bad_field("stride", "[h, w] or [d, h, w]");
  }
  if (!read_spatial(object, "dilation", 1, problem.dilation)) {
    return bad_field("dilation", "[h, w] or [d, h, w]");
  }
  for (std::size_t axis = 0; axis < core::kSpatialAxes; ++axis) {
    if (problem.stride[axis] == 0 || problem.dilation[axis] == 0) {
      return bad_field("stride or dilation", "positive values");
    }
  }
  return core::ok_status();
}

core::Result<Problem> read_plain(const json& object) {
  Problem problem;
  const std::string name = object.value("op", "");
  const auto operation = std::find(kOperations.begin(), kOperations.end(), name);
  if (operation == kOperations.end()) {
    return bad_field("op", "conv_fwd, conv_dgrad or conv_wgrad");
  }
  problem.operation = static_cast<core::Operation>(operation - kOperations.begin());
  const auto compute = core::parse_data_type(object.value("compute", "f32"));
  if (!compute) {
    return bad_field("compute", "a data type such as \"f32\"");
  }
  problem.compute_type = *compute;
  for (const auto step : {read_dims, read_parameters, fill_tensors}) {
    if (const core::Status done = step(object, problem); !done) {
      return done.error();
    }
  }
  return core::canonicalise(problem);
}

// Whether the plain fields say all there is to say.
bool is_plain(const Problem& problem) {
  const core::Layout layout = core::layout_of(problem.x);
  const auto same = [&](const core::TensorSpec& tensor) {
    return tensor.type == problem.x.type && tensor.alignment == problem.x.alignment &&
           core::layout_of(tensor) == layout;
  };
  return layout != core::Layout::kStrided && same(problem.w) && same(problem.y) &&
         problem.pad_after == problem.pad_before &&
         problem.mode == core::ConvolutionMode::kCrossCorrelation && problem.fusion == 0;
}

ordered_json spatial(const std::array<std::int32_t, core::kSpatialAxes>& values, bool deep) {
  ordered_json array = ordered_json::array();
  for (std::size_t axis = deep ? 0 : 1; axis < core::kSpatialAxes; ++axis) {
    array.push_back(values[axis]);
  }
  return array;
}

}  // namespace

core::Result<Problem> problem_from_json(const json& object) {
  if (!object.is_object()) {
    return bad_field("problem", "an object");
  }
  for (const auto& [name, value] : object.items()) {
    const bool textual =
        name == "op" || name == "dtype" || name == "compute" || name == "layout" || name == "text";
    if (textual && !value.is_string()) {
      return bad_field(name, "a string");
    }
  }
  const auto text = object.find("text");
  core::Result<Problem> problem = text != object.end()
                                      ? core::parse_problem(text->get_ref<const std::string&>())
                                      : read_plain(object);
  if (!problem) {
    return core::make_error(core::ErrorCode::kCorrupt, problem.error().message);
  }
  return problem;
}

ordered_json problem_to_json(const Problem& problem) {
  if (!is_plain(problem)) {
    return {{"text", core::format_problem(problem)}};
  }
  const bool deep = problem.spatial_rank == 3;
  const bool nhwc = core::layout_of(problem.x) == core::Layout::kNhwc;
  ordered_json object{{"op", kOperations[static_cast<std::size_t>(problem.operation)]},
                      {"dtype", core::to_string(problem.x.type)},
                      {"compute", core::to_string(problem.compute_type)},
                      {"layout", nhwc ? "nhwc" : "nchw"},
                      {"n", problem.x.dims[0]},
                      {"c", problem.x.dims[1]}};
  if (deep) {
    object["d"] = problem.x.dims[2];
  }
  object["h"] = problem.x.dims[3];
  object["w"] = problem.x.dims[4];
  object["k"] = problem.w.dims[0];
  if (deep) {
    object["t"] = problem.w.dims[2];
  }
  object["r"] = problem.w.dims[3];
  object["s"] = problem.w.dims[4];
  object["pad"] = spatial(problem.pad_before, deep);
  object["stride"] = spatial(problem.stride, deep);
  object["dilation"] = spatial(problem.dilation, deep);
  object["groups"] = problem.groups();
  object["alignment"] = problem.x.alignment;
  return object;
}

}  // namespace reformer::interchange
