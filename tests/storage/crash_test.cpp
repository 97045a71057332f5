#include "storage/database.h"
#include "tests/storage/sample_records.h"
#include "tests/storage/temporary_directory.h"

#include <boost/test/unit_test.hpp>

#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <random>
#include <string>

namespace {

using namespace reformer;
using storage::Database;
using storage::OpenMode;
using storage::testing::same_record;
using storage::testing::sample_key;
using storage::testing::sample_record;

// A process that stores records from `first` on, killed after it has acknowledged so many. Returns
// the first number that was not acknowledged.
std::uint32_t write_until_killed(const std::string& directory,
                                 std::uint32_t first,
                                 std::uint32_t acknowledgements,
                                 const std::string& durability) {
  int pipe_ends[2];
  BOOST_REQUIRE(::pipe(pipe_ends) == 0);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, pipe_ends[1], STDOUT_FILENO);
  posix_spawn_file_actions_addclose(&actions, pipe_ends[0]);
  std::string program = REFORMER_CRASH_WRITER;
  std::string path = directory;
  std::string number = std::to_string(first);
  std::string how = durability;
  char* arguments[] = {program.data(), path.data(), number.data(), how.data(), nullptr};
  pid_t child = 0;
  BOOST_REQUIRE(::posix_spawn(&child, program.c_str(), &actions, nullptr, arguments, environ) == 0);
  posix_spawn_file_actions_destroy(&actions);
  ::close(pipe_ends[1]);

  std::uint32_t next = first;
  std::uint32_t acknowledged = 0;
  const auto read_one = [&] {
    const bool got =
        ::read(pipe_ends[0], &acknowledged, sizeof acknowledged) == sizeof acknowledged;
    next = got ? acknowledged + 1 : next;
    return got;
  };
  for (std::uint32_t i = 0; i < acknowledgements; ++i) {
    BOOST_REQUIRE(read_one());
  }
  ::kill(child, SIGKILL);
  while (read_one()) {  // those that were on their way count too
  }
  ::close(pipe_ends[0]);
  int status = 0;
  BOOST_REQUIRE(::waitpid(child, &status, 0) == child);
  BOOST_TEST(WIFSIGNALED(status));
  return next;
}

void kill_again_and_again(const std::string& durability) {
  constexpr int kKills = 12;
  const storage::testing::TemporaryDirectory directory;
  const std::string path = directory.database().string();
  std::mt19937 random(5);
  std::uint32_t next = 0;
  for (int kill = 0; kill < kKills; ++kill) {
    next =
        write_until_killed(path, next, 1 + static_cast<std::uint32_t>(random() % 150), durability);

    storage::OpenReport report;
    const auto database = Database::open(path, OpenMode::kReadWrite, &report);
    BOOST_REQUIRE(database.ok());
    BOOST_TEST(report.set_aside.empty());
    std::uint64_t walked = 0;
    const core::Status status = (*database)->for_each_record(
        [&walked](const core::Record&) { return ++walked > 0; },
        [](const core::KeyHash&, const core::Error& error) { BOOST_TEST(false, error.message); });
    BOOST_TEST(status.ok());
    for (std::uint32_t number = 0; number < next; ++number) {
      const auto found = (*database)->find_record(sample_key(number));
      BOOST_REQUIRE((found.ok() && found->has_value()));
      BOOST_TEST(same_record(**found, sample_record(number)));
    }
    // At most the one that was being written is there besides.
    BOOST_TEST(walked >= next);
    BOOST_TEST(walked <= next + 1);
    BOOST_TEST((*database)->counts()->records == walked);
  }
}

}  // namespace

BOOST_AUTO_TEST_SUITE(crash_test)

// Buffered writes survive the death of the process too, though not that of the machine.
BOOST_AUTO_TEST_CASE(kill_9_loses_no_acknowledged_record_and_leaves_none_half_written) {
  kill_again_and_again("synced");
  kill_again_and_again("buffered");
}

BOOST_AUTO_TEST_SUITE_END()
