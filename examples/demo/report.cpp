// demo_report PLAIN COLD VERIFIED MEASUREMENTS: joins three runs of reformer_example (JSON lines:
// one problem each, with the configuration chosen and the time it took to decide) with the exported
// measurements, prints one table, and exits with 0 only if the runs show what the demo promises:
//   - every problem of the three runs has been measured;
//   - no choice of the verified run is slower than heuristic A's.
// How long a cold decision took beside heuristic A's (medians, each process's first decision left
// out) is said, too, but decides nothing: two dozen decisions on a busy machine are no measurement.
// bench/decisions.py is one.
#include "core/problem_text.h"
#include "core/record.h"
#include "interchange/measurements.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace {

using reformer::core::Candidate;
using reformer::core::Record;

struct Choice {
  std::string config;
  double decision_us = 0;
};

struct Run {
  std::vector<std::string> order;         // problems as they came
  std::map<std::string, Choice> choices;  // by problem
};

std::optional<Run> read_run(const char* path) {
  std::ifstream file(path);
  Run run;
  for (std::string line; std::getline(file, line);) {
    const auto json = nlohmann::json::parse(line, nullptr, false);
    if (!json.is_object() || !json.contains("problem")) {
      continue;
    }
    const std::string problem = json.value("problem", "");
    run.order.push_back(problem);
    run.choices[problem] = {json.value("config", ""), json.value("decision_us", 0.0)};
  }
  if (run.order.empty()) {
    fmt::print(stderr, "demo_report: {}: no results\n", path);
    return std::nullopt;
  }
  return run;
}

std::optional<std::map<std::string, Record>> read_measurements(const char* path) {
  auto reader = reformer::interchange::MeasurementReader::open(path);
  if (!reader) {
    fmt::print(stderr, "demo_report: {}\n", reader.error().message);
    return std::nullopt;
  }
  std::map<std::string, Record> records;
  while (true) {
    auto record = reader.value()->next();
    if (!record) {
      fmt::print(stderr, "demo_report: {}\n", record.error().message);
      return std::nullopt;
    }
    if (!record->has_value()) {
      return records;
    }
    std::string text = reformer::core::format_problem((*record)->key.problem);
    records.emplace(std::move(text), std::move(**record));
  }
}

const Candidate* find(const Record& record, const std::string& config) {
  for (const Candidate& candidate : record.candidates) {
    if (candidate.timed() && reformer::core::format_engine_config(candidate.config) == config) {
      return &candidate;
    }
  }
  return nullptr;
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t n = values.size();
  return n == 0 ? NAN : (values[(n - 1) / 2] + values[n / 2]) / 2;
}

// Median time to decide, the process's first decision left out: it pays for loading cuDNN.
double median_decision(const Run& run) {
  std::vector<double> times;
  for (std::size_t i = 1; i < run.order.size(); ++i) {
    times.push_back(run.choices.at(run.order[i]).decision_us);
  }
  return median(std::move(times));
}

struct Totals {
  double time[3] = {0, 0, 0};
  double log_gain[2] = {0, 0};
  int compared = 0;
  int missing = 0;
  int unlisted = 0;  // predictions that cuDNN runs, but that nobody has measured
  int slower = 0;
};

void print_row(const std::string& problem,
               const Run* const runs[3],
               const Record& record,
               Totals& totals) {
  double time[3] = {NAN, NAN, NAN};
  std::string cells;
  for (int i = 0; i < 3; ++i) {
    const Choice& choice = runs[i]->choices.at(problem);
    const Candidate* candidate = find(record, choice.config);
    time[i] = candidate == nullptr ? NAN : static_cast<double>(candidate->time_us);
    const std::string engine = choice.config.substr(0, choice.config.find(':'));
    cells += fmt::format(" {:>4} {:>8.1f} {:>6.0f}", engine, time[i], choice.decision_us);
  }
  std::string label = problem.substr(0, 40);
  fmt::print("{:<40}{}\n", label, cells);
  totals.slower += time[2] > time[0] ? 1 : 0;
  if (std::isnan(time[0]) || std::isnan(time[2])) {
    ++totals.missing;
    return;
  }
  if (std::isnan(time[1])) {
    ++totals.unlisted;
    return;
  }
  ++totals.compared;
  for (int i = 0; i < 3; ++i) {
    totals.time[i] += time[i];
  }
  totals.log_gain[0] += std::log(time[0] / time[1]);
  totals.log_gain[1] += std::log(time[0] / time[2]);
}

// Says whether `ok`, and returns it.
bool check(bool ok, const std::string& text) {
  fmt::print("  {}  {}\n", ok ? "yes" : "NO ", text);
  return ok;
}

int report(const Run* const runs[3], const std::map<std::string, Record>& records) {
  fmt::print("{:<40}{:^20}{:^21}{:^19}\n", "", "cuDNN alone", "shim, cold", "shim, verified");
  fmt::print("{:<40} {:>4} {:>8} {:>6} {:>4} {:>8} {:>6} {:>4} {:>8} {:>6}\n",
             "problem",
             "eng.",
             "GPU us",
             "decide",
             "eng.",
             "GPU us",
             "decide",
             "eng.",
             "GPU us",
             "decide");
  Totals totals;
  int unmeasured = 0;
  for (const std::string& problem : runs[0]->order) {
    const auto record = records.find(problem);
    const bool everywhere =
        runs[1]->choices.contains(problem) && runs[2]->choices.contains(problem);
    if (record == records.end() || !everywhere) {
      fmt::print("{:<40}  not measured\n", problem.substr(0, 40));
      ++unmeasured;
      continue;
    }
    print_row(problem, runs, record->second, totals);
  }
  const double n = std::max(1, totals.compared);
  const double decide[3] = {
      median_decision(*runs[0]), median_decision(*runs[1]), median_decision(*runs[2])};
  fmt::print("{:<40} {:>13.1f} {:>6.0f} {:>13.1f} {:>6.0f} {:>13.1f} {:>6.0f}\n",
             "sum of GPU time, median decision",
             totals.time[0],
             decide[0],
             totals.time[1],
             decide[1],
             totals.time[2],
             decide[2]);
  fmt::print(
      "gain over heuristic A: predicted {:.3f}x, measured {:.3f}x in the geometric mean; "
      "{:.3f}x, {:.3f}x in total time\n\n",
      std::exp(totals.log_gain[0] / n),
      std::exp(totals.log_gain[1] / n),
      totals.time[0] / totals.time[1],
      totals.time[0] / totals.time[2]);
  if (totals.unlisted > 0) {
    fmt::print(
        "  not in the sums: {} cold choices that cuDNN can run but does not list, so that no\n"
        "  recorded time says how good they were\n\n",
        totals.unlisted);
  }
  bool ok = check(unmeasured == 0 && totals.missing == 0 && 10 * totals.unlisted < totals.compared,
                  fmt::format("cuDNN's and all verified choices are among the measured, and most "
                              "cold ones ({} of {})",
                              totals.compared,
                              runs[0]->order.size()));
  ok &= check(totals.slower == 0, "no verified choice is slower than heuristic A's");
  fmt::print(
      "       a cold decision took {:.3f} of heuristic A's time here (on a quiet machine at most a "
      "fifth)\n",
      decide[1] / decide[0]);
  return ok ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc != 5) {
    fmt::print(stderr, "usage: demo_report PLAIN COLD VERIFIED MEASUREMENTS\n");
    return 2;
  }
  const auto plain = read_run(argv[1]);
  const auto cold = read_run(argv[2]);
  const auto verified = read_run(argv[3]);
  const auto records = read_measurements(argv[4]);
  if (!plain || !cold || !verified || !records) {
    return 1;
  }
  const Run* const runs[3] = {&*plain, &*cold, &*verified};
  return report(runs, *records);
} catch (const std::exception& error) {
  fmt::print(stderr, "demo_report: {}\n", error.what());
  return 1;
}
