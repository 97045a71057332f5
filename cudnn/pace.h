#pragma once

#include "core/problem.h"

#include <cstdint>
#include <map>
#include <utility>

namespace reformer::cudnn {

// The best pace at which each engine has been seen to work, by operation: from it follows
// how long a launch must take at least, before it is made. A naive engine can need seconds for what
// others do in a millisecond. Threads: one.
class Pace {
 public:
  // Microseconds that the engine will need at least; 0 while it has not been seen often enough.
  [[nodiscard]] float least_us(const core::Problem& problem, std::int32_t engine) const;
  void note(const core::Problem& problem, std::int32_t engine, float time_us);

 private:
  struct Seen {
    double best_rate = 0;  // operations a microsecond
    int times = 0;
  };
  using Kind = std::pair<std::int32_t, core::Operation>;
  static Kind kind_of(const core::Problem& problem, std::int32_t engine);

  std::map<Kind, Seen> seen_;
};

}  // namespace reformer::cudnn
