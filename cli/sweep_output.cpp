#include "cli/sweep_output.h"

#include "cli/sweep_clock.h"
#include "interchange/measurements.h"

#include <fmt/format.h>

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <utility>

namespace reformer::cli {
Output::Output(std::string path, bool append)
    : path_(std::move(path)),
      file_(::open(
          path_.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | (append ? 0 : O_TRUNC), 0666)) {
  // Half a line from a crash must not swallow the next one.
  char last = '\n';
  const off_t size = file_ < 0 ? 0 : ::lseek(file_, 0, SEEK_END);
  if (size > 0 && ::pread(file_, &last, 1, size - 1) == 1 && last != '\n') {
    (void)!::write(file_, "\n", 1);
  }
}

Output::~Output() {
  if (file_ >= 0) {
    ::close(file_);
  }
}

core::Status Output::write(const core::Record& record) {
  const std::string line = interchange::record_to_json(record) + "\n";
  if (file_ < 0 || ::write(file_, line.data(), line.size()) != static_cast<ssize_t>(line.size())) {
    return core::make_error(core::ErrorCode::kExhausted, path_ + ": cannot be written");
  }
  return core::ok_status();
}

SweepProgress::SweepProgress(Team& team, std::size_t total)
    : team_(team), total_(total), terminal_(::isatty(STDERR_FILENO) == 1) {}

void SweepProgress::advance(bool good) {
  team_.count(good);
  if (team_.alone()) {
    show_if_due();
  }
}

void SweepProgress::show_if_due() {
  if (seconds_since(shown_) >= (terminal_ ? 0.2 : 10)) {
    show();
  }
}

void SweepProgress::finish() {
  show();
  if (terminal_) {
    fmt::print(stderr, "\n");
  }
}

void SweepProgress::show() {
  shown_ = Clock::now();
  const Team::Counts counts = team_.counts();
  const auto over = static_cast<double>(counts.done + counts.failed);
  const double rate = over / std::max(1e-3, seconds_since(start_));
  fmt::print(stderr,
             "{}sweep: {} of {} measured, {} not possible, {:.1f} a second, {:.0f} s left{}",
             terminal_ ? "\r" : "",
             counts.done,
             total_,
             counts.failed,
             rate,
             rate > 0 ? (static_cast<double>(total_) - over) / rate : 0.0,
             terminal_ ? "   " : "\n");
}

}  // namespace reformer::cli
