#include "core/problem_text.h"

#include "core/append_int.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <optional>

namespace reformer::core {
namespace {

constexpr std::size_t kTensors = 3;
constexpr std::array<std::string_view, 2> kFlatLayouts{"nchw", "nhwc"};
constexpr std::array<std::string_view, 2> kDeepLayouts{"ncdhw", "ndhwc"};
constexpr std::string_view kStrided = "strided";

// ---- printing

void append_token(std::string& text, std::string_view name, std::int64_t value) {
  text += ' ';
  text += name;
  append_int(text, value);
}

// " pad1" where all axes agree, else " pad1x2": the axes of the problem's rank.
void append_axes(std::string& text,
                 std::string_view name,
                 const std::array<std::int32_t, kSpatialAxes>& values,
                 bool deep) {
  const std::size_t first = deep ? 0 : 1;
  text += ' ';
  text += name;
  append_int(text, values[first]);
  const bool same = std::all_of(values.begin() + static_cast<std::ptrdiff_t>(first),
                                values.end(),
                                [&](std::int32_t value) { return value == values[first]; });
  for (std::size_t axis = first + 1; !same && axis < kSpatialAxes; ++axis) {
    text += 'x';
    append_int(text, values[axis]);
  }
}

// One word, or three joined by '+' (x, w, y) where they differ.
void append_words(std::string& text, const std::array<std::string_view, kTensors>& words) {
  text += words[0];
  if (words[0] != words[1] || words[0] != words[2]) {
    text += '+';
    text += words[1];
    text += '+';
    text += words[2];
  }
}

void append_strides(std::string& text, std::string_view name, const TensorSpec& tensor) {
  text += ' ';
  text += name;
  for (std::size_t axis = 0; axis < kTensorAxes; ++axis) {
    if (axis > 0) {
      text += 'x';
    }
    append_int(text, tensor.strides[axis]);
  }
}

std::array<const TensorSpec*, kTensors> tensors_of(const Problem& problem) {
  return {&problem.x, &problem.w, &problem.y};
}

void append_exceptions(std::string& text, const Problem& problem) {
  constexpr std::array<std::string_view, kTensors> kStrideNames{"xs=", "ws=", "ys="};
  const auto tensors = tensors_of(problem);
  for (std::size_t i = 0; i < kTensors; ++i) {
    if (layout_of(*tensors[i]) == Layout::kStrided) {
      append_strides(text, kStrideNames[i], *tensors[i]);
    }
  }
  if (problem.compute_type != DataType::kF32) {
    text += " acc=";
    text += to_string(problem.compute_type);
  }
  if (problem.x.alignment != kMaxAlignment || problem.w.alignment != kMaxAlignment ||
      problem.y.alignment != kMaxAlignment) {
    append_token(text, "align=", problem.x.alignment);
    if (problem.x.alignment != problem.w.alignment || problem.x.alignment != problem.y.alignment) {
      append_token(text, "+", problem.w.alignment);
      text.erase(text.rfind(' '), 1);
      append_token(text, "+", problem.y.alignment);
      text.erase(text.rfind(' '), 1);
    }
  }
  if (problem.mode != ConvolutionMode::kCrossCorrelation) {
    text += " mode=";
    text += to_string(problem.mode);
  }
  if (problem.fusion != 0) {
    std::array<char, 17> digits{};
    const auto end =
        std::to_chars(digits.data(), digits.data() + digits.size(), problem.fusion, 16).ptr;
    text += " graph=";
    text.append(digits.data(), end);
  }
}

// ---- reading

// What the tokens said, before it is made a problem.
struct Fields {
  std::optional<Operation> operation;
  std::optional<std::array<DataType, kTensors>> types;
  std::optional<std::array<Layout, kTensors>> layouts;
  bool deep = false;
  std::optional<std::int64_t> n, c, d, h, w, k, t, r, s, groups;
  std::optional<std::array<std::int32_t, kSpatialAxes>> pad, post, stride, dilation;
  std::array<std::optional<std::array<std::int64_t, kTensorAxes>>, kTensors> strides;
  std::optional<DataType> compute_type;
  std::optional<std::array<std::uint16_t, kTensors>> alignment;
  std::optional<ConvolutionMode> mode;
  std::optional<std::uint64_t> fusion;
};

template <typename Int>
bool read_int(std::string_view text, Int& value, int base = 10) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  return error == std::errc() && end == text.data() + text.size() && !text.empty() &&
         text.front() != '-';
}

// Splits at `separator` into at most kMax parts; the number of parts, or 0 if there are more.
template <std::size_t kMax>
std::size_t split(std::string_view text,
                  char separator,
                  std::array<std::string_view, kMax>& parts) {
  std::size_t count = 0;
  while (true) {
    if (count == kMax) {
      return 0;
    }
    const std::size_t end = text.find(separator);
    parts[count++] = text.substr(0, end);
    if (end == std::string_view::npos) {
      return count;
    }
    text.remove_prefix(end + 1);
  }
}

// One word for all three tensors, or three joined by '+'.
template <typename T, typename Parse>
bool read_three(std::string_view text, std::optional<std::array<T, kTensors>>& out, Parse parse) {
  std::array<std::string_view, kTensors> parts;
  const std::size_t count = split(text, '+', parts);
  if (out.has_value() || (count != 1 && count != kTensors)) {
    return false;
  }
  std::array<T, kTensors> values{};
  for (std::size_t i = 0; i < kTensors; ++i) {
    const std::optional<T> value = parse(parts[count == 1 ? 0 : i]);
    if (!value) {
      return false;
    }
    values[i] = *value;
  }
  out = values;
  return true;
}

// "1", "1x2" (height, width) or "1x2x3" (depth, height, width).
bool read_axes(std::string_view text, std::optional<std::array<std::int32_t, kSpatialAxes>>& out) {
  std::array<std::string_view, kSpatialAxes> parts;
  const std::size_t count = split(text, 'x', parts);
  if (out.has_value() || count == 0) {
    return false;
  }
  std::array<std::int32_t, kSpatialAxes> values{};
  for (std::size_t i = 0; i < count; ++i) {
    if (!read_int(parts[i], values[i])) {
      return false;
    }
  }
  if (count == 1) {
    values = {values[0], values[0], values[0]};
  } else if (count == 2) {
    values = {-1, values[0], values[1]};  // -1: depth not said
  }
  out = values;
  return true;
}

bool read_strides(std::string_view text,
                  std::optional<std::array<std::int64_t, kTensorAxes>>& out) {
  std::array<std::string_view, kTensorAxes> parts;
  if (out.has_value() || split(text, 'x', parts) != kTensorAxes) {
    return false;
  }
  std::array<std::int64_t, kTensorAxes> values{};
  for (std::size_t i = 0; i < kTensorAxes; ++i) {
    if (!read_int(parts[i], values[i])) {
      return false;
    }
  }
  out = values;
  return true;
}

bool read_layouts(std::string_view text, Fields& fields) {
  std::optional<bool> deep;
  const auto parse = [&](std::string_view word) -> std::optional<Layout> {
    if (word == kStrided) {
      return Layout::kStrided;
    }
    for (std::size_t i = 0; i < 2; ++i) {
      if (word == kFlatLayouts[i] || word == kDeepLayouts[i]) {
        const bool word_deep = word == kDeepLayouts[i];
        if (deep.value_or(word_deep) != word_deep) {
          return std::nullopt;
        }
        deep = word_deep;
        return i == 0 ? Layout::kNchw : Layout::kNhwc;
      }
    }
    return std::nullopt;
  };
  const bool good = read_three(text, fields.layouts, parse);
  fields.deep = fields.deep || (good && deep.value_or(false));
  return good;
}

template <typename T>
bool set_once(std::optional<T>& out, std::optional<T> value) {
  if (out.has_value() || !value.has_value()) {
    return false;
  }
  out = value;
  return true;
}

bool set_dim(std::optional<std::int64_t>& out, std::string_view text) {
  std::int64_t value = 0;
  return read_int(text, value) && set_once(out, std::optional(value));
}

// Tokens of the form name=value.
bool read_assignment(std::string_view name, std::string_view value, Fields& fields) {
  if (name == "xs" || name == "ws" || name == "ys") {
    return read_strides(value, fields.strides[name == "xs" ? 0 : name == "ws" ? 1 : 2]);
  }
  if (name == "acc") {
    return set_once(fields.compute_type, parse_data_type(value));
  }
  if (name == "mode") {
    return set_once(fields.mode, parse_convolution_mode(value));
  }
  if (name == "align") {
    return read_three(
        value, fields.alignment, [](std::string_view word) -> std::optional<std::uint16_t> {
          std::uint16_t bytes = 0;
          return read_int(word, bytes) ? std::optional(bytes) : std::nullopt;
        });
  }
  if (name == "graph") {
    std::uint64_t hash = 0;
    return read_int(value, hash, 16) && set_once(fields.fusion, std::optional(hash));
  }
  return false;
}

bool read_number_token(std::string_view token, Fields& fields) {
  if (token.starts_with("pad")) {
    return read_axes(token.substr(3), fields.pad);
  }
  if (token.starts_with("post")) {
    return read_axes(token.substr(4), fields.post);
  }
  if (token.starts_with("str")) {
    return read_axes(token.substr(3), fields.stride);
  }
  if (token.starts_with("dil")) {
    return read_axes(token.substr(3), fields.dilation);
  }
  if (token.starts_with("grp")) {
    return set_dim(fields.groups, token.substr(3));
  }
  const std::array<std::pair<char, std::optional<std::int64_t>*>, 9> dims{{{'n', &fields.n},
                                                                           {'c', &fields.c},
                                                                           {'d', &fields.d},
                                                                           {'h', &fields.h},
                                                                           {'w', &fields.w},
                                                                           {'k', &fields.k},
                                                                           {'t', &fields.t},
                                                                           {'r', &fields.r},
                                                                           {'s', &fields.s}}};
  for (const auto& [letter, field] : dims) {
    if (token.front() == letter) {
      return set_dim(*field, token.substr(1));
    }
  }
  return false;
}

bool read_token(std::string_view token, Fields& fields) {
  const std::size_t equals = token.find('=');
  if (equals != std::string_view::npos) {
    return read_assignment(token.substr(0, equals), token.substr(equals + 1), fields);
  }
  if (const auto operation = parse_operation(token)) {
    return set_once(fields.operation, operation);
  }
  const std::string_view first_word = token.substr(0, token.find('+'));
  if (parse_data_type(first_word)) {
    return read_three(token, fields.types, parse_data_type);
  }
  if (first_word == kStrided || first_word.starts_with("nc") || first_word.starts_with("nh") ||
      first_word.starts_with("nd")) {
    return read_layouts(token, fields);
  }
  return read_number_token(token, fields);
}

// The first required field that is missing, or empty.
std::string_view missing_field(const Fields& fields) {
  const std::array<std::pair<std::string_view, bool>, 8> required{
      {{"operation (fwd, dgrad, wgrad)", fields.operation.has_value()},
       {"type (f16, bf16, f32, ...)", fields.types.has_value()},
       {"layout (nchw, nhwc, ...)", fields.layouts.has_value()},
       {"n", fields.n.has_value()},
       {"c", fields.c.has_value()},
       {"w", fields.w.has_value()},
       {"k", fields.k.has_value()},
       {"s", fields.s.has_value()}}};
  for (const auto& [name, given] : required) {
    if (!given) {
      return name;
    }
  }
  if (fields.h.has_value() != fields.r.has_value()) {
    return fields.h ? "r" : "h";
  }
  if (!fields.deep && (fields.d || fields.t)) {
    return "layout ncdhw or ndhwc (d and t are for 3-D)";
  }
  return {};
}

// Values for [depth, height, width], with the neutral value on axes that the problem does not have.
std::array<std::int32_t, kSpatialAxes> axes_or(
    const std::optional<std::array<std::int32_t, kSpatialAxes>>& given,
    const Fields& fields,
    std::int32_t neutral) {
  std::array<std::int32_t, kSpatialAxes> values =
      given.value_or(std::array<std::int32_t, kSpatialAxes>{neutral, neutral, neutral});
  if (!fields.deep || values[0] < 0) {
    values[0] = neutral;
  }
  if (!fields.h && given && given->at(0) == given->at(1) && given->at(1) == given->at(2)) {
    values[1] = neutral;  // "pad1" of a 1-D problem pads along its one axis
  }
  return values;
}

Result<Problem> build(const Fields& fields) {
  Problem problem;
  problem.operation = *fields.operation;
  problem.mode = fields.mode.value_or(ConvolutionMode::kCrossCorrelation);
  problem.compute_type = fields.compute_type.value_or(DataType::kF32);
  problem.spatial_rank = fields.deep ? 3 : 2;
  problem.fusion = fields.fusion.value_or(0);
  problem.pad_before = axes_or(fields.pad, fields, 0);
  problem.pad_after = fields.post ? axes_or(fields.post, fields, 0) : problem.pad_before;
  problem.stride = axes_or(fields.stride, fields, 1);
  problem.dilation = axes_or(fields.dilation, fields, 1);
  const std::int64_t groups = fields.groups.value_or(1);
  if (groups <= 0 || *fields.c % groups != 0) {
    return make_error(ErrorCode::kInvalidArgument, "grp: must divide c");
  }
  problem.x.dims = {*fields.n, *fields.c, fields.d.value_or(1), fields.h.value_or(1), *fields.w};
  problem.w.dims = {
      *fields.k, *fields.c / groups, fields.t.value_or(1), fields.r.value_or(1), *fields.s};
  constexpr std::int64_t kLimit = std::int64_t{1} << 32;
  for (const TensorSpec* tensor : {&problem.x, &problem.w}) {
    for (const std::int64_t dim : tensor->dims) {
      if (dim <= 0 || dim > kLimit) {
        return make_error(ErrorCode::kInvalidArgument, "dims must be 1 to 2^32");
      }
    }
  }
  for (std::size_t axis = 0; axis < kSpatialAxes; ++axis) {
    if (problem.stride[axis] <= 0) {
      return make_error(ErrorCode::kInvalidArgument, "str: must be 1 or more");
    }
  }
  problem.y.dims = output_dims(problem);
  TensorSpec* const tensors[] = {&problem.x, &problem.w, &problem.y};
  for (std::size_t i = 0; i < kTensors; ++i) {
    tensors[i]->type = (*fields.types)[i];
    tensors[i]->alignment = fields.alignment ? (*fields.alignment)[i] : kMaxAlignment;
    const bool strided = (*fields.layouts)[i] == Layout::kStrided;
    if (strided != fields.strides[i].has_value()) {
      return make_error(ErrorCode::kInvalidArgument,
                        "strided tensors, and only they, need their strides (xs=, ws=, ys=)");
    }
    if (tensors[i]->dims[3] > 0 && tensors[i]->dims[4] > 0) {
      tensors[i]->strides =
          strided ? *fields.strides[i] : packed_strides(tensors[i]->dims, (*fields.layouts)[i]);
    }
  }
  return canonicalise(problem);
}

}  // namespace

std::string format_problem(const Problem& problem) {
  const bool deep = problem.spatial_rank == 3;
  const auto& layout_names = deep ? kDeepLayouts : kFlatLayouts;
  std::array<std::string_view, kTensors> types;
  std::array<std::string_view, kTensors> layouts;
  const auto tensors = tensors_of(problem);
  for (std::size_t i = 0; i < kTensors; ++i) {
    const Layout layout = layout_of(*tensors[i]);
    types[i] = to_string(tensors[i]->type);
    layouts[i] = layout == Layout::kStrided ? kStrided : layout_names[layout == Layout::kNhwc];
  }
  std::string text(to_string(problem.operation));
  text += ' ';
  append_words(text, types);
  text += ' ';
  append_words(text, layouts);
  append_token(text, "n", problem.x.dims[0]);
  append_token(text, "c", problem.x.dims[1]);
  if (deep) {
    append_token(text, "d", problem.x.dims[2]);
  }
  append_token(text, "h", problem.x.dims[3]);
  append_token(text, "w", problem.x.dims[4]);
  append_token(text, "k", problem.w.dims[0]);
  if (deep) {
    append_token(text, "t", problem.w.dims[2]);
  }
  append_token(text, "r", problem.w.dims[3]);
  append_token(text, "s", problem.w.dims[4]);
  append_axes(text, "pad", problem.pad_before, deep);
  if (problem.pad_after != problem.pad_before) {
    append_axes(text, "post", problem.pad_after, deep);
  }
  append_axes(text, "str", problem.stride, deep);
  append_axes(text, "dil", problem.dilation, deep);
  append_token(text, "grp", problem.groups());
  append_exceptions(text, problem);
  return text;
}

Result<Problem> parse_problem(std::string_view text) {
  constexpr std::string_view kSeparators = " \t\r\n,/";
  constexpr std::size_t kMaxTextBytes = 1024;
  if (text.size() > kMaxTextBytes) {
    return make_error(ErrorCode::kInvalidArgument, "problem: longer than 1024 bytes");
  }
  Fields fields;
  std::size_t at = text.find_first_not_of(kSeparators);
  while (at != std::string_view::npos) {
    const std::size_t end = std::min(text.find_first_of(kSeparators, at), text.size());
    const std::string_view token = text.substr(at, end - at);
    if (!read_token(token, fields)) {
      return make_error(ErrorCode::kInvalidArgument,
                        "problem: '" + std::string(token) +
                            "' is not understood, or given twice; a problem looks like "
                            "fwd f16 nhwc n32 c64 h56 w56 k64 r3 s3 pad1 str1 dil1 grp1");
    }
    at = text.find_first_not_of(kSeparators, end);
  }
  if (fields.d &&
      fields.layouts == std::array{Layout::kStrided, Layout::kStrided, Layout::kStrided}) {
    fields.deep = true;  // no layout name says so
  }
  if (const std::string_view missing = missing_field(fields); !missing.empty()) {
    return make_error(ErrorCode::kInvalidArgument, "problem: missing " + std::string(missing));
  }
  Result<Problem> problem = build(fields);
  if (!problem) {
    return in_context("problem", problem.error());
  }
  return problem;
}

}  // namespace reformer::core
