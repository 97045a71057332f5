// Replays measured problems as a stream of misses through a running reformerd, and looks at what
// its accuracy log makes of them. scripts/replay puts the parts together.
//
//   online_replay stream SOCKET FILE...             every problem once; returns when all are
//   verified online_replay latency ROUNDS SOCKET SOCKET FILE...  misses, block by block to one and
//   the other online_replay compare REPORT EVAL...            whether a report equals `reformerctl
//   eval --json` online_replay coverage STATE_DIR RUNS SIZE      how often the report's intervals
//   cover the whole
//                                                   log's value, over logs of SIZE drawn problems
#include "daemon/ablation.h"
#include "daemon/accuracy_log.h"
#include "daemon/admin.h"
#include "interchange/measurements.h"
#include "model/random.h"
#include "tests/daemon/running_daemon.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <deque>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace reformer;
using Clock = std::chrono::steady_clock;
using nlohmann::json;

std::vector<core::Problem> read_problems(const std::vector<std::string>& files) {
  std::vector<core::Problem> problems;
  for (const std::string& path : files) {
    auto reader = interchange::MeasurementReader::open(path);
    if (!reader) {
      throw std::runtime_error(path + ": " + reader.error().message);
    }
    while (true) {
      const auto record = (*reader)->next();
      if (!record || !record->has_value()) {
        break;
      }
      if (core::fastest(**record) != nullptr) {
        problems.push_back((*record)->key.problem);
      }
    }
  }
  return problems;
}

class Miss {
 public:
  explicit Miss(const std::string& socket) : client_(socket), context_(client_.greet()) {}
  // Microseconds until the answer.
  double ask(const core::Problem& problem) {
    core::wire::Query query;
    query.context_id = context_;
    query.problems = {problem};
    const auto start = Clock::now();
    const auto answer = client_.ask<core::wire::Answer>(query);
    if (!answer) {
      throw std::runtime_error("no answer");
    }
    return std::chrono::duration<double, std::micro>(Clock::now() - start).count();
  }
  json admin(const char* request) { return client_.admin({{"request", request}}); }

 private:
  testing::TestClient client_;
  std::uint32_t context_;
};

double percentile(std::vector<double> values, double share) {
  std::sort(values.begin(), values.end());
  return values[static_cast<std::size_t>(share * static_cast<double>(values.size() - 1))];
}

void wait_until_verified(Miss& daemon, std::uint64_t problems) {
  const auto done = [&] {
    const json stats = daemon.admin("stats");
    return stats.value("verified", std::uint64_t{0}) +
           stats.value("verify_failed", std::uint64_t{0});
  };
  while (done() < problems) {
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
  }
  // The rows of the last ones follow their records.
  std::uint64_t rows = 0;
  for (std::uint64_t before = 1; rows != before || rows == 0;) {
    before = rows;
    std::this_thread::sleep_for(std::chrono::seconds(1));
    rows = daemon.admin("status").value("accuracy_rows", std::uint64_t{0});
  }
}

int stream(const std::string& socket, const std::vector<std::string>& files) {
  const auto problems = read_problems(files);
  Miss daemon(socket);
  const auto start = Clock::now();
  std::vector<double> us;
  for (std::size_t i = 0; i < problems.size(); ++i) {
    us.push_back(daemon.ask(problems[i]));
    if (i % 500 == 499) {  // not more at once than the queue holds
      wait_until_verified(daemon, i > 2000 ? i - 2000 : 1);
    }
  }
  wait_until_verified(daemon, problems.size());
  fmt::print("{} problems in {:.0f} s; answers: p50 {:.1f} us, p99 {:.1f} us\n",
             problems.size(),
             std::chrono::duration<double>(Clock::now() - start).count(),
             percentile(us, 0.5),
             percentile(us, 0.99));
  return 0;
}

// Blocks of the same misses to one and the other, the first of a round alternating, while both
// verify what they were asked before.
int latency(int rounds,
            const std::vector<std::string>& sockets,
            const std::vector<std::string>& files) {
  constexpr std::size_t kBlock = 40;
  const auto problems = read_problems(files);
  std::deque<Miss> daemons;
  for (const std::string& socket : sockets) {
    daemons.emplace_back(socket);
  }
  std::vector<double> us[2];
  std::vector<double> ratios;
  for (int round = 0; round < rounds; ++round) {
    std::vector<double> block[2];
    for (int turn = 0; turn < 2; ++turn) {
      const auto which = static_cast<std::size_t>((round + turn) % 2);
      for (std::size_t i = 0; i < kBlock; ++i) {
        const auto next = static_cast<std::size_t>(round) * kBlock + i;
        if (next >= problems.size()) {
          throw std::runtime_error("too few problems for so many rounds");
        }
        block[which].push_back(daemons[which].ask(problems[next]));
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
      }
    }
    for (std::size_t which = 0; which < 2; ++which) {
      us[which].insert(us[which].end(), block[which].begin(), block[which].end());
    }
    ratios.push_back(percentile(block[1], 0.5) / percentile(block[0], 0.5));
  }
  double mean = 0;
  double square = 0;
  for (const double ratio : ratios) {
    mean += std::log(ratio) / static_cast<double>(ratios.size());
  }
  for (const double ratio : ratios) {
    square += (std::log(ratio) - mean) * (std::log(ratio) - mean);
  }
  const auto n = static_cast<double>(ratios.size());
  const double half = 1.96 * std::sqrt(square / (n - 1) / n);
  for (std::size_t which = 0; which < 2; ++which) {
    fmt::print("{}: p50 {:.1f} us, p90 {:.1f} us, p99 {:.1f} us over {} misses\n",
               sockets[which],
               percentile(us[which], 0.5),
               percentile(us[which], 0.9),
               percentile(us[which], 0.99),
               us[which].size());
  }
  fmt::print(
      "second over first, median of a block, geometric mean of {} rounds: {:.3f} "
      "({:.3f} to {:.3f})\n",
      ratios.size(),
      std::exp(mean),
      std::exp(mean - half),
      std::exp(mean + half));
  return 0;
}

json read_json(const std::string& path) {
  std::ifstream file(path);
  return json::parse(file);
}

const json* find_variant(const json& report, const std::string& name) {
  for (const json& variant : report["variants"]) {
    if (variant["name"] == name) {
      return &variant;
    }
  }
  return nullptr;
}

// Every key of `expected` is in `found` with the same bits.
std::size_t differences(const json* found, const json& expected, const std::string& what) {
  std::size_t wrong = found == nullptr ? 1 : 0;
  for (const auto& [key, value] : expected.items()) {
    if (found != nullptr && (!found->contains(key) || (*found)[key] != value)) {
      fmt::print(
          "{}: {} is {}, not {}\n", what, key, found->value(key, json()).dump(), value.dump());
      ++wrong;
    }
  }
  return wrong;
}

int compare(const std::string& report_file, const std::vector<std::string>& evals) {
  const json report = read_json(report_file);
  std::size_t wrong = 0;
  std::size_t figures = 0;
  for (const std::string& file : evals) {
    const json eval = read_json(file);
    const std::string name = eval["name"];
    const json* const variant = find_variant(report, name);
    wrong += report["problems"] == eval["problems"] ? 0 : 1;
    wrong += differences(variant, eval["model"], name);
    wrong += differences(
        variant != nullptr ? &(*variant)["served"] : nullptr, eval["served"], name + " served");
    figures += eval["model"].size() + eval["served"].size();
    for (const auto& [baseline, values] : eval["baselines"].items()) {
      wrong += differences(find_variant(report, baseline), values, baseline);
      figures += values.size();
    }
  }
  fmt::print("{} problems, {} models: {} of {} figures differ\n",
             report["problems"].get<std::size_t>(),
             evals.size(),
             wrong,
             figures);
  return wrong == 0 ? 0 : 1;
}

int coverage(const std::string& state_dir, int runs, std::size_t size) {
  storage::OpenReport opened;
  auto database = storage::Database::open(
      daemon::database_directory(state_dir), storage::OpenMode::kReadOnly, &opened);
  if (!database) {
    throw std::runtime_error(database.error().message);
  }
  std::vector<std::vector<storage::AccuracyRow>> problems;
  std::map<core::KeyHash, std::size_t> numbers;
  const auto read = (*database)->for_each_accuracy(0, [&](const storage::AccuracyRow& row) {
    const auto [at, is_new] = numbers.try_emplace(row.key, problems.size());
    if (is_new) {
      problems.emplace_back();
    }
    problems[at->second].push_back(row);
    return true;
  });
  if (!read) {
    throw std::runtime_error(read.error().message);
  }
  const auto champion = (*database)->find_meta("champion");
  const auto report_of = [&](const daemon::AccuracyLog& log, std::size_t resamples) {
    daemon::ReportOptions options;
    options.champion = champion && *champion ? **champion : std::string();
    options.weights.assign(log.problems().size(), 1);
    options.resamples = resamples;
    return daemon::ablation_report(log, options);
  };
  daemon::AccuracyLog whole;
  for (const auto& rows : problems) {
    for (const auto& row : rows) {
      whole.add(row);
    }
  }
  const auto truth = report_of(whole, 0);
  const std::vector<std::string> figures{"top1",
                                         "top3",
                                         "within_5pct",
                                         "abstained_share",
                                         "geomean_slowdown",
                                         "p90_slowdown",
                                         "p99_slowdown"};
  std::map<std::string, std::map<std::string, int>> covered;  // by variant and figure
  model::Random random(1);
  for (int run = 0; run < runs; ++run) {
    daemon::AccuracyLog log;
    for (std::size_t i = 0; i < size; ++i) {
      // Drawn with replacement: each draw is a problem of its own.
      for (storage::AccuracyRow row : problems[random.below(problems.size())]) {
        row.key = core::KeyHash{};
        for (std::size_t byte = 0; byte < 8; ++byte) {
          row.key.bytes[byte] = static_cast<std::uint8_t>(i >> (8 * byte));
        }
        log.add(row);
      }
    }
    const auto report = report_of(log, 1000);
    for (std::size_t v = 0; v < report["variants"].size(); ++v) {
      const auto& variant = report["variants"][v];
      for (const auto& whole_variant : truth["variants"]) {
        if (whole_variant["name"] != variant["name"]) {
          continue;
        }
        for (const std::string& figure : figures) {
          const auto& interval = variant["interval"][figure];
          const double value = whole_variant[figure];
          covered[variant["name"]][figure] +=
              interval.is_array() && interval[0] <= value && value <= interval[1] ? 1 : 0;
        }
      }
    }
  }
  fmt::print("{:28}", "covered, % of runs");
  for (const std::string& figure : figures) {
    fmt::print("{:>18}", figure);
  }
  fmt::print("\n");
  for (const auto& [name, by_figure] : covered) {
    fmt::print("{:28}", name);
    for (const std::string& figure : figures) {
      fmt::print("{:18.1f}", 100.0 * by_figure.at(figure) / runs);
    }
    fmt::print("\n");
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> a(argv + 1, argv + argc);
  try {
    if (a.size() >= 3 && a[0] == "stream") {
      return stream(a[1], {a.begin() + 2, a.end()});
    }
    if (a.size() >= 5 && a[0] == "latency") {
      return latency(std::stoi(a[1]), {a[2], a[3]}, {a.begin() + 4, a.end()});
    }
    if (a.size() >= 3 && a[0] == "compare") {
      return compare(a[1], {a.begin() + 2, a.end()});
    }
    if (a.size() == 4 && a[0] == "coverage") {
      return coverage(a[1], std::stoi(a[2]), std::stoul(a[3]));
    }
    fmt::print(stderr,
               "online_replay stream|latency|compare|coverage: see the head of its source\n");
    return 2;
  } catch (const std::exception& error) {
    fmt::print(stderr, "online_replay: {}\n", error.what());
    return 1;
  }
}
