#include "cli/progress.h"

#include "cli/units.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace reformer::cli {

Progress::Progress(std::ostream& out, bool shown, std::string what)
    : out_(out), shown_(shown), what_(std::move(what)) {}

Progress::~Progress() {
  if (shown_ && drawn_ != Clock::time_point{}) {
    out_ << "\r\x1b[K" << std::flush;
  }
}

void Progress::update(std::uint64_t done, std::uint64_t total, const std::string& note) {
  const auto now = Clock::now();
  if (!shown_ || now - drawn_ < std::chrono::milliseconds(100)) {
    return;
  }
  drawn_ = now;
  out_ << '\r' << what_ << ' ';
  if (total > 0) {
    constexpr std::size_t kBar = 30;
    const double share = std::min(1.0, static_cast<double>(done) / static_cast<double>(total));
    const auto full = static_cast<std::size_t>(share * static_cast<double>(kBar));
    const double elapsed = std::chrono::duration<double>(now - started_).count();
    out_ << fmt::format(
        "[{}{}] {:3.0f} % ", std::string(full, '#'), std::string(kBar - full, '.'), 100 * share);
    if (share > 0.01) {
      out_ << human_seconds(elapsed / share - elapsed) << " left ";
    }
  }
  out_ << note << "\x1b[K" << std::flush;
}

}  // namespace reformer::cli
