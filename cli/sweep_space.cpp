#include "cli/sweep_space.h"

#include "cli/sweep_networks.h"
#include "core/problem_text.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <fstream>

namespace reformer::cli {
namespace {

constexpr std::int64_t kMostBatch = 4096;  // of draw_from_shapes

constexpr std::array<core::Operation, 4> kOperations{core::Operation::kForward,
                                                     core::Operation::kForward,
                                                     core::Operation::kDataGradient,
                                                     core::Operation::kFilterGradient};

}  // namespace

core::Result<core::Problem> complete_problem(core::Problem problem, const SweepKind& kind) {
  if (*std::min_element(problem.stride.begin(), problem.stride.end()) < 1) {
    return core::make_error(core::ErrorCode::kInvalidArgument, "a stride below 1");
  }
  problem.pad_after = problem.pad_before;  // before the output's size follows from it
  problem.y.dims = core::output_dims(problem);
  for (core::TensorSpec* tensor : {&problem.x, &problem.w, &problem.y}) {
    tensor->type = kind.type;
    if (*std::min_element(tensor->dims.begin(), tensor->dims.end()) <= 0) {
      return core::make_error(core::ErrorCode::kInvalidArgument, "filter larger than the image");
    }
    tensor->strides = core::packed_strides(tensor->dims, kind.layout);
  }
  return core::canonicalise(problem);
}

double tensor_bytes(const core::Problem& problem) {
  double bytes = 0;
  for (const core::TensorSpec* tensor : {&problem.x, &problem.w, &problem.y}) {
    double elements = core::size_of(tensor->type);
    for (const std::int64_t dim : tensor->dims) {
      elements *= static_cast<double>(dim);
    }
    bytes += elements;
  }
  return bytes;
}

bool RandomSpace::chance(double probability) {
  return std::uniform_real_distribution<double>(0, 1)(random_) < probability;
}

std::int64_t RandomSpace::log_uniform(std::int64_t low, std::int64_t high) {
  const double exponent = std::uniform_real_distribution<double>(
      std::log(static_cast<double>(low)), std::log(static_cast<double>(high) + 1))(random_);
  return std::clamp(static_cast<std::int64_t>(std::exp(exponent)), low, high);
}

std::int64_t RandomSpace::pick(const std::vector<std::int64_t>& values) {
  return values[std::uniform_int_distribution<std::size_t>(0, values.size() - 1)(random_)];
}

// Multiples of 8 mostly, as networks have them; powers of two, and anything.
std::int64_t RandomSpace::channels() {
  if (chance(0.25)) {
    return std::int64_t{1} << std::uniform_int_distribution<int>(3, 12)(random_);
  }
  if (chance(0.85)) {
    const std::int64_t unit = pick({8, 8, 16, 32});
    return std::min<std::int64_t>(4096, unit * log_uniform(1, 4096 / unit));
  }
  return log_uniform(1, 4096);
}

std::optional<core::Problem> RandomSpace::attempt() {
  core::Problem problem;
  problem.operation = kOperations[std::uniform_int_distribution<std::size_t>(0, 3)(random_)];
  const SweepKind kind = kSweepKinds[std::uniform_int_distribution<std::size_t>(0, 4)(random_)];
  const double family = std::uniform_real_distribution<double>(0, 1)(random_);
  const bool deep = family < 0.08;
  const bool line = !deep && family < 0.16;
  problem.spatial_rank = deep ? 3 : 2;
  problem.x.dims[0] = chance(0.7)
                          ? std::int64_t{1} << std::uniform_int_distribution<int>(0, 9)(random_)
                          : log_uniform(1, 512);
  problem.x.dims[1] = chance(0.06) ? pick({1, 3, 4}) : channels();
  problem.x.dims[2] = deep ? log_uniform(2, 64) : 1;
  problem.x.dims[3] = line ? 1 : log_uniform(1, deep ? 256 : 1024);
  problem.x.dims[4] = line          ? log_uniform(16, 65536)
                      : chance(0.8) ? problem.x.dims[3]
                                    : log_uniform(1, deep ? 256 : 1024);
  std::int64_t groups = 1;
  problem.w.dims[0] = channels();
  if (chance(0.15)) {  // depthwise
    groups = problem.x.dims[1];
    problem.w.dims[0] = groups * (chance(0.9) ? 1 : 2);
  } else if (chance(0.07)) {
    groups = std::int64_t{1} << std::uniform_int_distribution<int>(1, 6)(random_);
    problem.x.dims[1] = std::max<std::int64_t>(1, problem.x.dims[1] / groups) * groups;
    problem.w.dims[0] = std::max<std::int64_t>(1, problem.w.dims[0] / groups) * groups;
  }
  problem.w.dims[1] = problem.x.dims[1] / groups;
  const std::int64_t filter =
      chance(0.88) ? pick(groups > 1 ? std::vector<std::int64_t>{3, 3, 3, 5, 5, 7}
                                     : std::vector<std::int64_t>{1, 1, 1, 3, 3, 3, 3, 5, 7, 2, 4})
                   : log_uniform(1, 31);
  const std::int64_t stride = chance(0.72) ? 1 : chance(0.8) ? 2 : chance(0.5) ? filter : 4;
  const std::int64_t dilation =
      filter > 1 && stride == 1 && chance(0.08) ? pick({2, 2, 3, 4, 6, 12}) : 1;
  const bool same = chance(0.8);
  const bool narrow = !line && filter > 1 && chance(0.05);  // 1xN and Nx1 filters
  const bool across = chance(0.5);
  for (std::size_t axis = 0; axis < core::kSpatialAxes; ++axis) {
    const bool there = axis == 0 ? deep : axis == 1 ? !line : true;
    const bool flat = !there || (narrow && axis == (across ? 1u : 2u));
    const std::int64_t size = flat ? 1 : axis == 0 ? std::min<std::int64_t>(filter, 7) : filter;
    problem.w.dims[axis + 2] = size;
    problem.stride[axis] = flat ? 1 : static_cast<std::int32_t>(stride);
    problem.dilation[axis] = flat ? 1 : static_cast<std::int32_t>(dilation);
    const std::int64_t pad = same ? dilation * (size - 1) / 2
                             : chance(0.6)
                                 ? 0
                                 : std::uniform_int_distribution<std::int64_t>(0, size)(random_);
    problem.pad_before[axis] = flat || stride == filter ? 0 : static_cast<std::int32_t>(pad);
  }
  auto done = complete_problem(problem, kind);
  if (!done || core::flops(*done) > kMaxFlops || tensor_bytes(*done) > kMaxTensorBytes) {
    return std::nullopt;
  }
  return *done;
}

core::Problem RandomSpace::draw() {
  while (true) {
    if (auto problem = attempt()) {
      return *problem;
    }
  }
}

core::Result<std::vector<core::Problem>> read_problem_lines(const std::filesystem::path& path) {
  std::ifstream file(path);
  if (!file) {
    return core::make_error(core::ErrorCode::kUnavailable, path.string() + ": cannot be opened");
  }
  std::vector<core::Problem> problems;
  std::size_t number = 0;
  for (std::string line; std::getline(file, line);) {
    ++number;
    line.erase(std::min(line.find('#'), line.size()));
    if (line.find_first_not_of(" \t\r") == std::string::npos) {
      continue;
    }
    auto problem = core::parse_problem(line);
    if (!problem) {
      return core::in_context(path.string() + ":" + std::to_string(number), problem.error());
    }
    problems.push_back(*problem);
  }
  return problems;
}

core::Result<std::vector<core::Problem>> draw_from_shapes(const std::filesystem::path& path,
                                                          std::size_t count,
                                                          std::uint64_t seed,
                                                          Batches batches) {
  // As powers of two.
  const auto log2 = [](std::int64_t batch) {
    return static_cast<int>(std::bit_width(static_cast<std::uint64_t>(batch))) - 1;
  };
  const auto possible = [](std::int64_t batch) { return batch >= 1 && batch <= kMostBatch; };
  const bool in_range = possible(batches.smallest) && possible(batches.largest);
  const int first = in_range ? log2(2 * batches.smallest - 1) : 0;  // rounded up
  const int last = in_range ? log2(batches.largest) : -1;
  if (first > last) {
    return core::make_error(core::ErrorCode::kInvalidArgument,
                            "batches are 1 to " + std::to_string(kMostBatch) +
                                ", with a power of two between the smallest and the largest: not " +
                                std::to_string(batches.smallest) + " to " +
                                std::to_string(batches.largest));
  }
  const auto shapes = read_shapes(path);
  if (!shapes) {
    return shapes.error();
  }
  std::mt19937_64 random(seed);
  const auto below = [&random](std::size_t limit) {
    return std::uniform_int_distribution<std::size_t>(0, limit - 1)(random);
  };
  std::vector<core::Problem> problems;
  for (std::size_t tries = 0; problems.size() < count && tries < 100 * count + 100; ++tries) {
    const LayerShape& shape = (*shapes)[below(shapes->size())];
    core::Problem problem;
    problem.operation = kOperations[below(kOperations.size())];
    const std::size_t doublings =
        below(static_cast<std::size_t>(last) - static_cast<std::size_t>(first) + 1);
    problem.x.dims = {std::int64_t{1} << (first + static_cast<int>(doublings)),
                      shape.c,
                      1,
                      shape.image[1],
                      shape.image[2]};
    problem.w.dims = {shape.k,
                      std::max<std::int64_t>(1, shape.c / shape.groups),
                      1,
                      shape.filter[1],
                      shape.filter[2]};
    problem.pad_before = shape.pad;
    problem.stride = shape.stride;
    problem.dilation = shape.dilation;
    if (auto done = complete_problem(problem, kSweepKinds[below(kSweepKinds.size())])) {
      problems.push_back(*done);
    }
  }
  return problems;
}

core::Result<std::vector<core::Problem>> draw_mix(std::size_t count,
                                                  const std::filesystem::path& shapes,
                                                  std::uint64_t seed) {
  std::vector<LayerShape> known;
  if (!shapes.empty()) {
    auto read = read_shapes(shapes);
    if (!read) {
      return read.error();
    }
    known = std::move(*read);
  }
  NetworkSpace networks(seed, std::move(known));
  RandomSpace random(seed);
  std::vector<core::Problem> problems;
  for (std::size_t i = 0; i < count; ++i) {
    problems.push_back(i % 6 == 5 ? random.draw() : networks.draw());
  }
  return problems;
}

}  // namespace reformer::cli
