#include "storage/open_database.h"
#include "tests/storage/faulty_file_system.h"
#include "tests/storage/sample_records.h"
#include "tests/storage/temporary_directory.h"

#include <boost/test/unit_test.hpp>

#include <fstream>
#include <set>

namespace {

using namespace reformer;
using storage::Database;
using storage::Durability;
using storage::OpenMode;
using storage::testing::same_record;
using storage::testing::sample_key;
using storage::testing::sample_record;

using Opened = core::Result<std::unique_ptr<Database>>;

struct Fixture {
  Opened open(OpenMode mode = OpenMode::kReadWrite) {
    report = {};
    return storage::open_database(
        directory.database(), mode, &report, {.env = faulty.env.get(), .schema = {}});
  }
  static core::Result<bool> put(const Opened& database, std::uint32_t number) {
    return (*database)->put_record(
        sample_record(number), Database::Merge::kForce, Durability::kSynced);
  }
  static bool holds(const Opened& database, std::uint32_t number) {
    const auto found = (*database)->find_record(sample_key(number));
    return found.ok() && found->has_value() && same_record(**found, sample_record(number));
  }

  storage::testing::TemporaryDirectory directory;
  storage::testing::FaultyEnvironment faulty;
  storage::OpenReport report;
};

}  // namespace

BOOST_FIXTURE_TEST_SUITE(faults_test, Fixture)

BOOST_AUTO_TEST_CASE(a_full_disk_refuses_writes_answers_reads_and_goes_on_when_there_is_room) {
  const Opened database = open();
  BOOST_REQUIRE(database.ok());
  BOOST_TEST(put(database, 1).ok());
  faulty.disk->failing_writes = 1000;
  for (int attempt = 0; attempt < 3; ++attempt) {
    const auto refused = put(database, 2);

    BOOST_TEST((refused.error().code == core::ErrorCode::kExhausted));
    BOOST_TEST(refused.error().message.find("space") != std::string::npos);
    BOOST_TEST(holds(database, 1));
  }
  faulty.disk->failing_writes = 0;

  BOOST_TEST(put(database, 3).ok());
  BOOST_TEST(holds(database, 1));
  BOOST_TEST(holds(database, 3));
  BOOST_TEST((*database)->counts()->records == 2U);
}

BOOST_AUTO_TEST_CASE(after_a_full_disk_what_was_acknowledged_is_there_and_no_more) {
  {
    const Opened database = open();
    BOOST_TEST(put(database, 1).ok());
    faulty.disk->failing_writes = 1000;
    BOOST_TEST(!put(database, 2).ok());
  }
  faulty.disk->failing_writes = 0;
  const Opened database = open();
  BOOST_REQUIRE(database.ok());
  BOOST_TEST(report.set_aside.empty());
  BOOST_TEST(holds(database, 1));
  BOOST_TEST((*database)->counts()->records == 1U);
}

BOOST_AUTO_TEST_CASE(opening_on_a_full_or_read_only_disk_sets_nothing_aside) {
  { BOOST_TEST(put(open(), 1).ok()); }
  faulty.disk->failing_writes = 1000;
  BOOST_TEST((open().error().code == core::ErrorCode::kExhausted));
  BOOST_TEST(report.set_aside.empty());
  faulty.disk->failing_writes = 0;
  faulty.disk->read_only = true;
  const Opened refused = open();
  BOOST_TEST((refused.error().code == core::ErrorCode::kUnavailable));
  BOOST_TEST(refused.error().message.find("Read-only file system") != std::string::npos);
  BOOST_TEST(report.set_aside.empty());
  {
    const Opened reading = open(OpenMode::kReadOnly);
    BOOST_REQUIRE(reading.ok());
    BOOST_TEST(holds(reading, 1));
  }
  faulty.disk->read_only = false;
  BOOST_TEST(holds(open(), 1));
}

BOOST_AUTO_TEST_CASE(a_disk_that_cannot_be_read_is_unavailable_not_corrupt) {
  {
    const Opened database = open();
    BOOST_TEST(put(database, 1).ok());
    BOOST_TEST((*database)->compact().ok());
  }
  const Opened database = open();
  faulty.disk->failing_reads = true;
  BOOST_TEST(
      ((*database)->find_record(sample_key(1)).error().code == core::ErrorCode::kUnavailable));
  faulty.disk->failing_reads = false;
  BOOST_TEST(holds(database, 1));
}

BOOST_AUTO_TEST_CASE(a_slow_disk_delays_and_does_no_more) {
  const Opened database = open();
  faulty.disk->write_delay_us = 3'000;
  for (std::uint32_t number = 0; number < 5; ++number) {
    BOOST_TEST(put(database, number).ok());
    BOOST_TEST(holds(database, number));
  }
}

// Or a daemon would not come back for a minute after damage on such a disk.
BOOST_AUTO_TEST_CASE(a_salvage_does_not_write_record_by_record) {
  constexpr std::uint32_t kRecords = 1000;
  {
    const Opened database = open();
    for (std::uint32_t number = 0; number < kRecords; ++number) {
      BOOST_REQUIRE(
          (*database)
              ->put_record(sample_record(number), Database::Merge::kForce, Durability::kBuffered)
              .ok());
    }
  }
  std::ofstream(directory.database() / "DAMAGED") << "a test says so\n";
  faulty.disk->writes = 0;
  const Opened database = open();
  BOOST_REQUIRE(database.ok());
  BOOST_TEST(!report.set_aside.empty());
  BOOST_TEST((*database)->counts()->records == kRecords);
  BOOST_TEST(faulty.disk->writes < kRecords / 2);
}

// Writes fail at random, one kind of failure after the other, over several restarts.
BOOST_AUTO_TEST_CASE(whatever_fails_what_was_acknowledged_is_there) {
  std::set<std::uint32_t> acknowledged;
  std::uint32_t number = 0;
  int failures = 0;
  for (int restart = 0; restart < 6; ++restart) {
    faulty.disk->fail_with_no_space = restart % 2 == 0;
    {
      const Opened database = open();
      BOOST_REQUIRE(database.ok());
      faulty.disk->failing_writes = 30;
      for (int i = 0; i < 60; ++i, ++number) {
        if (put(database, number).ok()) {
          acknowledged.insert(number);
        } else {
          ++failures;
        }
      }
    }
    faulty.disk->failing_writes = 0;
    const Opened database = open();
    BOOST_REQUIRE(database.ok());
    BOOST_TEST_MESSAGE(report.reason);
    for (const std::uint32_t expected : acknowledged) {
      BOOST_TEST(holds(database, expected));
    }
  }
  BOOST_TEST(failures > 5);
  BOOST_TEST(acknowledged.size() > 100U);
}

BOOST_AUTO_TEST_SUITE_END()
