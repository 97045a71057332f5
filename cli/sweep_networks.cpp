#include "cli/sweep_networks.h"

#include "cli/sweep_idioms.h"
#include "cli/sweep_space.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <fstream>
#include <string>

namespace reformer::cli {
namespace {

constexpr double kSharePerturbed = 0.25;  // of the draws, where shapes are known

std::int64_t round_to(double value, std::int64_t unit) {
  const auto u = static_cast<double>(unit);
  return std::max(unit, static_cast<std::int64_t>(std::round(value / u)) * unit);
}

std::int64_t batch_size(Dice& dice, std::int64_t largest) {
  std::int64_t batch = 1;
  if (dice.chance(0.85)) {
    batch = std::int64_t{1} << dice.below(8);
  } else {
    batch = dice.chance(0.5)
                ? dice.pick({3, 6, 10, 12, 20, 24, 40, 48, 50, 80, 96, 100, 192, 256, 512})
                : dice.log_uniform(1, 512);
  }
  return std::min(batch, largest);
}

// One line of a file of shapes, from c to groups.
constexpr std::size_t kFields = 13;
using Fields = std::array<std::int32_t, kFields>;

std::optional<Fields> read_fields(const std::string& line) {
  Fields fields{};
  const char* at = line.data();
  const char* const end = at + line.size();
  for (std::int32_t& field : fields) {
    const auto [next, error] = std::from_chars(at, end, field);
    if (error != std::errc() || (next != end && *next != ',')) {
      return std::nullopt;
    }
    at = next == end ? end : next + 1;
  }
  return fields;
}

LayerShape shape_of(const Fields& s) {
  LayerShape shape;
  shape.c = s[0];
  shape.image = {1, s[1], s[2]};
  shape.k = s[3];
  shape.filter = {1, s[4], s[5]};
  shape.pad = {0, s[6], s[7]};
  shape.stride = {1, s[8], s[9]};
  shape.dilation = {1, s[10], s[11]};
  shape.groups = s[12];
  return shape;
}

// What is wrong with a shape; empty: nothing.
std::string_view fault_of(const LayerShape& shape) {
  const auto all_from = [](std::int64_t least, const auto& values) {
    return *std::min_element(values.begin(), values.end()) >= least;
  };
  if (shape.c < 1 || shape.k < 1 || !all_from(1, shape.image) || !all_from(1, shape.filter)) {
    return "channels and sizes are 1 or more";
  }
  if (!all_from(0, shape.pad) || !all_from(1, shape.stride) || !all_from(1, shape.dilation)) {
    return "strides and dilations are 1 or more, padding 0 or more";
  }
  if (shape.groups < 1 || shape.c % shape.groups != 0 || shape.k % shape.groups != 0) {
    return "the groups do not divide the channels of image and filter";
  }
  return {};
}

}  // namespace

bool Dice::chance(double probability) {
  return std::uniform_real_distribution<double>(0, 1)(random_) < probability;
}

std::size_t Dice::below(std::size_t limit) {
  return std::uniform_int_distribution<std::size_t>(0, limit - 1)(random_);
}

std::int64_t Dice::between(std::int64_t low, std::int64_t high) {
  return std::uniform_int_distribution<std::int64_t>(low, high)(random_);
}

std::int64_t Dice::log_uniform(std::int64_t low, std::int64_t high) {
  const double exponent = std::uniform_real_distribution<double>(
      std::log(static_cast<double>(low)), std::log(static_cast<double>(high) + 1))(random_);
  return std::clamp(static_cast<std::int64_t>(std::exp(exponent)), low, high);
}

std::int64_t Dice::pick(std::initializer_list<std::int64_t> values) {
  return values.begin()[below(values.size())];
}

// A known layer as a wider, narrower, larger or smaller sibling of its network has it.
LayerShape NetworkSpace::varied(LayerShape shape) {
  constexpr std::array<double, 11> kFactors{0.5, 0.625, 0.75, 0.8, 1, 1, 1.1, 1.25, 1.4, 1.5, 2};
  const bool depthwise = shape.groups == shape.c && shape.groups > 1;
  const double wider = kFactors[dice_.below(kFactors.size())];
  const auto scale = [wider](std::int64_t channels) {
    return channels <= 4 ? channels : round_to(static_cast<double>(channels) * wider, 8);
  };
  if (depthwise) {
    const std::int64_t each = std::max<std::int64_t>(1, shape.k / shape.c);
    shape.c = shape.groups = scale(shape.c);
    shape.k = shape.c * each;
  } else if (shape.groups > 1) {
    const std::int64_t c_each = shape.c / shape.groups;
    const std::int64_t k_each = shape.k / shape.groups;
    shape.groups = std::max<std::int64_t>(
        2, static_cast<std::int64_t>(static_cast<double>(shape.groups) * wider));
    shape.c = shape.groups * c_each;
    shape.k = shape.groups * k_each;
  } else {
    shape.c = scale(shape.c);
    // Sometimes only one side is another.
    shape.k = dice_.chance(0.8) ? scale(shape.k) : shape.k;
  }
  if (shape.image[1] > 1) {
    const double larger = kFactors[dice_.below(kFactors.size())];
    const double aspect = dice_.chance(0.15) ? 4.0 / 3 : 1;
    shape.image[1] =
        std::max(shape.filter[1], round_to(static_cast<double>(shape.image[1]) * larger, 1));
    shape.image[2] = std::max(shape.filter[2],
                              round_to(static_cast<double>(shape.image[2]) * larger * aspect, 1));
  }
  return shape;
}

std::optional<core::Problem> NetworkSpace::attempt() {
  const LayerShape layer = !known_.empty() && dice_.chance(kSharePerturbed)
                               ? varied(known_[dice_.below(known_.size())])
                               : draw_idiom(dice_);
  core::Problem problem;
  const std::size_t direction = dice_.below(4);
  problem.operation = direction < 2    ? core::Operation::kForward
                      : direction == 2 ? core::Operation::kDataGradient
                                       : core::Operation::kFilterGradient;
  problem.spatial_rank = layer.rank;
  problem.x.dims = {batch_size(dice_, layer.largest_batch),
                    layer.c,
                    layer.image[0],
                    layer.image[1],
                    layer.image[2]};
  problem.w.dims = {
      layer.k, layer.c / layer.groups, layer.filter[0], layer.filter[1], layer.filter[2]};
  problem.pad_before = layer.pad;
  problem.stride = layer.stride;
  problem.dilation = layer.dilation;
  // Every type and layout that is swept elsewhere, and what mixed precision without
  // channels-last makes.
  const bool plain_bf16 = dice_.chance(0.07);
  const SweepKind kind = plain_bf16 ? SweepKind{core::DataType::kBf16, core::Layout::kNchw}
                                    : kSweepKinds[dice_.below(kSweepKinds.size())];
  auto done = complete_problem(problem, kind);
  if (!done || core::flops(*done) > kMaxFlops || tensor_bytes(*done) > kMaxTensorBytes) {
    return std::nullopt;
  }
  return *done;
}

core::Problem NetworkSpace::draw() {
  while (true) {
    if (auto problem = attempt()) {
      return *problem;
    }
  }
}

core::Result<std::vector<LayerShape>> read_shapes(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::string line;
  if (!file || !std::getline(file, line)) {
    return core::make_error(core::ErrorCode::kUnavailable, path.string() + ": cannot be read");
  }
  std::vector<LayerShape> shapes;
  for (std::size_t number = 2; std::getline(file, line); ++number) {
    const auto refuse = [&](std::string_view why) {
      return core::make_error(
          core::ErrorCode::kInvalidArgument,
          path.string() + ":" + std::to_string(number) + ": " + std::string(why));
    };
    const std::optional<Fields> fields = read_fields(line);
    if (!fields) {
      return refuse("expected 13 numbers separated by commas");
    }
    const LayerShape shape = shape_of(*fields);
    if (const std::string_view fault = fault_of(shape); !fault.empty()) {
      return refuse(fault);
    }
    shapes.push_back(shape);
  }
  if (shapes.empty()) {
    return core::make_error(core::ErrorCode::kInvalidArgument, path.string() + ": no shapes");
  }
  return shapes;
}

}  // namespace reformer::cli
