// The ways in which programs reach cuDNN, each through the shim, and all of its manners.
#include "tests/libclient/fake_daemon.h"
#include "tests/sanitized.h"
#include "tests/shim/measured.h"
#include "tests/shim/run_example.h"

#include <boost/test/unit_test.hpp>

#include <cstdlib>
#include <map>
#include <string>

namespace {

using reformer::test::Behaviour;
using reformer::test::ExampleRun;
using reformer::test::FakeDaemon;
using reformer::test::measured_decision;
using reformer::test::run_program;
using reformer::test::shipped_records;
using reformer::test::TemporaryFolder;

const std::string kSource = REFORMER_SOURCE_DIR;
const std::string kLibrary = CUDNN_LIBRARY;
const std::string kFolder = kLibrary.substr(0, kLibrary.rfind('/'));

ExampleRun run_consumer(const std::string& route,
                        const std::string& library,
                        int threads,
                        const std::string& socket) {
  return run_program(CONSUMER_PATH " " + route + " " + library + " " + kSource +
                         "/data/h200-deviceprop.json " + kSource + "/examples/convolutions.txt " +
                         std::to_string(threads),
                     {{"LD_PRELOAD", SHIM_PATH},
                      {"LD_LIBRARY_PATH", kFolder},
                      {"REFORMER_SOCKET", socket},
                      {"REFORMER_DEADLINE_US", "2000000"}});
}

// What a daemon answers whose only configurations use tensor cores: no filter of f32 without TF32
// is passed.
reformer::core::Decision only_tensor_cores(const reformer::core::Context& context,
                                           const reformer::core::Problem& problem) {
  auto decision = measured_decision(context, problem);
  for (auto& entry : decision.entries) {
    entry.numerical_notes |= reformer::core::numerical_note::kTensorCore |
                             reformer::core::numerical_note::kNondeterministic;
  }
  // A measured answer is complete: where it covers a filter with nothing, no candidate passes it.
  decision.source = reformer::core::Source::kPredicted;
  return decision;
}

// Runs a consumer under the shim; every problem must have been served by it.
void check_route(const std::string& route, const std::string& library, int threads = 1) {
  (void)shipped_records();
  const TemporaryFolder folder;
  FakeDaemon daemon(folder.file("socket"), Behaviour::kAnswer, measured_decision);
  const ExampleRun run = run_consumer(route, library, threads, folder.file("socket"));
  BOOST_TEST(run.exit_code == 0);
  BOOST_TEST(run.lines.size() >= 20u);
  BOOST_TEST(daemon.problems_asked() >= run.lines.size());
  std::size_t served = 0;
  for (const auto& line : run.lines) {
    served += line.choices <= 8 ? 1 : 0;  // cuDNN's own lists are longer
  }
  BOOST_TEST(served > run.lines.size() / 2);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(routes, *boost::unit_test::enable_if<!reformer::testing::kSanitized>())

BOOST_AUTO_TEST_CASE(by_name_and_dlsym) {
  check_route("dlsym", "libcudnn.so.9");
}
BOOST_AUTO_TEST_CASE(by_name_and_dlvsym) {
  check_route("dlvsym", "libcudnn.so.9");
}
BOOST_AUTO_TEST_CASE(by_absolute_path) {
  check_route("dlsym", kLibrary);
}
BOOST_AUTO_TEST_CASE(inside_a_local_library) {
  check_route("local", CONSUMER_LIBRARY_PATH);
}
BOOST_AUTO_TEST_CASE(from_eight_threads) {
  check_route("dlsym", "libcudnn.so.9", 8);
}

// The consumer makes a plan of every configuration, so cuDNN's own list is really there.
BOOST_AUTO_TEST_CASE(cudnns_own_list_follows_an_answer_that_may_be_refused) {
  (void)shipped_records();
  const TemporaryFolder folder;
  FakeDaemon daemon(folder.file("socket"), Behaviour::kAnswer, only_tensor_cores);
  const ExampleRun served = run_consumer("dlsym", kLibrary, 2, folder.file("socket"));
  const ExampleRun plain = run_consumer("dlsym", kLibrary, 1, "/nonexistent");
  BOOST_TEST(served.exit_code == 0);
  BOOST_TEST_REQUIRE(served.lines.size() == plain.lines.size());
  // Without a GPU some engines are refused; where only what is far behind is left, no answer is.
  std::size_t given_up = 0;
  for (std::size_t i = 0; i < served.lines.size(); ++i) {
    BOOST_TEST(served.lines[i].choices >= plain.lines[i].choices);
    given_up += served.lines[i].choices == plain.lines[i].choices ? 1 : 0;
  }
  BOOST_TEST(given_up <= served.lines.size() / 4);
}

BOOST_AUTO_TEST_CASE(only_stand_ins_are_exported) {
  FILE* pipe = ::popen("nm -D --defined-only " SHIM_PATH " | awk '{print $3}'", "r");
  BOOST_TEST_REQUIRE(pipe != nullptr);
  char name[256];
  int count = 0;
  while (std::fscanf(pipe, "%255s", name) == 1) {
    const std::string symbol = name;
    BOOST_TEST((symbol.starts_with("cudnn") || symbol == "dlsym" || symbol == "dlvsym"), symbol);
    ++count;
  }
  ::pclose(pipe);
  BOOST_TEST(count >= 8);
}

BOOST_AUTO_TEST_CASE(libcs_dlsym_is_jumped_to) {
  FILE* pipe = ::popen("objdump -d --disassemble=dlsym " SHIM_PATH, "r");
  BOOST_TEST_REQUIRE(pipe != nullptr);
  std::string code;
  char line[512];
  while (std::fgets(line, sizeof line, pipe) != nullptr) {
    code += line;
  }
  ::pclose(pipe);
  BOOST_TEST(code.find("jmp    *%rax") != std::string::npos, code);
}

// A program without cuDNN, whose other dlsym calls must work as ever.
BOOST_AUTO_TEST_CASE(other_programs_do_not_notice) {
  const ExampleRun run = run_program("ls / > /dev/null", {{"LD_PRELOAD", SHIM_PATH}});
  BOOST_TEST(run.exit_code == 0);
}

BOOST_AUTO_TEST_SUITE_END()
