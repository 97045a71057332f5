#include "model/folds.h"

#include "model/random.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <unordered_map>

namespace reformer::model {
namespace {

constexpr std::size_t kPointSize = 8;
constexpr std::size_t kRegions = 40;
constexpr int kIterations = 12;
using Point = std::array<float, kPointSize>;

Point point_of(const core::Problem& p) {
  const auto log = [](std::int64_t value) { return std::log2(static_cast<float>(value)); };
  return {log(p.x.dims[1]),
          log(p.w.dims[0]),
          log(p.x.dims[3]),
          log(p.x.dims[4]),
          1.5F * log(p.w.dims[2] * p.w.dims[3]),
          1.5F * log(p.w.dims[4]),
          1.5F * log(std::int64_t{p.stride[1]} * p.stride[2]) +
              1.5F * log(std::int64_t{p.dilation[1]} * p.dilation[2]),
          0.7F * log(p.groups())};
}

float distance(const Point& a, const Point& b) {
  float sum = 0;
  for (std::size_t i = 0; i < kPointSize; ++i) {
    sum += (a[i] - b[i]) * (a[i] - b[i]);
  }
  return sum;
}

std::size_t nearest(const std::vector<Point>& centres, const Point& point) {
  std::size_t best = 0;
  for (std::size_t c = 1; c < centres.size(); ++c) {
    if (distance(centres[c], point) < distance(centres[best], point)) {
      best = c;
    }
  }
  return best;
}

// Lloyd's algorithm from random points; the region of each point.
std::vector<std::size_t> cluster(const std::vector<Point>& points, Random& random) {
  std::vector<Point> centres;
  for (std::size_t i = 0; i < std::min(kRegions, points.size()); ++i) {
    centres.push_back(points[random.below(points.size())]);
  }
  std::vector<std::size_t> region(points.size());
  for (int iteration = 0; iteration < kIterations; ++iteration) {
    std::vector<Point> sums(centres.size(), Point{});
    std::vector<float> counts(centres.size());
    for (std::size_t i = 0; i < points.size(); ++i) {
      region[i] = nearest(centres, points[i]);
      counts[region[i]] += 1;
      for (std::size_t j = 0; j < kPointSize; ++j) {
        sums[region[i]][j] += points[i][j];
      }
    }
    for (std::size_t c = 0; c < centres.size(); ++c) {
      for (std::size_t j = 0; counts[c] > 0 && j < kPointSize; ++j) {
        centres[c][j] = sums[c][j] / counts[c];
      }
    }
  }
  return region;
}

}  // namespace

Split split_by_shape(const Corpus& corpus,
                     std::span<const std::size_t> indices,
                     double held_out_share,
                     std::uint64_t seed) {
  Split split;
  for (const std::size_t index : indices) {
    Random random(corpus.problems()[index].shape ^ Random::mix(seed));
    (random.uniform() < held_out_share ? split.held_out : split.train).push_back(index);
  }
  return split;
}

std::vector<std::uint32_t> shape_folds(const Corpus& corpus,
                                       std::span<const std::size_t> indices,
                                       std::uint32_t folds,
                                       std::uint64_t seed) {
  std::vector<std::uint32_t> fold;
  for (const std::size_t index : indices) {
    Random random(corpus.problems()[index].shape ^ Random::mix(seed));
    fold.push_back(static_cast<std::uint32_t>(random.below(folds)));
  }
  return fold;
}

std::vector<std::uint32_t> region_folds(const Corpus& corpus,
                                        std::span<const std::size_t> indices,
                                        std::uint32_t folds,
                                        std::uint64_t seed) {
  std::unordered_map<std::uint64_t, std::size_t> point_index;
  std::vector<Point> points;
  for (const std::size_t index : indices) {
    const CorpusProblem& problem = corpus.problems()[index];
    if (point_index.try_emplace(problem.shape, points.size()).second) {
      points.push_back(point_of(problem.problem));
    }
  }
  if (points.empty()) {
    return {};
  }
  Random random(seed);
  const std::vector<std::size_t> region = cluster(points, random);
  std::vector<std::size_t> sizes(kRegions);
  for (const std::size_t r : region) {
    ++sizes[r];
  }
  // Largest regions first, each into the fold that is smallest so far.
  std::vector<std::size_t> order(kRegions);
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, std::greater<>{}, [&](std::size_t r) { return sizes[r]; });
  std::vector<std::size_t> load(folds);
  std::vector<std::uint32_t> fold_of_region(kRegions);
  for (const std::size_t r : order) {
    const auto smallest = std::ranges::min_element(load);
    fold_of_region[r] = static_cast<std::uint32_t>(smallest - load.begin());
    *smallest += sizes[r];
  }
  std::vector<std::uint32_t> fold;
  for (const std::size_t index : indices) {
    fold.push_back(fold_of_region[region[point_index.at(corpus.problems()[index].shape)]]);
  }
  return fold;
}

}  // namespace reformer::model
