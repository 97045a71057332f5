// The example program, linked to the real cuDNN, under the shim and a daemon that behaves in
// various ways.
#include "core/decision.h"
#include "tests/libclient/fake_daemon.h"
#include "tests/sanitized.h"
#include "tests/shim/measured.h"
#include "tests/shim/run_example.h"

#include <boost/test/data/test_case.hpp>
#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace {

using reformer::test::Behaviour;
using reformer::test::ExampleRun;
using reformer::test::FakeDaemon;
using reformer::test::run_program;
using reformer::test::TemporaryFolder;
namespace core = reformer::core;

const std::string kSource = REFORMER_SOURCE_DIR;

const std::map<std::string, core::Record>& records() {
  return reformer::test::shipped_records();
}

core::Decision measured(const core::Context& context, const core::Problem& problem) {
  return reformer::test::measured_decision(context, problem);
}

// Recorded time of a choice; infinite if it was not timed.
float time_of(const reformer::test::ExampleLine& line) {
  for (const core::Candidate& candidate : records().at(line.problem).candidates) {
    if (candidate.timed() && core::format_engine_config(candidate.config) == line.config) {
      return candidate.time_us;
    }
  }
  return std::numeric_limits<float>::infinity();
}

ExampleRun run_example(const std::string& socket, bool shim = true, const std::string& mode = "") {
  (void)records();  // read before a daemon needs them in time
  std::map<std::string, std::string> environment{{"REFORMER_SOCKET", socket},
                                                 {"REFORMER_DEADLINE_US", "200000"}};
  if (shim) {
    environment["LD_PRELOAD"] = SHIM_PATH;
  }
  if (!mode.empty()) {
    environment["REFORMER_MODE"] = mode;
  }
  return run_program(EXAMPLE_PATH " --device-prop " + kSource + "/data/h200-deviceprop.json " +
                         kSource + "/examples/convolutions.txt",
                     environment);
}

const ExampleRun& plain() {
  static const ExampleRun run = run_example("/nonexistent", false);
  return run;
}

double median_decision(const ExampleRun& run) {
  std::vector<double> times;
  for (std::size_t i = 1; i < run.lines.size(); ++i) {
    times.push_back(run.lines[i].decision_us);
  }
  std::sort(times.begin(), times.end());
  return times.empty() ? 0 : times[times.size() / 2];
}

// Whether both runs chose the same for every problem.
void check_same_choices(const ExampleRun& run, const ExampleRun& other) {
  BOOST_TEST_REQUIRE(run.lines.size() == other.lines.size());
  for (std::size_t i = 0; i < run.lines.size(); ++i) {
    BOOST_TEST(run.lines[i].config == other.lines[i].config, run.lines[i].problem);
    BOOST_TEST(run.lines[i].choices == other.lines[i].choices, run.lines[i].problem);
  }
}

}  // namespace

BOOST_AUTO_TEST_SUITE(example, *boost::unit_test::enable_if<!reformer::testing::kSanitized>())

BOOST_AUTO_TEST_CASE(the_list_is_among_the_measurements) {
  BOOST_TEST(plain().exit_code == 0);
  BOOST_TEST(plain().lines.size() >= 20u);
  for (const auto& line : plain().lines) {
    BOOST_TEST(records().contains(line.problem), line.problem);
  }
}

BOOST_AUTO_TEST_CASE(served_choices_are_the_decisions_first_entries) {
  const TemporaryFolder folder;
  FakeDaemon daemon(folder.file("socket"), Behaviour::kAnswer, measured);
  const ExampleRun run = run_example(folder.file("socket"));
  BOOST_TEST(run.exit_code == 0);
  BOOST_TEST_REQUIRE(run.lines.size() == plain().lines.size());
  std::size_t different = 0;
  std::size_t refused = 0;
  std::size_t given_up = 0;
  for (std::size_t i = 0; i < run.lines.size(); ++i) {
    const auto& record = records().at(run.lines[i].problem);
    const core::Decision decision = core::decide_measured(record, {}, {}, 8);
    // Without a GPU some engines are refused, and the next one takes their place, unless it is far
    // behind.
    const auto choices = static_cast<std::size_t>(run.lines[i].choices);
    if (run.lines[i].config == plain().lines[i].config && choices > decision.entries.size()) {
      ++given_up;
      continue;
    }
    BOOST_TEST_REQUIRE(choices <= decision.entries.size(), run.lines[i].problem);
    const auto& first = decision.entries[decision.entries.size() - choices];
    BOOST_TEST(run.lines[i].config == core::format_engine_config(first.config));
    refused += decision.entries.size() - choices;
    BOOST_TEST(time_of(run.lines[i]) <= time_of(plain().lines[i]), run.lines[i].problem);
    different += run.lines[i].config != plain().lines[i].config ? 1 : 0;
  }
  BOOST_TEST(different > 0u);
  BOOST_TEST_MESSAGE("entries refused without a GPU: " << refused
                                                       << ", answers given up: " << given_up);
  BOOST_TEST(given_up <= run.lines.size() / 4);
  BOOST_TEST(daemon.problems_asked() == run.lines.size());
  BOOST_TEST_REQUIRE(!daemon.contexts().empty());
  const auto context = daemon.contexts().front();
  BOOST_TEST(core::format_device(context.context.device) == "NVIDIA H200/sm90/132");
  BOOST_TEST(context.library.find("libcudnn.so") != std::string::npos);
}

// It does not run the heuristic: what it takes, a fifth or less, is measured by scripts/demo on a
// quiet machine; a busy one can spoil any attempt.
BOOST_AUTO_TEST_CASE(a_decision_takes_far_less_than_heuristic_a) {
  const TemporaryFolder folder;
  FakeDaemon daemon(folder.file("socket"), Behaviour::kAnswer, measured);
  double best = 1;
  for (int attempt = 0; attempt < 3 && best >= 0.5; ++attempt) {
    const double heuristic = median_decision(run_example("/nonexistent", false));
    const double shim = median_decision(run_example(folder.file("socket")));
    BOOST_TEST_MESSAGE("median decision: plain " << heuristic << " us, shim " << shim << " us");
    best = std::min(best, shim / heuristic);
  }
  BOOST_TEST(best < 0.5);
}

BOOST_AUTO_TEST_CASE(observing_asks_and_changes_nothing) {
  const TemporaryFolder folder;
  FakeDaemon daemon(folder.file("socket"), Behaviour::kAnswer, measured);
  const ExampleRun run = run_example(folder.file("socket"), true, "observe");
  BOOST_TEST(run.exit_code == 0);
  check_same_choices(run, plain());
  BOOST_TEST(daemon.problems_asked() == run.lines.size());
}

BOOST_AUTO_TEST_CASE(off_does_not_even_ask) {
  const TemporaryFolder folder;
  FakeDaemon daemon(folder.file("socket"), Behaviour::kAnswer, measured);
  const ExampleRun run = run_example(folder.file("socket"), true, "off");
  check_same_choices(run, plain());
  BOOST_TEST(daemon.connections() == 0u);
}

BOOST_AUTO_TEST_CASE(replaying_leaves_predictions_alone) {
  const TemporaryFolder folder;
  FakeDaemon daemon(folder.file("socket"), Behaviour::kAnswer, [](const auto& c, const auto& p) {
    core::Decision decision = measured(c, p);
    decision.source = core::Source::kPredicted;
    decision.model = "m";
    return decision;
  });
  check_same_choices(run_example(folder.file("socket"), true, "replay"), plain());
}

BOOST_AUTO_TEST_CASE(configurations_that_do_not_exist_leave_cudnns_own_choice) {
  const TemporaryFolder folder;
  FakeDaemon daemon(folder.file("socket"), Behaviour::kAnswer, [](const auto&, const auto&) {
    core::Decision decision;
    decision.source = core::Source::kMeasured;
    core::DecisionEntry entry;
    entry.config = core::EngineConfig(4711);
    decision.entries.push_back(entry);
    return decision;
  });
  const ExampleRun run = run_example(folder.file("socket"));
  BOOST_TEST(run.exit_code == 0);
  check_same_choices(run, plain());
}

BOOST_AUTO_TEST_CASE(without_a_daemon_everything_is_cudnns_own) {
  const ExampleRun run = run_example("/nonexistent/socket");
  BOOST_TEST(run.exit_code == 0);
  check_same_choices(run, plain());
}

BOOST_DATA_TEST_CASE(
    an_insane_daemon_leaves_everything_to_cudnn,
    boost::unit_test::data::make({Behaviour::kHang,
                                  Behaviour::kGarbage,
                                  Behaviour::kClose,
                                  Behaviour::kOversize,
                                  Behaviour::kTrickle}) ^
        boost::unit_test::data::make({"hang", "garbage", "close", "oversize", "trickle"}),
    behaviour,
    name) {
  BOOST_TEST_CONTEXT(name) {
    const TemporaryFolder folder;
    FakeDaemon daemon(folder.file("socket"), behaviour, measured);
    const ExampleRun run = run_example(folder.file("socket"));
    BOOST_TEST(run.exit_code == 0);
    check_same_choices(run, plain());
  }
}

BOOST_AUTO_TEST_SUITE_END()
