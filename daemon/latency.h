#pragma once

#include <array>
#include <bit>
#include <cstdint>

namespace reformer::daemon {

// Counts durations in buckets an eighth of an octave wide; percentiles are exact to 9 %.
// Threads: one.
class LatencyHistogram {
 public:
  void add(std::uint64_t ns) {
    ++buckets_[bucket_of(ns)];
    ++count_;
  }
  [[nodiscard]] std::uint64_t count() const { return count_; }
  // In microseconds; 0 without samples. `share` in [0, 1].
  [[nodiscard]] double percentile_us(double share) const {
    const auto wanted = static_cast<std::uint64_t>(share * static_cast<double>(count_));
    std::uint64_t seen = 0;
    for (unsigned i = 0; i < buckets_.size(); ++i) {
      seen += buckets_[i];
      if (seen > wanted || (seen == count_ && count_ > 0)) {
        return upper_ns(i) / 1000;
      }
    }
    return 0;
  }

 private:
  static constexpr unsigned kSteps = 8;
  static unsigned bucket_of(std::uint64_t ns) {
    if (ns < kSteps) {
      return static_cast<unsigned>(ns);
    }
    const auto octave = static_cast<unsigned>(std::bit_width(ns)) - 4;  // of three more bits
    return (octave + 1) * kSteps + static_cast<unsigned>((ns >> octave) & (kSteps - 1));
  }
  static double upper_ns(unsigned bucket) {
    if (bucket < kSteps) {
      return bucket;
    }
    const unsigned octave = bucket / kSteps - 1;
    return static_cast<double>((std::uint64_t{kSteps} + bucket % kSteps + 1) << octave);
  }
  std::array<std::uint64_t, std::size_t{62} * kSteps> buckets_{};
  std::uint64_t count_ = 0;
};

}  // namespace reformer::daemon
