#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <random>

// The idioms that networks are made of, for NetworkSpace to draw from.
namespace reformer::cli {

// Dice for the drawing of problems. Threads: one.
class Dice {
 public:
  explicit Dice(std::uint64_t seed) : random_(seed) {}
  bool chance(double probability);
  std::size_t below(std::size_t limit);
  std::int64_t between(std::int64_t low, std::int64_t high);      // uniform, both included
  std::int64_t log_uniform(std::int64_t low, std::int64_t high);  // both included
  std::int64_t pick(std::initializer_list<std::int64_t> values);

 private:
  std::mt19937_64 random_;
};

// One convolution of a network before it has a batch size, types and a direction.
struct LayerShape {
  std::int64_t c = 1;
  std::int64_t k = 1;
  std::array<std::int64_t, 3> image{1, 1, 1};  // depth, height, width, as everything below
  std::array<std::int64_t, 3> filter{1, 1, 1};
  std::array<std::int32_t, 3> pad{0, 0, 0};
  std::array<std::int32_t, 3> stride{1, 1, 1};
  std::array<std::int32_t, 3> dilation{1, 1, 1};
  std::int64_t groups = 1;
  std::uint8_t rank = 2;
  std::int64_t largest_batch = 128;
};

// A layer of one of about twenty idioms: dense, pointwise, depthwise and grouped stages, stems,
// patches, dilated context, detectors' pyramids, diffusion U-Nets, restoration, audio, volumes ...
[[nodiscard]] LayerShape draw_idiom(Dice& dice);

}  // namespace reformer::cli
