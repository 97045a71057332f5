#include "storage/open_database.h"
#include "storage/row_codec.h"
#include "tests/sanitized.h"
#include "tests/storage/sample_records.h"
#include "tests/storage/temporary_directory.h"

#include <boost/test/unit_test.hpp>
#include <rocksdb/db.h>

#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <set>

namespace {

using namespace reformer;
namespace fs = std::filesystem;
using storage::Database;
using storage::Durability;
using storage::OpenInternals;
using storage::OpenMode;
using storage::OpenReport;
using storage::testing::same_record;
using storage::testing::sample_key;
using storage::testing::sample_record;

constexpr std::uint32_t kRecords = 2'000;

using Opened = core::Result<std::unique_ptr<Database>>;

struct Fixture {
  Opened open(OpenMode mode = OpenMode::kReadWrite, const OpenInternals& internals = {}) {
    report = {};
    return storage::open_database(path, mode, &report, internals);
  }
  // A database with kRecords records; `flush` brings them from the log into tables.
  void fill(bool flush) {
    const Opened database = open();
    BOOST_REQUIRE(database.ok());
    for (std::uint32_t number = 0; number < kRecords; ++number) {
      (void)(*database)->put_record(
          sample_record(number, 20), Database::Merge::kForce, Durability::kBuffered);
    }
    (void)(*database)->add_uses(core::hash_key(sample_key(1)), {.executions = 5});
    (void)(*database)->put_meta("champion", "reformer-3");
    if (flush) {
      BOOST_REQUIRE((*database)->compact().ok());
    }
  }
  // How many of them it has; none may be wrong.
  static std::uint32_t intact(Database& database) {
    std::uint32_t found = 0;
    for (std::uint32_t number = 0; number < kRecords; ++number) {
      const auto record = database.find_record(sample_key(number));
      if (record.ok() && record->has_value()) {
        BOOST_TEST(same_record(**record, sample_record(number, 20)));
        ++found;
      }
    }
    return found;
  }
  // The largest file of that kind.
  [[nodiscard]] fs::path file(std::string_view prefix, std::string_view suffix) const {
    fs::path largest;
    for (const auto& entry : fs::directory_iterator(path)) {
      const std::string name = entry.path().filename().string();
      if (name.starts_with(prefix) && name.ends_with(suffix) &&
          (largest.empty() || entry.file_size() > fs::file_size(largest))) {
        largest = entry.path();
      }
    }
    BOOST_REQUIRE(!largest.empty());
    return largest;
  }
  // Turns bits over in `count` bytes, from the given share of the file on.
  static void damage(const fs::path& file, double from, int count) {
    std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
    const auto at = static_cast<std::streamoff>(static_cast<double>(fs::file_size(file)) * from);
    std::string bytes(static_cast<std::size_t>(count), '\0');
    stream.seekg(at).read(bytes.data(), count);
    for (char& byte : bytes) {
      byte = static_cast<char>(~byte);
    }
    stream.seekp(at).write(bytes.data(), count);
    BOOST_REQUIRE(stream.good());
  }
  // A process that opens it, does what it is told and is killed.
  template <typename Work>
  static void in_killed_child(Work work) {
    const pid_t child = ::fork();
    if (child == 0) {
      work();
      ::kill(::getpid(), SIGKILL);
    }
    int status = 0;
    BOOST_REQUIRE(::waitpid(child, &status, 0) == child);
    BOOST_REQUIRE(WIFSIGNALED(status));
  }

  storage::testing::TemporaryDirectory directory;
  fs::path path = directory.database();
  OpenReport report;
};

// The names and sizes of all files in a folder that hold data.
std::set<std::pair<std::string, std::uintmax_t>> listing(const fs::path& folder) {
  std::set<std::pair<std::string, std::uintmax_t>> files;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string kind = entry.path().extension().string();
    if (kind == ".sst" || kind == ".log" || entry.path().filename() == "CURRENT") {
      files.emplace(entry.path().filename().string(),
                    entry.is_regular_file() ? entry.file_size() : 0);
    }
  }
  return files;
}

}  // namespace

BOOST_FIXTURE_TEST_SUITE(open_test, Fixture)

BOOST_AUTO_TEST_CASE(a_new_directory_becomes_a_database_parents_and_all) {
  path = directory.path() / "a" / "b" / "";  // with a slash at the end
  BOOST_TEST(open().ok());
  BOOST_TEST(report.set_aside.empty());
  BOOST_TEST(open(OpenMode::kReadOnly).ok());
}

BOOST_AUTO_TEST_CASE(reading_only_makes_nothing) {
  BOOST_TEST((open(OpenMode::kReadOnly).error().code == core::ErrorCode::kUnavailable));
  BOOST_TEST(!fs::exists(path));
  fs::create_directory(path);
  BOOST_TEST((open(OpenMode::kReadOnly).error().code == core::ErrorCode::kUnavailable));
  BOOST_TEST(fs::is_empty(path));
}

BOOST_AUTO_TEST_CASE(a_database_that_is_open_elsewhere_is_left_alone) {
  fill(false);
  const Opened first = open();
  const auto before = listing(path);
  for (const OpenMode mode : {OpenMode::kReadWrite, OpenMode::kReadOnly}) {
    const Opened second = open(mode);
    BOOST_TEST((second.error().code == core::ErrorCode::kUnavailable));
    BOOST_TEST(second.error().message.find("another process") != std::string::npos);
  }
  BOOST_TEST(report.set_aside.empty());
  BOOST_TEST((listing(path) == before));
  BOOST_TEST(intact(**first) == kRecords);
}

BOOST_AUTO_TEST_CASE(several_may_read_at_once_and_then_nobody_writes) {
  fill(true);
  const Opened first = open(OpenMode::kReadOnly);
  const Opened second = open(OpenMode::kReadOnly);
  BOOST_TEST(first.ok());
  BOOST_TEST(second.ok());
  BOOST_TEST((open().error().code == core::ErrorCode::kUnavailable));
}

BOOST_AUTO_TEST_CASE(a_folder_of_other_files_is_set_aside_whole) {
  fs::create_directory(path);
  std::ofstream(path / "thesis.txt") << "all of it";
  const Opened database = open();
  BOOST_REQUIRE(database.ok());
  BOOST_TEST(report.set_aside == fs::path(path.string() + ".set-aside-1"));
  BOOST_TEST(report.reason.find("thesis.txt") != std::string::npos);
  BOOST_TEST(fs::file_size(report.set_aside / "thesis.txt") == 9U);
  BOOST_TEST((*database)->counts()->records == 0U);
}

BOOST_AUTO_TEST_CASE(reading_only_refuses_other_files) {
  fs::create_directory(path);
  std::ofstream(path / "thesis.txt") << "all of it";
  BOOST_TEST((open(OpenMode::kReadOnly).error().code == core::ErrorCode::kUnsupported));
  BOOST_TEST(fs::exists(path / "thesis.txt"));
}

BOOST_AUTO_TEST_CASE(another_programs_rocksdb_is_set_aside_unchanged) {
  rocksdb::DB* other = nullptr;
  rocksdb::Options options;
  options.create_if_missing = true;
  BOOST_REQUIRE(rocksdb::DB::Open(options, path.string(), &other).ok());
  BOOST_REQUIRE(other->Put({}, "their key", "their value").ok());
  delete other;
  BOOST_REQUIRE(open().ok());
  BOOST_TEST(report.reason.find("another program") != std::string::npos);
  std::string value;
  BOOST_REQUIRE(rocksdb::DB::OpenForReadOnly({}, report.set_aside.string(), &other).ok());
  BOOST_TEST(other->Get({}, "their key", &value).ok());
  delete other;
  BOOST_TEST(value == "their value");
}

BOOST_AUTO_TEST_CASE(set_aside_names_are_not_used_twice) {
  for (int number = 1; number <= 3; ++number) {
    fs::remove_all(path);
    fs::create_directory(path);
    std::ofstream(path / "file") << number;
    BOOST_REQUIRE(open().ok());
    BOOST_TEST(report.set_aside.string().ends_with(".set-aside-" + std::to_string(number)));
  }
}

BOOST_AUTO_TEST_CASE(a_newer_schema_is_set_aside_and_reading_refuses_it) {
  fill(false);
  const OpenInternals newer{.env = nullptr, .schema = {.version = 9, .migrations = {}}};
  {
    const storage::Migration migration{.from = 1,
                                       .apply = [](storage::Store&) { return core::ok_status(); }};
    std::vector<storage::Migration> all(8, migration);
    for (std::size_t i = 0; i < all.size(); ++i) {
      all[i].from = i + 1;
    }
    BOOST_REQUIRE(
        open(OpenMode::kReadWrite, {.env = nullptr, .schema = {.version = 9, .migrations = all}})
            .ok());
  }
  BOOST_TEST((open(OpenMode::kReadOnly).error().code == core::ErrorCode::kUnsupported));
  const Opened database = open();
  BOOST_REQUIRE(database.ok());
  BOOST_TEST(report.reason.find("schema 9") != std::string::npos);
  BOOST_TEST((*database)->counts()->records == 0U);
  path = report.set_aside;
  const Opened untouched = open(OpenMode::kReadOnly, newer);
  BOOST_REQUIRE(untouched.ok());
  BOOST_TEST(intact(**untouched) == kRecords);
}

BOOST_AUTO_TEST_CASE(an_older_schema_is_upgraded_step_by_step_and_a_failed_step_repeated) {
  fill(false);
  static int applied = 0;
  static bool fails = true;
  const std::vector<storage::Migration> migrations{
      // A hand-made history: schema 1 kept the champion under another name.
      {.from = 1,
       .apply =
           [](storage::Store& store) {
             ++applied;
             std::string value;
             if (!store.get(storage::Family::kMeta, "user/champion", value).value()) {
               return core::ok_status();  // done before
             }
             storage::Batch batch;
             batch.put(storage::Family::kMeta, "user/leader", value);
             batch.erase(storage::Family::kMeta, "user/champion");
             return store.write(batch, Durability::kSynced);
           }},
      {.from = 2, .apply = [](storage::Store&) -> core::Status {
         ++applied;
         if (fails) {
           return core::make_error(core::ErrorCode::kExhausted, "disk full");
         }
         return core::ok_status();
       }}};
  const OpenInternals newer{.env = nullptr, .schema = {.version = 3, .migrations = migrations}};
  const Opened failed = open(OpenMode::kReadWrite, newer);
  BOOST_TEST((failed.error().code == core::ErrorCode::kExhausted));
  BOOST_TEST(failed.error().message.find("upgrading from schema 2") != std::string::npos);
  BOOST_TEST(report.set_aside.empty());

  fails = false;
  const Opened upgraded = open(OpenMode::kReadWrite, newer);
  BOOST_REQUIRE(upgraded.ok());
  BOOST_TEST(applied == 3);  // the first one once
  BOOST_TEST((*upgraded)->find_meta("leader").value().value() == "reformer-3");
  BOOST_TEST(intact(**upgraded) == kRecords);
}

BOOST_AUTO_TEST_CASE(a_creation_that_was_cut_short_goes_on) {
  fs::create_directory(path);
  std::ofstream(path / "LOCK");
  std::ofstream(path / "LOG") << "text";
  std::ofstream(path / "MANIFEST-000001") << "half";
  BOOST_TEST(open().ok());
  BOOST_TEST(report.set_aside.empty());
}

BOOST_AUTO_TEST_CASE(the_unfinished_end_of_a_log_is_no_damage,
                     *boost::unit_test::enable_if<!reformer::testing::kThreadSanitized>()) {
  in_killed_child([this] {
    fill(false);
    (void)open().ok();
  });
  const fs::path log = file("", ".log");
  fs::resize_file(log, fs::file_size(log) - 7);
  const Opened database = open();
  BOOST_REQUIRE(database.ok());
  BOOST_TEST(report.set_aside.empty());
  BOOST_TEST(intact(**database) >= kRecords - 1);
  BOOST_TEST((*database)->counts()->records == intact(**database));
}

BOOST_AUTO_TEST_CASE(damage_within_the_log_costs_what_is_damaged_only) {
  fill(false);
  damage(file("", ".log"), 0.5, 3);
  const auto before = listing(path);
  const Opened database = open();
  BOOST_REQUIRE(database.ok());
  BOOST_TEST_MESSAGE(report.reason);
  BOOST_TEST((listing(report.set_aside) == before));
  const std::uint32_t kept = intact(**database);
  BOOST_TEST(kept > kRecords * 9 / 10);
  BOOST_TEST(kept < kRecords);
  BOOST_TEST((*database)->counts()->records == kept);
  BOOST_TEST(report.reason.find(std::to_string(kept)) != std::string::npos);
  BOOST_TEST((*database)->find_meta("champion").value().value() == "reformer-3");
  BOOST_TEST((*database)->find_uses(core::hash_key(sample_key(1))).value()->executions == 5U);
}

BOOST_AUTO_TEST_CASE(a_damaged_table_is_read_around_and_repaired_at_the_next_start) {
  fill(true);
  damage(file("", ".sst"), 0.4, 10);
  {
    const Opened database = open();
    BOOST_REQUIRE(database.ok());
    BOOST_TEST(report.set_aside.empty());  // nobody has met the damage yet
    int damaged = 0;
    std::uint32_t walked = 0;
    BOOST_TEST((*database)
                   ->for_each_record([&](const core::Record&) { return ++walked > 0; },
                                     [&](const core::KeyHash&, const core::Error& error) {
                                       BOOST_TEST((error.code == core::ErrorCode::kCorrupt));
                                       ++damaged;
                                     })
                   .ok());
    BOOST_TEST(damaged == 1);
    BOOST_TEST(walked > kRecords * 9 / 10);
    BOOST_TEST(intact(**database) >= walked);
  }
  const Opened database = open();
  BOOST_REQUIRE(database.ok());
  BOOST_TEST_MESSAGE(report.reason);
  BOOST_TEST(!report.set_aside.empty());
  const std::uint32_t kept = intact(**database);
  BOOST_TEST(kept > kRecords * 9 / 10);
  BOOST_TEST((*database)->counts()->records == kept);
}

BOOST_AUTO_TEST_CASE(a_table_that_is_cut_off_loses_nothing_beyond_it) {
  fill(true);
  const fs::path table = file("", ".sst");
  fs::resize_file(table, fs::file_size(table) / 2);
  const Opened database = open();
  BOOST_REQUIRE(database.ok());
  BOOST_TEST_MESSAGE(report.reason);
  BOOST_TEST(!report.set_aside.empty());
  BOOST_TEST((*database)->find_meta("champion").value().value() == "reformer-3");
}

BOOST_AUTO_TEST_CASE(a_damaged_or_missing_manifest_loses_nothing) {
  for (const bool missing : {false, true}) {
    fs::remove_all(path);
    fill(true);
    const fs::path manifest = file("MANIFEST-", "");
    missing ? static_cast<void>(fs::remove(manifest)) : damage(manifest, 0.3, 40);
    const Opened database = open();
    BOOST_REQUIRE(database.ok());
    BOOST_TEST_MESSAGE(report.reason);
    BOOST_TEST(!report.set_aside.empty());
    BOOST_TEST(intact(**database) == kRecords);
    BOOST_TEST((*database)->find_meta("champion").value().value() == "reformer-3");
  }
}

BOOST_AUTO_TEST_CASE(a_missing_or_senseless_current_loses_nothing) {
  for (const bool missing : {false, true}) {
    fs::remove_all(path);
    fill(true);
    missing ? static_cast<void>(fs::remove(path / "CURRENT"))
            : static_cast<void>(std::ofstream(path / "CURRENT") << "nonsense");
    const Opened database = open();
    BOOST_REQUIRE(database.ok());
    BOOST_TEST_MESSAGE(report.reason);
    BOOST_TEST(intact(**database) == kRecords);
  }
}

BOOST_AUTO_TEST_CASE(a_missing_table_is_found_out_and_the_rest_kept) {
  fill(true);
  fs::remove(file("", ".sst"));
  const Opened database = open();
  BOOST_REQUIRE(database.ok());
  BOOST_TEST_MESSAGE(report.reason);
  BOOST_TEST(!report.set_aside.empty());
}

BOOST_AUTO_TEST_CASE(reading_only_says_what_is_wrong_and_changes_nothing) {
  fill(true);
  fs::remove(path / "CURRENT");
  const auto before = listing(path);
  BOOST_TEST((open(OpenMode::kReadOnly).error().code == core::ErrorCode::kCorrupt));
  BOOST_TEST((listing(path) == before));
}

BOOST_AUTO_TEST_CASE(a_repair_that_was_killed_is_done_again_or_finished) {
  fill(true);
  // Killed while the copy was being made: the original stands.
  fs::create_directory(path.string() + ".salvage");
  std::ofstream(path.string() + ".salvage/CURRENT") << "half a copy";
  {
    const Opened database = open();
    BOOST_REQUIRE(database.ok());
    BOOST_TEST(intact(**database) == kRecords);
  }
  BOOST_TEST(!fs::exists(path.string() + ".salvage"));
  // Killed between the two renames: the copy is whole, the original is out of the way.
  fs::rename(path, path.string() + ".salvage");
  const Opened database = open();
  BOOST_REQUIRE(database.ok());
  BOOST_TEST(intact(**database) == kRecords);
}

BOOST_AUTO_TEST_CASE(a_place_that_cannot_be_written_is_said_so) {
  std::ofstream(directory.path() / "file");
  path = directory.path() / "file" / "db";
  const Opened database = open();
  BOOST_TEST((database.error().code == core::ErrorCode::kUnavailable));
  BOOST_TEST(database.error().message.find("file") != std::string::npos);
}

BOOST_AUTO_TEST_SUITE_END()
