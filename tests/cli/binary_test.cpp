#include "cli/exit_code.h"
#include "tests/sanitized.h"

#include <boost/test/unit_test.hpp>

#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>

// The reformerctl binary itself, without a daemon.
namespace reformer::cli {
namespace {

struct Outcome {
  int exit_code;
  std::string text;  // standard output and error
};

Outcome shell(const std::string& environment, const std::string& arguments) {
  const std::string line = environment + " '" REFORMERCTL "' " + arguments + " 2>&1";
  std::FILE* pipe = popen(line.c_str(), "r");
  BOOST_REQUIRE(pipe != nullptr);
  Outcome outcome{};
  std::array<char, 4096> buffer;
  while (const std::size_t got = std::fread(buffer.data(), 1, buffer.size(), pipe)) {
    outcome.text.append(buffer.data(), got);
  }
  outcome.exit_code = WEXITSTATUS(pclose(pipe));
  return outcome;
}

// Any library that can be loaded stands in for the shim.
constexpr const char* kShim = "REFORMER_SHIM='" REFORMER_LIBRARY "'";

}  // namespace

BOOST_AUTO_TEST_SUITE(binary)

BOOST_AUTO_TEST_CASE(without_a_daemon_it_says_what_to_do_and_exits_with_4) {
  const auto outcome = shell("REFORMER_SOCKET=/nonexistent/socket", "status");
  BOOST_TEST(outcome.exit_code == kExitUnavailable);
  BOOST_TEST(outcome.text ==
             "reformerctl: no daemon at /nonexistent/socket (No such file or directory): start it "
             "with `systemctl start reformerd`, or set REFORMER_SOCKET / --offline DIR\n");
}

BOOST_AUTO_TEST_CASE(every_command_is_in_the_completions_and_the_manual) {
  std::istringstream help(shell("", "--help").text);
  std::size_t commands = 0;
  bool listed = false;  // behind the options
  for (std::string line; std::getline(help, line);) {
    listed = listed || line.rfind("Looking at", 0) == 0;
    const auto end = line.find(' ', 2);
    if (!listed || line.rfind("  ", 0) != 0 || line.size() < 4 || line[2] == ' ' ||
        line.rfind("  reformerctl", 0) == 0 || end == std::string::npos) {
      continue;
    }
    const std::string command = line.substr(2, end - 2);
    ++commands;
    for (const char* file : {"/cli/completions/reformerctl.bash",
                             "/cli/completions/_reformerctl",
                             "/cli/completions/reformerctl.fish",
                             "/docs/man/reformerctl.1"}) {
      std::ifstream stream(std::string(REFORMER_SOURCE_DIR) + file);
      const std::string text{std::istreambuf_iterator<char>(stream), {}};
      BOOST_TEST(text.find(command) != std::string::npos, command << " is not in " << file);
    }
  }
  BOOST_TEST(commands >= 22U);
}

BOOST_AUTO_TEST_CASE(run_sets_the_environment_and_keeps_what_was_preloaded,
                     *boost::unit_test::enable_if<!reformer::testing::kSanitized>()) {
  const auto outcome =
      shell(std::string(kShim) + " LD_PRELOAD='" REFORMER_LIBRARY "'",
            "--socket /nonexistent/s run --mode observe -- "
            "/bin/sh -c 'echo $LD_PRELOAD $REFORMER_MODE $REFORMER_SOCKET $0' --json");
  BOOST_TEST(outcome.exit_code == 0);
  BOOST_TEST(outcome.text == REFORMER_LIBRARY ":" REFORMER_LIBRARY
                                              " observe /nonexistent/s --json\n");
}

BOOST_AUTO_TEST_CASE(run_ends_as_the_command_ends,
                     *boost::unit_test::enable_if<!reformer::testing::kSanitized>()) {
  BOOST_TEST(shell(kShim, "run -- /bin/sh -c 'exit 9'").exit_code == 9);
  BOOST_TEST(shell(kShim, "run -- /nonexistent").exit_code == 127);
  BOOST_TEST(shell(kShim, "run -- /etc/passwd").exit_code == 126);
  BOOST_TEST(shell(kShim, "run").exit_code == kExitUsage);
}

BOOST_AUTO_TEST_CASE(a_shim_that_is_not_there_is_told_before_the_command_runs) {
  const auto outcome = shell("REFORMER_SHIM=/nonexistent.so", "run -- echo ran");
  BOOST_TEST(outcome.exit_code == kExitFailed);
  BOOST_TEST(outcome.text.find("ran\n") == std::string::npos);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace reformer::cli
