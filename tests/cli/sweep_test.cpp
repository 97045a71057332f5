// `reformerctl sweep` without a GPU: cuDNN lists the candidates of the GPU that
// data/h200-deviceprop.json describes.
#include "cli/exit_code.h"
#include "core/problem_text.h"
#include "interchange/measurements.h"

#include <boost/test/unit_test.hpp>

#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <string>

namespace reformer::cli {
namespace {

namespace fs = std::filesystem;

struct Fixture {
  Fixture() {
    fs::create_directories(folder);
    std::ofstream list(problems);
    for (int channels = 8; channels <= 8 * kProblems; channels += 8) {
      list << "fwd f16 nhwc n4 c" << channels << " h14 w14 k32 r3 s3 pad1\n";
    }
  }
  ~Fixture() { fs::remove_all(folder); }

  // The process of a sweep of the list to `out`.
  [[nodiscard]] pid_t start(const std::vector<std::string>& more) const {
    std::vector<std::string> arguments{REFORMERCTL,
                                       "sweep",
                                       "--problems",
                                       problems,
                                       "--out",
                                       out,
                                       "--enumerate-only",
                                       "--threads",
                                       threads,
                                       "--cudnn-lib",
                                       library,
                                       "--device-prop",
                                       REFORMER_SOURCE_DIR "/data/h200-deviceprop.json"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    std::vector<char*> raw;
    for (std::string& argument : arguments) {
      raw.push_back(argument.data());
    }
    raw.push_back(nullptr);
    const pid_t child = ::fork();
    if (child == 0) {
      (void)!std::freopen((folder / "log").c_str(), "w", stderr);
      ::execv(raw[0], raw.data());
      _exit(127);
    }
    return child;
  }
  static int wait(pid_t child) {
    int status = 0;
    ::waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  [[nodiscard]] int run(const std::vector<std::string>& more) const { return wait(start(more)); }

  struct Read {
    std::set<std::string> problems;
    std::size_t records = 0;
    std::size_t unlisted = 0;  // candidates that no heuristic lists
    std::size_t bad = 0;
  };
  [[nodiscard]] Read read() const {
    Read result;
    auto reader = interchange::MeasurementReader::open(out);
    BOOST_REQUIRE(reader);
    while (true) {
      auto record = reader.value()->next();
      if (!record) {
        ++result.bad;
      } else if (!record->has_value()) {
        return result;
      } else {
        ++result.records;
        for (const core::Candidate& c : (*record)->candidates) {
          const bool listed = c.rank_a != core::kNoRank || c.rank_b != core::kNoRank ||
                              c.rank_fallback != core::kNoRank;
          result.unlisted += listed ? 0 : 1;
        }
        result.problems.insert(core::format_problem((*record)->key.problem));
      }
    }
  }

  static constexpr int kProblems = 6;
  fs::path folder = fs::temp_directory_path() / ("sweep_test_" + std::to_string(::getpid()));
  std::string problems = folder / "problems.txt";
  std::string out = folder / "out.jsonl";
  std::string threads = "1";
  std::string library = CUDNN_LIBRARY;
};

}  // namespace

BOOST_FIXTURE_TEST_SUITE(sweep, Fixture)

BOOST_AUTO_TEST_CASE(every_problem_of_a_list_gets_a_line) {
  BOOST_TEST(run({}) == kExitOk);
  const Read written = read();
  BOOST_TEST(written.records == 6U);
  BOOST_TEST(written.problems.size() == 6U);
  BOOST_TEST(written.bad == 0U);
}

BOOST_AUTO_TEST_CASE(what_a_model_would_choose_is_a_candidate_too) {
  // A depthwise filter: cuDNN lists a few of the grids that the model knows of.
  std::ofstream(problems) << "fwd f16 nhwc n256 c120 h28 w28 k120 r5 s5 pad2 grp120\n";
  BOOST_TEST(run({}) == kExitOk);
  BOOST_TEST(read().unlisted == 0U);
  BOOST_TEST(run({"--model", REFORMER_SOURCE_DIR "/data/h200.reformer"}) == kExitOk);
  const Read written = read();
  BOOST_TEST(written.records == 1U);
  BOOST_TEST(written.unlisted > 0U);
  BOOST_TEST(written.unlisted <= 4U);
  BOOST_TEST(run({"--model", problems}) == kExitFailed);  // no model file
}

BOOST_AUTO_TEST_CASE(it_goes_on_where_it_was_cut_off_in_the_middle_of_a_line) {
  BOOST_TEST(run({}) == kExitOk);
  fs::resize_file(out, fs::file_size(out) * 2 / 3);
  const std::size_t whole = read().records;
  BOOST_TEST(whole < 6U);
  BOOST_TEST(run({"--resume"}) == kExitOk);
  const Read written = read();
  BOOST_TEST(written.records == 6U);
  BOOST_TEST(written.problems.size() == 6U);
  BOOST_TEST(written.bad == 1U);  // the line that was cut off
  BOOST_TEST(run({"--resume"}) == kExitOk);
  BOOST_TEST(read().records == 6U);
}

BOOST_AUTO_TEST_CASE(an_interruption_leaves_whole_lines) {
  std::ofstream list(problems, std::ios::app);
  for (int channels = 400; channels <= 8000; channels += 8) {
    list << "fwd f16 nhwc n4 c" << channels << " h14 w14 k32 r3 s3 pad1\n";
  }
  list.close();
  const pid_t child = start({});
  while (!fs::exists(out) || fs::file_size(out) == 0) {
    BOOST_REQUIRE(::waitpid(child, nullptr, WNOHANG) == 0);
    ::usleep(1000);
  }
  ::kill(child, SIGINT);
  BOOST_TEST(wait(child) == kExitOk);
  const Read written = read();
  BOOST_TEST(written.bad == 0U);
  BOOST_TEST(written.records > 0U);
  BOOST_TEST(written.records < 900U);
}

BOOST_AUTO_TEST_CASE(two_processes_share_a_list) {
  threads = "2";
  BOOST_TEST(run({"--processes", "2"}) == kExitOk);
  const Read written = read();
  BOOST_TEST(written.records == 6U);
  BOOST_TEST(written.problems.size() == 6U);
  BOOST_TEST(written.bad == 0U);
}

BOOST_AUTO_TEST_CASE(a_process_that_dies_is_told_of_and_the_others_go_on) {
  std::ofstream list(problems, std::ios::app);
  for (int channels = 400; channels <= 1600; channels += 8) {
    list << "fwd f16 nhwc n4 c" << channels << " h14 w14 k32 r3 s3 pad1\n";
  }
  list.close();
  threads = "2";
  const pid_t parent = start({"--processes", "2"});
  while (!fs::exists(out) || fs::file_size(out) == 0) {
    BOOST_REQUIRE(::waitpid(parent, nullptr, WNOHANG) == 0);
    ::usleep(1000);
  }
  const std::string id = std::to_string(parent);
  std::ifstream children("/proc/" + id + "/task/" + id + "/children");
  pid_t first = 0;
  BOOST_REQUIRE(children >> first);
  ::kill(first, SIGKILL);
  BOOST_TEST(wait(parent) == kExitFailed);
  const Read written = read();
  BOOST_TEST(written.bad == 0U);
  BOOST_TEST(written.records >= 78U);  // the other's half
  BOOST_TEST(written.records < 157U);
  std::stringstream log;
  log << std::ifstream(folder / "log").rdbuf();
  BOOST_TEST(log.str().find("signal 9") != std::string::npos);
  BOOST_TEST(run({"--resume"}) == kExitOk);
  BOOST_TEST(read().problems.size() == 157U);
}

BOOST_AUTO_TEST_CASE(what_cannot_be_done_is_said_before_anything_is_measured) {
  out = folder / "no" / "such" / "folder";
  BOOST_TEST(run({}) == kExitFailed);
  out = folder / "out.jsonl";
  library = "/no/such/library";
  BOOST_TEST(run({}) == kExitFailed);
  threads = "2";
  BOOST_TEST(run({"--processes", "2"}) == kExitFailed);  // and ends, though both wait for the other
  BOOST_TEST(run({"--random", "5"}) == kExitUsage);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace reformer::cli
