#pragma once

#include "daemon/accuracy_log.h"

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace reformer::daemon {

struct Alarm {
  std::string kind;  // "slowdown", "abstention", "upgrade"
  std::string text;
  friend bool operator==(const Alarm&, const Alarm&) = default;
};
struct DriftRule {
  std::size_t window = 100;  // recent problems, compared with all before them
  double slowdown = 1.10;    // least growth that matters
};
// Compares what applications got from the champion for recent problems with what they got for
// earlier ones (at least as many). An alarm needs the growth and non-overlapping 95 % intervals.
// Pure function.
[[nodiscard]] std::vector<Alarm> drift_alarms(const AccuracyLog& log,
                                              const std::string& champion,
                                              const DriftRule& rule);

inline constexpr const char* kSlowerWinnersEntry = "drift/slower";  // in the database's meta

// Problems whose fastest configuration is slower than what was measured before: with an older
// cuDNN, or with this one at another time (a driver's upgrade). Threads: any.
class SlowerWinners {
 public:
  // Takes the problem in if `now` is slower than `before` by more than `factor`, out if it is not.
  // Times that are no medians are not compared. Whether anything changed.
  bool compare(const core::Record& before, const core::Record& now, double factor);
  void clear();
  [[nodiscard]] std::vector<Alarm> alarms() const;
  [[nodiscard]] std::string to_text() const;  // for the database
  void from_text(const std::string& text);    // what makes no sense is left out

 private:
  struct Slower {
    std::string problem;
    std::int64_t from_version = 0;
    std::int64_t to_version = 0;
    double factor = 1;
  };
  static constexpr std::size_t kMost = 1000;
  mutable std::mutex mutex_;
  std::map<std::string, Slower> slower_;  // by key; guarded by mutex_
};

}  // namespace reformer::daemon
