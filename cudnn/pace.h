#pragma once

#include "core/problem.h"

#include <array>
#include <cstddef>
#include <cstdint>

namespace reformer::cudnn {

// The best pace at which each engine has been seen to work, by operation: from it follows how long
// a launch must take at least, before it is made. A naive engine can need seconds for what others
// do in a millisecond; one that takes the groups of a convolution one by one needs so long for
// each. Only long launches show a pace: short ones have other limits.
//
// Holds no pointers, so that processes can share one. Threads and processes: one at a time.
class Pace {
 public:
  // Microseconds that the engine will need at least; 0 while it has not been seen often enough.
  [[nodiscard]] float least_us(const core::Problem& problem, std::int32_t engine) const;
  void note(const core::Problem& problem, std::int32_t engine, float time_us);

 private:
  // Of something that there is more or less of in a problem: the best seen, a microsecond.
  struct Rate {
    double best = 0;
    int seen = 0;  // in launches that show a pace
    void note(double amount, float time_us);
    [[nodiscard]] double least_us(double amount) const;
  };
  struct Seen {
    std::int32_t engine = 0;
    core::Operation operation = core::Operation::kForward;
    Rate flops;
    Rate groups;
  };
  static constexpr std::size_t kMostSeen = 512;  // cuDNN 9 has some 80; of what is beyond, nothing
  // Its place; count_ if it has not been seen.
  [[nodiscard]] std::size_t find(const core::Problem& problem, std::int32_t engine) const;

  std::size_t count_ = 0;
  std::array<Seen, kMostSeen> seen_;
};

}  // namespace reformer::cudnn
