#pragma once

#include "core/engine_config.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace reformer::cudnn {

// What one knob of an engine can be set to: low, low + step, ... up to high.
struct KnobRange {
  std::int32_t type = 0;
  std::int64_t low = 0;
  std::int64_t high = 0;
  std::int64_t step = 1;
};

// Walks the settings of all knobs, each at most once: every one where there are no more than
// `limit`, else `limit` that are spread evenly over them (strides of the golden ratio, as Weyl's
// equidistributed sequence takes them). A range that is empty or does not fit a knob has its lowest
// value only. Threads: one.
class KnobSpace {
 public:
  KnobSpace(std::vector<KnobRange> ranges, std::size_t limit);
  // How many settings there are; more than 2^62 count as 2^62.
  [[nodiscard]] std::uint64_t size() const { return size_; }
  // The next one, in the ranges' order, or nothing after the last.
  std::optional<std::vector<core::Knob>> next();

 private:
  [[nodiscard]] static std::uint64_t values_of(const KnobRange& range);

  std::vector<KnobRange> ranges_;
  std::uint64_t size_ = 1;
  std::uint64_t left_ = 0;
  std::uint64_t stride_ = 1;
  std::uint64_t place_ = 0;
};

}  // namespace reformer::cudnn
