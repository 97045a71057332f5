#pragma once

#include "core/problem.h"
#include "core/result.h"

#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <random>
#include <string>
#include <vector>

// Where `reformerctl sweep` takes its problems from. docs/verification.md describes the space.
namespace reformer::cli {

// What tensors are made of; all three are alike.
struct SweepKind {
  core::DataType type;
  core::Layout layout;
};
inline constexpr std::array<SweepKind, 5> kSweepKinds{
    {{core::DataType::kF16, core::Layout::kNhwc},
     {core::DataType::kBf16, core::Layout::kNhwc},
     {core::DataType::kF32, core::Layout::kNchw},
     {core::DataType::kF32, core::Layout::kNhwc},
     {core::DataType::kF16, core::Layout::kNchw}}};

// Sets types, strides and the output of a problem whose dims and parameters are there. Errors: it
// is no possible problem.
[[nodiscard]] core::Result<core::Problem> complete_problem(core::Problem problem,
                                                           const SweepKind& kind);
[[nodiscard]] double tensor_bytes(const core::Problem& problem);  // of all three

// Draws problems log-uniformly over the space of convolutions that networks use and may come to
// use. The same seed gives the same problems. Threads: one.
class RandomSpace {
 public:
  explicit RandomSpace(std::uint64_t seed) : random_(seed) {}
  // A canonical problem within the limits.
  core::Problem draw();

  // At most so much work and memory for one execution.
  static constexpr double kMaxFlops = 3e11;
  static constexpr double kMaxTensorBytes = 2e9;

 private:
  std::optional<core::Problem> attempt();
  std::int64_t log_uniform(std::int64_t low, std::int64_t high);
  std::int64_t channels();
  std::int64_t pick(const std::vector<std::int64_t>& values);
  bool chance(double probability);

  std::mt19937_64 random_;
};

// Problem texts, one a line; '#' begins a comment.
[[nodiscard]] core::Result<std::vector<core::Problem>> read_problem_lines(
    const std::filesystem::path& path);

// Of problems that are drawn; 1 to 4096.
struct Batches {
  std::int64_t smallest = 1;
  std::int64_t largest = 128;
};

// `count` problems drawn from a list of shapes
// (c,h,w,k,r,s,pad_h,pad_w,stride_h,stride_w,dilation_h, dilation_w,groups[,...] with a header
// line) x {forward twice as often, data gradient, filter gradient} x {f16/nhwc, bf16/nhwc,
// f32/nchw, f32/nhwc, f16/nchw} x batch {the powers of two within `batches`}.
[[nodiscard]] core::Result<std::vector<core::Problem>> draw_from_shapes(
    const std::filesystem::path& path, std::size_t count, std::uint64_t seed, Batches batches = {});

// `count` problems of NetworkSpace and, every sixth, of RandomSpace. `shapes`: a file for
// draw_from_shapes() whose layers are varied, or empty.
[[nodiscard]] core::Result<std::vector<core::Problem>> draw_mix(std::size_t count,
                                                                const std::filesystem::path& shapes,
                                                                std::uint64_t seed);

}  // namespace reformer::cli
