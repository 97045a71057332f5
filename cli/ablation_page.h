#pragma once

#include "cli/reply.h"

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace reformer::cli {

// The report of `ablation` as one self-contained HTML page: the figures as a table, accuracy
// against inference time, and every variant's slowdown over time. No scripts, nothing fetched; text
// from the daemon is escaped.
class AblationPage {
 public:
  explicit AblationPage(const Json& report) : report_(report) {}
  // A row of the accuracy log. Rows without a slowdown (not covered) are left out of the plots.
  void add_row(const Json& row);
  [[nodiscard]] std::string html() const;

 private:
  struct Point {
    std::int64_t time_s;
    double slowdown;
  };
  [[nodiscard]] std::string table() const;
  [[nodiscard]] std::string accuracy_plot() const;
  [[nodiscard]] std::string time_plot() const;

  const Json& report_;
  std::map<std::string, std::vector<Point>> series_;
};

// What the problems of a report are: "verified problems", "verified f32 problems without tensor
// cores", ...
[[nodiscard]] std::string verified_problems(const Json& report);

// For HTML text and attribute values.
[[nodiscard]] std::string escape_html(std::string_view text);

}  // namespace reformer::cli
