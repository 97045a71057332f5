#pragma once

#include <chrono>
#include <cstdint>
#include <ostream>
#include <string>

namespace reformer::cli {

// One line on a terminal that says how far a long job is; prints nothing when not shown, and wipes
// its line when it goes. Redraws at most ten times a second, so update() may be called for each
// item.
class Progress {
 public:
  // `out` must outlive it. `what` stands before the bar: "import".
  Progress(std::ostream& out, bool shown, std::string what);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // `done` of `total` (0: unknown), of any unit; `note` stands behind the bar: "1 200 records".
  void update(std::uint64_t done, std::uint64_t total, const std::string& note);

 private:
  using Clock = std::chrono::steady_clock;
  std::ostream& out_;
  bool shown_;
  std::string what_;
  Clock::time_point started_ = Clock::now();
  Clock::time_point drawn_{};
};

}  // namespace reformer::cli
