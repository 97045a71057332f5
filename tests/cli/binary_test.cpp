#include "cli/exit_code.h"

#include <boost/test/unit_test.hpp>

#include <sys/wait.h>

#include <array>
#include <cstdio>
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

BOOST_AUTO_TEST_CASE(run_sets_the_environment_and_keeps_what_was_preloaded) {
  const auto outcome =
      shell(std::string(kShim) + " LD_PRELOAD='" REFORMER_LIBRARY "'",
            "--socket /nonexistent/s run --mode observe -- "
            "/bin/sh -c 'echo $LD_PRELOAD $REFORMER_MODE $REFORMER_SOCKET $0' --json");
  BOOST_TEST(outcome.exit_code == 0);
  BOOST_TEST(outcome.text == REFORMER_LIBRARY ":" REFORMER_LIBRARY
                                              " observe /nonexistent/s --json\n");
}

BOOST_AUTO_TEST_CASE(run_ends_as_the_command_ends) {
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
