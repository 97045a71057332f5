#include "model/model_data.h"

#include "model/kernels.h"
#include "model/layers.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <string>

namespace reformer::model {
namespace {

constexpr std::size_t kMaxWidth = 4096;
constexpr std::size_t kMaxBlocks = 64;
constexpr std::size_t kMaxTokens = 64;
// Weights of the class rows of all combinations, each of which has a packed copy of its rows.
constexpr std::size_t kMaxRowWeights = std::size_t{1} << 26;

bool finite(std::span<const float> values) {
  return std::ranges::all_of(values, [](float value) { return std::isfinite(value); });
}

bool sane_width(std::size_t width) {
  return width > 0 && width <= kMaxWidth;
}

// Empty: nothing wrong.
std::string wrong_shape(const NetworkShape& shape) {
  if (shape.block == BlockKind::kTransformer) {
    const TransformerShape& t = shape.transformer;
    const bool sane = shape.transformer_blocks > 0 && shape.transformer_blocks <= kMaxBlocks &&
                      sane_width(t.width) && sane_width(t.hidden) && t.tokens > 0 &&
                      t.tokens <= kMaxTokens && t.heads > 0 && t.width % t.heads == 0 &&
                      t.width % kPanelColumns == 0 && t.hidden % kPanelColumns == 0 &&
                      sane_width(shape.embedding);
    return sane ? "" : "impossible transformer shape";
  }
  if (shape.block != BlockKind::kGamma && shape.block != BlockKind::kMlp) {
    return "unknown block kind";
  }
  if (shape.widths.empty() || shape.widths.size() > kMaxBlocks) {
    return "impossible number of blocks";
  }
  for (const BlockWidth& width : shape.widths) {
    if (!sane_width(width.hidden) || !sane_width(width.out)) {
      return "impossible width of a block";
    }
  }
  return "";
}

std::string wrong_combinations(const ModelData& data, std::size_t row_count) {
  const std::vector<CombinationClasses>& combinations = data.classes.combinations;
  if (data.combination_rows.size() != combinations.size()) {
    return "combinations and their rows differ in number";
  }
  if (combinations.size() > kMaxWidth) {
    return "too many combinations";
  }
  std::size_t weights = 0;
  for (std::size_t c = 0; c < combinations.size(); ++c) {
    const std::vector<std::int32_t>& classes = combinations[c].classes;
    if (c > 0 && !(combinations[c - 1].combination < combinations[c].combination)) {
      return "combinations out of order";
    }
    if (classes.empty() || classes.size() != data.combination_rows[c].size()) {
      return "a combination without rows for its classes";
    }
    weights += padded_columns(classes.size()) * (data.embedding() + 1);
    if (weights > kMaxRowWeights) {
      return "too many class rows";
    }
    if (std::ranges::adjacent_find(classes, std::greater_equal<>()) != classes.end()) {
      return "classes of a combination out of order";
    }
    for (const std::int32_t index : classes) {
      if (index < 0 || static_cast<std::size_t>(index) >= data.classes.classes.size()) {
        return "class index out of range";
      }
    }
    for (const std::uint32_t row : data.combination_rows[c]) {
      if (row >= row_count) {
        return "row index out of range";
      }
    }
    const Combination& known = combinations[c].combination;
    if (known.operation > core::Operation::kFilterGradient ||
        known.layout > core::Layout::kStrided || known.grouping > Grouping::kDepthwise ||
        known.view > kViews.back()) {
      return "unknown combination";
    }
  }
  return "";
}

// As an answer on the wire may have them.
bool sane_class(const core::DecisionEntry& entry) {
  const bool sane_build =
      std::isnan(entry.build_us) || (std::isfinite(entry.build_us) && entry.build_us >= 0);
  return entry.workspace_bytes >= -1 && sane_build;
}

std::string wrong_calibration(const Calibration& c) {
  const bool sizes = c.hidden_weights.size() == kJudgeInputs * kJudgeHidden &&
                     c.hidden_bias.size() == kJudgeHidden &&
                     c.output_weights.size() == kJudgeHidden * kJudgeOutputs &&
                     c.output_bias.size() == kJudgeOutputs;
  const bool numbers = finite(c.hidden_weights) && finite(c.hidden_bias) &&
                       finite(c.output_weights) && finite(c.output_bias) &&
                       std::isfinite(c.margin) && std::isfinite(c.abstain_below);
  return sizes && numbers ? "" : "impossible calibration";
}

std::string wrong_times(const TimeNetwork& t) {
  const bool sizes = t.hidden1_weights.size() == kTimeInputs * kTimeHidden[0] &&
                     t.hidden1_bias.size() == kTimeHidden[0] &&
                     t.hidden2_weights.size() == kTimeHidden[0] * kTimeHidden[1] &&
                     t.hidden2_bias.size() == kTimeHidden[1] &&
                     t.output_weights.size() == kTimeHidden[1];
  const bool numbers = finite(t.hidden1_weights) && finite(t.hidden1_bias) &&
                       finite(t.hidden2_weights) && finite(t.hidden2_bias) &&
                       finite(t.output_weights) && std::isfinite(t.output_bias);
  return sizes && numbers ? "" : "impossible time network";
}

std::string wrong(const ModelData& data) {
  if (std::string what = wrong_shape(data.shape); !what.empty()) {
    return what;
  }
  std::size_t trunk = 0;
  for (const auto& layer :
       make_layers<float>(data.shape, input_width(data.classes.combinations.size()))) {
    trunk += layer->parameters();
  }
  if (data.trunk.size() != trunk) {
    return "parameters do not fit the network's shape";
  }
  const std::size_t width = data.embedding() + 1;
  if (data.rows.size() % width != 0) {
    return "class rows do not fit the network's shape";
  }
  if (std::string what = wrong_combinations(data, data.rows.size() / width); !what.empty()) {
    return what;
  }
  if (!finite(data.trunk) || !finite(data.rows) || !finite(data.normaliser.mean) ||
      !finite(data.normaliser.scale)) {
    return "a number that is not finite";
  }
  if (!std::ranges::all_of(data.classes.classes,
                           [](const KernelClass& kernel) { return sane_class(kernel.entry); })) {
    return "impossible workspace or building time of a class";
  }
  if (!std::isfinite(data.info.sharpness) || data.info.sharpness < 0) {
    return "impossible sharpness";
  }
  if (data.info.contexts.empty() || data.info.contexts.front().device.sm_count <= 0) {
    return "no GPU named that it was trained for";
  }
  if (std::string what = wrong_calibration(data.calibration); !what.empty()) {
    return what;
  }
  return wrong_times(data.times);
}

}  // namespace

core::Status validate(const ModelData& data) {
  if (std::string what = wrong(data); !what.empty()) {
    return core::make_error(core::ErrorCode::kCorrupt, "model: " + what);
  }
  return core::ok_status();
}

}  // namespace reformer::model
