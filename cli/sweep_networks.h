#pragma once

#include "cli/sweep_idioms.h"
#include "core/problem.h"
#include "core/result.h"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <vector>

namespace reformer::cli {

// The shapes of a CSV file (c,h,w,k,r,s,pad_h,pad_w,stride_h,stride_w,dilation_h,dilation_w,groups
// [,...] with a header line). Errors: kUnavailable; kInvalidArgument, with the line's number, for
// what no layer can be: a stride of 0, groups that do not divide the channels.
[[nodiscard]] core::Result<std::vector<LayerShape>> read_shapes(const std::filesystem::path& path);

// Draws problems as the layers of networks are: what belongs together (channels and resolution,
// filter, padding and stride) is drawn together. Each draw is one of about twenty idioms, or, where
// shapes of known networks were given, a known layer at another width and resolution. The same seed
// and shapes give the same problems. Threads: one.
class NetworkSpace {
 public:
  NetworkSpace(std::uint64_t seed, std::vector<LayerShape> known)
      : dice_(seed), known_(std::move(known)) {}
  // A canonical problem within the limits.
  core::Problem draw();

  // At most so much work and memory for one execution.
  static constexpr double kMaxFlops = 6e11;
  static constexpr double kMaxTensorBytes = 4e9;

 private:
  std::optional<core::Problem> attempt();
  LayerShape varied(LayerShape shape);

  Dice dice_;
  std::vector<LayerShape> known_;
};

}  // namespace reformer::cli
