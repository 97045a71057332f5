#pragma once

#include <cstddef>
#include <cstdint>

namespace reformer::daemon {

// So many of something in each turn of the loop, that others have their turn in between.
class TurnBudget {
 public:
  explicit TurnBudget(std::size_t most) : most_(most) {}

  // All of it again. `turn_ms`: the loop's time in this turn.
  void begin(std::uint64_t turn_ms) {
    turn_ms_ = turn_ms;
    left_ = most_;
  }
  // False: this turn has had them all.
  [[nodiscard]] bool spend(std::uint64_t turn_ms) {
    if (turn_ms != turn_ms_) {
      begin(turn_ms);
    }
    if (left_ == 0) {
      return false;
    }
    --left_;
    return true;
  }
  // Of the turn that it was last asked about.
  [[nodiscard]] bool is_spent() const { return left_ == 0; }

 private:
  std::size_t most_;
  std::uint64_t turn_ms_ = 0;
  std::size_t left_ = 0;
};

}  // namespace reformer::daemon
