#include "cudnn/knob_space.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <utility>

namespace reformer::cudnn {
namespace {

constexpr std::uint64_t kLargest = std::uint64_t{1} << 62;
constexpr double kGoldenRatio = 0.6180339887498949;

}  // namespace

std::uint64_t KnobSpace::values_of(const KnobRange& range) {
  constexpr std::int64_t kMin = std::numeric_limits<std::int32_t>::min();
  constexpr std::int64_t kMax = std::numeric_limits<std::int32_t>::max();
  if (range.low < kMin || range.high > kMax || range.high < range.low || range.step < 1) {
    return 1;
  }
  return static_cast<std::uint64_t>((range.high - range.low) / range.step) + 1;
}

KnobSpace::KnobSpace(std::vector<KnobRange> ranges, std::size_t limit)
    : ranges_(std::move(ranges)) {
  for (const KnobRange& range : ranges_) {
    const std::uint64_t values = values_of(range);
    size_ = size_ > kLargest / values ? kLargest : size_ * values;
  }
  left_ = std::min<std::uint64_t>(size_, limit);
  if (left_ < size_) {
    stride_ = static_cast<std::uint64_t>(static_cast<double>(size_) * kGoldenRatio);
    while (std::gcd(stride_, size_) != 1) {  // so that no setting comes twice
      ++stride_;
    }
  }
}

std::optional<std::vector<core::Knob>> KnobSpace::next() {
  if (left_ == 0) {
    return std::nullopt;
  }
  --left_;
  std::vector<core::Knob> setting;
  setting.reserve(ranges_.size());
  std::uint64_t rest = place_;
  for (const KnobRange& range : ranges_) {
    const std::uint64_t values = values_of(range);
    const auto index = static_cast<std::int64_t>(rest % values);
    setting.push_back({range.type, static_cast<std::int32_t>(range.low + index * range.step)});
    rest /= values;
  }
  place_ = place_ >= size_ - stride_ ? place_ - (size_ - stride_) : place_ + stride_;
  return setting;
}

}  // namespace reformer::cudnn
