// What damage to one file costs: at most the records whose own bytes, or whose block of a table, it
// hit. docs/storage.md promises that.
#include "storage/open_database.h"
#include "storage/rocks_options.h"
#include "tests/storage/sample_records.h"
#include "tests/storage/temporary_directory.h"

#include <boost/test/unit_test.hpp>

#include <fstream>
#include <memory>

namespace {

using namespace reformer;
namespace fs = std::filesystem;
using storage::Database;
using storage::Durability;
using storage::OpenMode;
using storage::testing::same_record;
using storage::testing::sample_key;
using storage::testing::sample_record;

constexpr std::uint32_t kRecords = 600;
constexpr std::int16_t kCandidates = 30;

// Where the records are when the damage comes.
enum class Where { kLog, kTable, kBoth };
enum class How {
  kByte,     // turned over
  kBlock,    // 4 KiB turned over
  kGarbage,  // 64 bytes of 0x5a: as a length, more than what is left of most files
  kCut,
};

struct Case {
  Where where;
  const char* file;  // begins or ends so; the largest one
  How how;
  double at;  // share of the file
  // Records at most lost, as a share of all and a number.
  double share;
  std::uint32_t lost;
};
const char* name_of(Where where) {
  return where == Where::kLog ? "log" : where == Where::kTable ? "table" : "both";
}
std::ostream& operator<<(std::ostream& out, const Case& c) {
  static constexpr const char* kHow[] = {"byte", "block", "garbage", "cut"};
  return out << "records in " << name_of(c.where) << ", " << c.file << ", "
             << kHow[static_cast<int>(c.how)] << " at " << c.at;
}

// A record of 30 candidates takes 200 to 300 bytes, in the log some 30 more; a block of a table
// holds 4 KiB and what the last record of it takes.
constexpr std::uint32_t kInBlock = 22;
constexpr Case kCases[] = {
    {Where::kLog, ".log", How::kByte, 0.0, 0, 1},
    {Where::kLog, ".log", How::kByte, 0.02, 0, 1},
    {Where::kLog, ".log", How::kByte, 0.5, 0, 1},
    {Where::kLog, ".log", How::kByte, 0.999, 0, 1},
    {Where::kLog, ".log", How::kBlock, 0.0, 0, kInBlock},
    {Where::kLog, ".log", How::kBlock, 0.3, 0, kInBlock},
    // The first records bring the dictionary's entries along.
    {Where::kLog, ".log", How::kCut, 0.5, 0.75, 0},
    {Where::kLog, "MANIFEST-", How::kByte, 0.5, 0, 0},
    {Where::kLog, "MANIFEST-", How::kBlock, 0.0, 0, 0},
    {Where::kLog, "MANIFEST-", How::kCut, 0.5, 0, 0},
    {Where::kLog, "MANIFEST-", How::kGarbage, 0.3, 0, 0},
    {Where::kLog, ".log", How::kGarbage, 0.4, 0, 2},
    {Where::kLog, ".log", How::kGarbage, 0.99, 0, 2},
    {Where::kLog, "CURRENT", How::kByte, 0.5, 0, 0},
    {Where::kLog, "CURRENT", How::kBlock, 0.0, 0, 0},
    {Where::kLog, "CURRENT", How::kCut, 0.5, 0, 0},
    {Where::kLog, "CURRENT", How::kCut, 0.0, 0, 0},
    {Where::kLog, "OPTIONS-", How::kBlock, 0.0, 0, 0},
    {Where::kLog, "OPTIONS-", How::kCut, 0.5, 0, 0},
    {Where::kLog, "IDENTITY", How::kBlock, 0.0, 0, 0},
    {Where::kLog, "DICTIONARY", How::kByte, 0.5, 0, 0},
    {Where::kLog, "DICTIONARY", How::kBlock, 0.2, 0, 0},
    {Where::kLog, "DICTIONARY", How::kCut, 0.0, 0, 0},
    {Where::kTable, ".sst", How::kByte, 0.0, 0, kInBlock},
    {Where::kTable, ".sst", How::kByte, 0.5, 0, kInBlock},
    {Where::kTable, ".sst", How::kByte, 0.97, 0, kInBlock},
    {Where::kTable, ".sst", How::kByte, 0.995, 0, kInBlock},
    {Where::kTable, ".sst", How::kByte, 0.9999, 0, 0},
    {Where::kTable, ".sst", How::kBlock, 0.0, 0, 2 * kInBlock},
    {Where::kTable, ".sst", How::kBlock, 0.4, 0, 2 * kInBlock},
    {Where::kTable, ".sst", How::kBlock, 1.0, 0, 2 * kInBlock},
    {Where::kTable, ".sst", How::kCut, 0.5, 0.5, 2 * kInBlock},
    {Where::kTable, "MANIFEST-", How::kByte, 0.2, 0, 0},
    {Where::kTable, "MANIFEST-", How::kCut, 0.6, 0, 0},
    {Where::kTable, "MANIFEST-", How::kGarbage, 0.1, 0, 0},
    {Where::kTable, "MANIFEST-", How::kGarbage, 0.5, 0, 0},
    {Where::kTable, "MANIFEST-", How::kGarbage, 0.7, 0, 0},
    {Where::kTable, "CURRENT", How::kBlock, 0.0, 0, 0},
    {Where::kBoth, ".sst", How::kByte, 0.3, 0, kInBlock},
    {Where::kBoth, ".sst", How::kCut, 0.5, 0.25, 2 * kInBlock},
    {Where::kBoth, ".log", How::kByte, 0.5, 0, 1},
    {Where::kBoth, "MANIFEST-", How::kCut, 0.6, 0, 0},
    {Where::kBoth, "CURRENT", How::kByte, 0.5, 0, 0},
    {Where::kBoth, "DICTIONARY", How::kBlock, 0.0, 0, 0},
};

fs::path largest(const fs::path& directory, std::string_view what) {
  fs::path found;
  for (const auto& entry : fs::directory_iterator(directory)) {
    const std::string name = entry.path().filename().string();
    if ((name.starts_with(what) || name.ends_with(what)) && entry.is_regular_file() &&
        (found.empty() || entry.file_size() > fs::file_size(found))) {
      found = entry.path();
    }
  }
  BOOST_REQUIRE(!found.empty());
  return found;
}

void damage(const fs::path& file, How how, double at) {
  const std::uintmax_t size = fs::file_size(file);
  const auto wanted = static_cast<std::uintmax_t>(static_cast<double>(size) * at);
  if (how == How::kCut) {
    fs::resize_file(file, wanted);
    return;
  }
  std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
  const std::uintmax_t count = how == How::kByte ? 1 : how == How::kBlock ? 4096 : 64;
  const std::uintmax_t from = std::min(wanted, size > count ? size - count : 0);
  for (std::uintmax_t at_byte = from; at_byte < std::min(from + count, size); ++at_byte) {
    const auto place = static_cast<std::streamoff>(at_byte);
    const int byte = stream.seekg(place).get();
    stream.seekp(place).put(how == How::kGarbage ? '\x5a' : static_cast<char>(~byte));
  }
  BOOST_REQUIRE(stream.good());
}

// Its files as a kill would leave them: copied while it is open.
void fill(const fs::path& path, Where where) {
  const storage::testing::TemporaryDirectory directory;
  const auto database = Database::open(directory.database(), OpenMode::kReadWrite, nullptr);
  BOOST_REQUIRE(database.ok());
  for (std::uint32_t number = 0; number < kRecords; ++number) {
    (void)(*database)->put_record(
        sample_record(number, kCandidates), Database::Merge::kForce, Durability::kBuffered);
    if (number == kRecords / 2 && where == Where::kBoth) {
      (void)(*database)->compact();
    }
  }
  (void)(*database)->put_meta("champion", "reformer-3");
  if (where == Where::kTable) {
    (void)(*database)->compact();
  }
  fs::copy(directory.database(), path, fs::copy_options::recursive);
}

// What the log has becomes a table of its own beside those that are there.
void flush_to_a_table(const fs::path& path) {
  std::vector<rocksdb::ColumnFamilyHandle*> families;
  rocksdb::DB* opened = nullptr;
  BOOST_REQUIRE(rocksdb::DB::Open(storage::database_options({}),
                                  path.string(),
                                  storage::family_descriptors(),
                                  &families,
                                  &opened)
                    .ok());
  const std::unique_ptr<rocksdb::DB> database(opened);
  BOOST_TEST(database->Flush({}, families).ok());
  for (rocksdb::ColumnFamilyHandle* family : families) {
    BOOST_TEST(database->DestroyColumnFamilyHandle(family).ok());
  }
}

// Filled once for each Where.
fs::path filled(Where where) {
  static const storage::testing::TemporaryDirectory all;
  const fs::path path = all.path() / name_of(where);
  if (!fs::exists(path)) {
    fill(path, where);
  }
  return path;
}

std::uint32_t intact(Database& database) {
  std::uint32_t found = 0;
  for (std::uint32_t number = 0; number < kRecords; ++number) {
    const auto record = database.find_record(sample_key(number));
    if (record.ok() && record->has_value()) {
      BOOST_TEST(same_record(**record, sample_record(number, kCandidates)));
      ++found;
    }
  }
  return found;
}

void check(const Case& c) {
  storage::testing::TemporaryDirectory directory;
  const fs::path path = directory.database();
  fs::copy(filled(c.where), path, fs::copy_options::recursive);
  damage(largest(path, c.file), c.how, c.at);
  const auto most = static_cast<std::uint32_t>(c.share * kRecords) + c.lost;
  // Damage in a table is met when it is read; the start after that repairs.
  for (int start = 0; start < 2; ++start) {
    storage::OpenReport report;
    const auto database = Database::open(path, OpenMode::kReadWrite, &report);
    BOOST_REQUIRE_MESSAGE(database.ok(), (database.ok() ? "" : database.error().message));
    const std::uint32_t kept = intact(**database);
    BOOST_TEST_MESSAGE(c << ": " << kRecords - kept << " lost (at most " << most << "). "
                         << report.reason);
    BOOST_TEST(kRecords - kept <= most);
    BOOST_TEST((c.share > 0 || (*database)->find_meta("champion").value() == "reformer-3"));
    if (start == 1) {
      BOOST_TEST((*database)->counts()->records == kept);
      // What was lost can be measured and stored again.
      BOOST_TEST((*database)
                     ->put_record(sample_record(kRecords, kCandidates),
                                  Database::Merge::kForce,
                                  Durability::kSynced)
                     .ok());
    }
  }
}

}  // namespace

struct Fixture {
  storage::testing::TemporaryDirectory directory;
};

BOOST_FIXTURE_TEST_SUITE(damage_test, Fixture)

BOOST_AUTO_TEST_CASE(damage_to_one_file_costs_what_it_hits_and_no_more) {
  for (const Case& c : kCases) {
    BOOST_TEST_CONTEXT(c) {
      check(c);
    }
  }
}

BOOST_AUTO_TEST_CASE(damage_to_a_table_and_to_what_finds_it_costs_no_more_than_the_table_s_block) {
  for (const char* other : {"MANIFEST-", "CURRENT", "DICTIONARY"}) {
    const storage::testing::TemporaryDirectory own;
    const fs::path path = own.database();
    fs::copy(filled(Where::kTable), path, fs::copy_options::recursive);
    damage(largest(path, ".sst"), How::kByte, 0.3);
    damage(largest(path, other), How::kGarbage, 0.4);
    BOOST_TEST(intact(**Database::open(path, OpenMode::kReadWrite, nullptr)) >=
               kRecords - kInBlock);
    BOOST_TEST(intact(**Database::open(path, OpenMode::kReadWrite, nullptr)) >=
               kRecords - kInBlock);
  }
}

// RocksDB's iterator goes on behind the damage, in all tables at once.
BOOST_AUTO_TEST_CASE(damage_to_one_table_costs_nothing_that_stands_in_another) {
  const fs::path path = directory.database();
  fs::copy(filled(Where::kTable), path, fs::copy_options::recursive);
  const fs::path old_table = largest(path, ".sst");
  constexpr std::uint32_t kNew = 60;
  {
    const auto database = Database::open(path, OpenMode::kReadWrite, nullptr);
    for (std::uint32_t number = kRecords; number < kRecords + kNew; ++number) {
      BOOST_REQUIRE((*database)
                        ->put_record(sample_record(number, kCandidates),
                                     Database::Merge::kForce,
                                     Durability::kSynced)
                        .ok());
    }
  }
  flush_to_a_table(path);
  for (const double at : {0.2, 0.4, 0.6, 0.8}) {
    damage(old_table, How::kBlock, at);
  }
  std::ofstream(path / "DAMAGED") << "as if it had been met\n";
  storage::OpenReport report;
  const auto database = Database::open(path, OpenMode::kReadWrite, &report);
  BOOST_REQUIRE(database.ok());
  BOOST_TEST(!report.set_aside.empty());
  BOOST_TEST(intact(**database) >= kRecords - 8 * kInBlock);
  BOOST_TEST(intact(**database) < kRecords);
  for (std::uint32_t number = kRecords; number < kRecords + kNew; ++number) {
    const auto record = (*database)->find_record(sample_key(number));
    BOOST_TEST((record.ok() && record->has_value()));
  }
}

// Databases of programs that did not write the second copy of the dictionary.
BOOST_AUTO_TEST_CASE(a_database_without_the_second_copy_gets_one_and_is_then_safe) {
  const fs::path path = directory.database();
  fs::copy(filled(Where::kTable), path, fs::copy_options::recursive);
  fs::remove(path / "DICTIONARY");
  BOOST_TEST(intact(**Database::open(path, OpenMode::kReadWrite, nullptr)) == kRecords);
  BOOST_TEST(fs::file_size(path / "DICTIONARY") > 1000U);
  // All other tables than that of the records: counts, dictionary, champion.
  const fs::path records = largest(path, ".sst");
  for (const auto& entry : fs::directory_iterator(path)) {
    if (entry.path().extension() == ".sst" && entry.path() != records) {
      damage(entry.path(), How::kBlock, 0);
    }
  }
  BOOST_TEST(intact(**Database::open(path, OpenMode::kReadWrite, nullptr)) == kRecords);
}

BOOST_AUTO_TEST_CASE(without_both_copies_of_an_entry_only_records_that_need_it_are_lost) {
  const fs::path path = directory.database();
  fs::copy(filled(Where::kLog), path, fs::copy_options::recursive);
  fs::remove(path / "DICTIONARY");
  damage(largest(path, ".log"), How::kByte, 0.999);
  BOOST_TEST(intact(**Database::open(path, OpenMode::kReadWrite, nullptr)) >= kRecords - 1);
}

BOOST_AUTO_TEST_SUITE_END()
