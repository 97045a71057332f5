// Compiled plans as files: what the daemon keeps, and what a client takes of it.
#include "daemon/plan_store.h"

#include "libclient/plan_folder.h"
#include "tests/daemon/running_daemon.h"

#include <boost/test/unit_test.hpp>

#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>

using namespace reformer;
using namespace reformer::testing;
using daemon::PlanStore;
namespace fs = std::filesystem;

namespace {

constexpr std::int64_t kRoom = 1 << 20;

core::StoredPlan plan(std::uint8_t number, std::size_t bytes = 100) {
  core::StoredPlan made;
  made.key.bytes.fill(number);
  made.config = core::EngineConfig(5);
  made.json = "{" + std::string(bytes, ' ') + "}";
  return made;
}

struct Fixture {
  [[nodiscard]] std::unique_ptr<PlanStore> open(std::int64_t room = kRoom) const {
    auto store = PlanStore::open(folder.path() / "kept", room);
    BOOST_REQUIRE(store);
    BOOST_REQUIRE((*store)->link(folder.path() / "socket"));
    return std::move(*store);
  }
  [[nodiscard]] std::optional<core::StoredPlan> read(const core::StoredPlan& wanted) const {
    return client::read_plan(
        core::plans_path((folder.path() / "socket").string()), wanted.key, wanted.config);
  }
  [[nodiscard]] fs::path file(const core::StoredPlan& of) const {
    return folder.path() / "kept" / core::plan_file_name(of.key, of.config);
  }
  Folder folder;
};

}  // namespace

BOOST_FIXTURE_TEST_SUITE(plan_store, Fixture)

BOOST_AUTO_TEST_CASE(what_is_kept_is_found_beside_the_socket_also_after_a_restart) {
  const core::StoredPlan one = plan(1);
  {
    const auto store = open();
    BOOST_TEST(!read(one).has_value());
    BOOST_TEST(!store->has(one.key, one.config));
    BOOST_REQUIRE(store->put(one));
    BOOST_REQUIRE(store->put(one));
    BOOST_TEST(store->size().plans == 1U);
  }
  const auto store = open();
  BOOST_TEST(store->has(one.key, one.config));
  BOOST_TEST(!store->has(one.key, core::EngineConfig(6)));
  BOOST_TEST(store->size().plans == 1U);
  BOOST_TEST(store->size().bytes == fs::file_size(file(one)));
  BOOST_REQUIRE(read(one).has_value());
  BOOST_TEST(read(one)->json == one.json);
  BOOST_TEST(!read(plan(2)).has_value());
}

BOOST_AUTO_TEST_CASE(the_oldest_go_when_there_is_no_more_room) {
  const auto store = open(10000);
  for (std::uint8_t number = 1; number <= 40; ++number) {
    BOOST_REQUIRE(store->put(plan(number, 900)));
    const auto written = fs::file_time_type::clock::now() - std::chrono::hours(100 - number);
    fs::last_write_time(file(plan(number)), written);
    BOOST_TEST(store->size().bytes <= 10000U);
  }
  BOOST_TEST(store->has(plan(39).key, plan(39).config));
  BOOST_TEST(!store->has(plan(1).key, plan(1).config));
  BOOST_TEST(!read(plan(1)).has_value());
  BOOST_TEST(store->size().plans > 5U);
  BOOST_TEST((store->put(plan(50, 20000)).error().code == core::ErrorCode::kExhausted));
  BOOST_TEST(!store->has(plan(50).key, plan(50).config));
}

BOOST_AUTO_TEST_CASE(neither_long_plans_nor_other_things) {
  const auto store = open();
  BOOST_TEST(
      (store->put(plan(1, core::kMaxPlanBytes)).error().code == core::ErrorCode::kExhausted));
  core::StoredPlan text = plan(2);
  text.json = "no";
  BOOST_TEST((store->put(text).error().code == core::ErrorCode::kInvalidArgument));
  BOOST_TEST(store->size().plans == 0U);
}

BOOST_AUTO_TEST_CASE(a_record_has_what_loading_takes_where_the_plan_is_kept) {
  const auto store = open();
  core::Record record;
  record.candidates.resize(2);
  for (core::Candidate& candidate : record.candidates) {
    candidate.config =
        core::EngineConfig(5 + static_cast<std::int32_t>(&candidate - record.candidates.data()));
    candidate.build_us = 1e6F;
  }
  BOOST_REQUIRE(store->put({core::hash_key(record.key), core::EngineConfig(5), 0, "{}"}));
  const core::Record served = store->with_loading_times(record).value();
  BOOST_TEST(served.candidates[0].build_us == daemon::kLoadingUs);
  BOOST_TEST(served.candidates[1].build_us == 1e6F);
}

BOOST_AUTO_TEST_CASE(what_others_may_write_or_somebody_has_changed_is_not_loaded) {
  const auto store = open();
  const core::StoredPlan one = plan(1);
  BOOST_REQUIRE(store->put(one));
  const fs::path path = file(one);
  const auto allow = [](const fs::path& what, int mode) {
    fs::permissions(what, static_cast<fs::perms>(mode));
  };
  for (const fs::path& what : {path, path.parent_path()}) {
    const int usual = what == path ? 0644 : 0755;
    allow(what, usual | 0020);
    BOOST_TEST(!read(one).has_value(), what);
    allow(what, usual | 0002);
    BOOST_TEST(!read(one).has_value(), what);
    allow(what, usual);
    BOOST_TEST(read(one).has_value(), what);
  }
  // Another problem's under its name.
  BOOST_REQUIRE(store->put(plan(2)));
  fs::copy_file(file(plan(2)), path, fs::copy_options::overwrite_existing);
  BOOST_TEST(!read(one).has_value());
  std::ofstream(path, std::ios::trunc) << "garbage";
  BOOST_TEST(!read(one).has_value());
  std::ofstream(path, std::ios::trunc) << "";
  BOOST_TEST(!read(one).has_value());
  fs::remove(path);
  fs::create_symlink(file(plan(2)), path);
  BOOST_TEST(!read(one).has_value());
  fs::remove(path);
  BOOST_REQUIRE(::mkfifo(path.c_str(), 0644) == 0);  // nobody waits for a writer
  BOOST_TEST(!read(one).has_value());
}

BOOST_AUTO_TEST_CASE(a_folder_that_cannot_be_made_is_an_error_and_what_a_crash_left_goes) {
  std::ofstream(folder.path() / "file") << "x";
  BOOST_TEST(!PlanStore::open(folder.path() / "file", kRoom));
  (void)open();
  const fs::path rest = folder.path() / "kept" / "0.plan.new";
  std::ofstream(rest) << "half";
  const auto store = open();
  BOOST_TEST(!fs::exists(rest));
  BOOST_TEST(store->size().plans == 0U);
  fs::remove_all(folder.path() / "kept");
  std::ofstream(folder.path() / "kept") << "x";
  BOOST_TEST((store->put(plan(1)).error().code == core::ErrorCode::kUnavailable));
}

BOOST_AUTO_TEST_SUITE_END()
