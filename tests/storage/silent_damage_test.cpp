// What RocksDB would open without a word: raw_entries.h.
#include "storage/database.h"
#include "storage/raw_entries.h"
#include "tests/storage/sample_records.h"
#include "tests/storage/temporary_directory.h"

#include <boost/test/unit_test.hpp>

#include <filesystem>
#include <fstream>

namespace {

using namespace reformer;
namespace fs = std::filesystem;
using storage::Database;
using storage::manifest_is_damaged;
using storage::silent_damage;

constexpr std::uint32_t kRecords = 40;

// A database with records in its log, as a kill leaves it.
struct Fixture {
  Fixture() {
    const storage::testing::TemporaryDirectory open;
    const auto database = Database::open(open.database(), storage::OpenMode::kReadWrite, nullptr);
    BOOST_REQUIRE(database.ok());
    for (std::uint32_t number = 0; number < kRecords; ++number) {
      BOOST_REQUIRE((*database)
                        ->put_record(storage::testing::sample_record(number),
                                     Database::Merge::kForce,
                                     storage::Durability::kBuffered)
                        .ok());
    }
    fs::copy(open.database(), path, fs::copy_options::recursive);
  }
  [[nodiscard]] fs::path manifest() const {
    std::string name;
    std::getline(std::ifstream(path / "CURRENT") >> std::ws, name);
    return path / name;
  }
  [[nodiscard]] fs::path log() const {
    fs::path largest;
    for (const auto& entry : fs::directory_iterator(path)) {
      if (entry.path().extension() == ".log" &&
          (largest.empty() || entry.file_size() > fs::file_size(largest))) {
        largest = entry.path();
      }
    }
    return largest;
  }
  static void flip_byte(const fs::path& file, std::uintmax_t at) {
    std::fstream bytes(file, std::ios::in | std::ios::out | std::ios::binary);
    const int byte = bytes.seekg(static_cast<std::streamoff>(at)).get();
    bytes.seekp(static_cast<std::streamoff>(at)).put(static_cast<char>(~byte));
    BOOST_REQUIRE(bytes.good());
  }
  static void cut(const fs::path& file, std::uintmax_t bytes) {
    fs::resize_file(file, fs::file_size(file) - bytes);
  }

  storage::testing::TemporaryDirectory directory;
  fs::path path = directory.database();
};

}  // namespace

BOOST_FIXTURE_TEST_SUITE(silent_damage_test, Fixture)

BOOST_AUTO_TEST_CASE(a_sound_database_has_none) {
  BOOST_TEST(!manifest_is_damaged(path));
  BOOST_TEST(silent_damage(path).empty());
}

BOOST_AUTO_TEST_CASE(a_manifest_that_is_cut_short_is_damaged) {
  cut(manifest(), 3);
  BOOST_TEST(manifest_is_damaged(path));
  BOOST_TEST(silent_damage(path).find("MANIFEST") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(so_is_one_with_another_byte_wherever_it_is) {
  const std::uintmax_t size = fs::file_size(manifest());
  for (const std::uintmax_t at : {std::uintmax_t{0}, size / 3, size - 1}) {
    flip_byte(manifest(), at);
    BOOST_TEST_CONTEXT(at) {
      BOOST_TEST(manifest_is_damaged(path));
    }
    flip_byte(manifest(), at);
  }
  BOOST_TEST(!manifest_is_damaged(path));
}

BOOST_AUTO_TEST_CASE(a_log_may_end_in_an_unfinished_write_but_not_be_damaged_within) {
  cut(log(), 5);
  BOOST_TEST(silent_damage(path).empty());
  flip_byte(log(), fs::file_size(log()) / 2);
  BOOST_TEST(silent_damage(path) == log().filename().string() + " is damaged");
}

BOOST_AUTO_TEST_CASE(what_is_missing_is_said_elsewhere) {
  fs::remove(path / "CURRENT");
  BOOST_TEST(!manifest_is_damaged(path));
  BOOST_TEST(!manifest_is_damaged(path / "nowhere"));
  BOOST_TEST(silent_damage(path / "nowhere").empty());
}

BOOST_AUTO_TEST_SUITE_END()
