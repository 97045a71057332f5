#pragma once

#include "cli/sweep_team.h"
#include "core/record.h"
#include "core/result.h"

#include <chrono>
#include <cstddef>
#include <string>

namespace reformer::cli {

// Appends records as JSON lines, whole ones in one write each: an interruption leaves no half of
// one, and processes that share the file do not mix theirs. Threads: one.
class Output {
 public:
  // Truncates the file unless `append`.
  Output(std::string path, bool append);
  ~Output();
  Output(const Output&) = delete;
  Output& operator=(const Output&) = delete;

  [[nodiscard]] bool open() const { return file_ >= 0; }
  // Errors: kExhausted.
  core::Status write(const core::Record& record);

 private:
  std::string path_;
  int file_;
};

// How far a team is, on stderr: five times a second on a terminal, else every 10 s a line.
class SweepProgress {
 public:
  SweepProgress(Team& team, std::size_t total);
  // One more; shown here by a team of one, else by the process that waits.
  void advance(bool good);
  void show_if_due();
  void finish();

 private:
  using Clock = std::chrono::steady_clock;
  void show();

  Team& team_;
  std::size_t total_;
  bool terminal_;
  Clock::time_point start_ = Clock::now();
  Clock::time_point shown_ = start_;
};

}  // namespace reformer::cli
