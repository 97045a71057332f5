// Administrative requests over a database of their own: how replies are cut, ordered and ended.
#include "daemon/admin.h"

#include "interchange/measurements.h"
#include "tests/daemon/running_daemon.h"

#include <boost/test/data/monomorphic.hpp>
#include <boost/test/data/test_case.hpp>
#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

using namespace reformer;
using namespace reformer::testing;
using nlohmann::json;

namespace {

constexpr int kRecords = 300;

// A daemon that stops as soon as it has been asked `rows` times whether it does.
class StoppingDaemon final : public daemon::LiveDaemon {
 public:
  explicit StoppingDaemon(int rows) : left_(rows) {}
  bool is_stopping() override { return left_-- <= 0; }
  std::shared_ptr<const daemon::ModelSet> models() override {
    return std::make_shared<const daemon::ModelSet>();
  }
  void add_status(json&) override {}
  json stats() override { return {}; }
  json clients() override { return json::array(); }
  core::Result<Verification> verify(const core::Key&,
                                    bool,
                                    std::function<void(std::string)>) override {
    return Verification{};
  }
  void verify_later(const core::Key&) override {}
  json alarms() override { return json::array(); }
  core::Status clear_upgrade_alarms() override { return core::ok_status(); }
  core::Status promote(const std::string&,
                       const std::string&,
                       const nlohmann::ordered_json&) override {
    return core::ok_status();
  }
  core::Result<std::string> roll_back(const std::string&) override { return std::string(); }
  core::Result<std::string> add_model(const std::filesystem::path&,
                                      const nlohmann::ordered_json&) override {
    return std::string();
  }
  core::Result<json> reload() override { return json::object(); }
  void record_changed(const core::KeyHash&) override {}
  void record_removed(const core::KeyHash&) override {}

 private:
  int left_;
};

struct Fixture {
  Fixture() {
    storage::OpenReport report;
    database = storage::Database::open(folder.path() / "db", storage::OpenMode::kReadWrite, &report)
                   .value();
    for (int i = 0; i < kRecords; ++i) {
      put(sample_line(8 * (1 + i), 10 + (7 * i) % kRecords));
    }
    std::vector<storage::AccuracyRow> rows(kRecords);
    for (int i = 0; i < kRecords; ++i) {
      rows[static_cast<std::size_t>(i)].time_s = i;
    }
    BOOST_REQUIRE(database->append_accuracy(rows).ok());
  }
  void put(const std::string& line) const {
    const auto record = interchange::record_from_json(line);
    BOOST_REQUIRE(record.ok());
    BOOST_REQUIRE(
        database
            ->put_record(*record, storage::Database::Merge::kForce, storage::Durability::kBuffered)
            .ok());
  }
  // The pieces of a reply of which at most `wanted` are.
  std::vector<std::string> pieces(const json& request,
                                  std::size_t wanted = std::numeric_limits<std::size_t>::max(),
                                  daemon::LiveDaemon* live = nullptr) {
    daemon::AdminService service(*database, live, {}, {});
    std::vector<std::string> all;
    ended = false;
    status = service.handle(request.dump(), {}, [&](std::string piece, bool more) {
      BOOST_TEST((more || !ended));
      ended = !more;
      all.push_back(std::move(piece));
      return all.size() < wanted;
    });
    return all;
  }
  json rows(const json& request, json* last = nullptr) {
    json all = json::array();
    json piece;
    for (const std::string& text : pieces(request)) {
      piece = json::parse(text);
      all.insert(all.end(), piece["rows"].begin(), piece["rows"].end());
    }
    BOOST_TEST(ended);
    if (last != nullptr) {
      *last = piece;
    }
    return all;
  }

  const Folder folder;
  std::unique_ptr<storage::Database> database;
  core::Status status = core::ok_status();
  bool ended = false;
};

core::Key key_of(int number) {
  return interchange::record_from_json(sample_line(8 * (1 + number), 10)).value().key;
}

struct Long {
  const char* name;
  json request;
};
std::ostream& operator<<(std::ostream& out, const Long& one) {
  return out << one.name;
}
const std::vector<Long> kLong{
    {"export", {{"request", "export"}}},
    {"list", {{"request", "list"}}},
    {"freeze", {{"request", "freeze"}}},
    {"accuracy", {{"request", "accuracy"}}},
    {"diff", {{"request", "diff"}, {"from", 91900}, {"to", 91900}}},
};

}  // namespace

BOOST_FIXTURE_TEST_SUITE(admin, Fixture)

BOOST_DATA_TEST_CASE_F(Fixture,
                       a_long_reply_comes_in_pieces_with_every_row_once,
                       boost::unit_test::data::make(kLong)) {
  BOOST_TEST(rows(sample.request).size() == static_cast<std::size_t>(kRecords));
  BOOST_TEST(status.ok());
  BOOST_TEST(pieces(sample.request).size() == 1 + kRecords / 64U);
}

BOOST_DATA_TEST_CASE_F(Fixture,
                       nothing_more_is_made_of_a_reply_that_nobody_wants,
                       boost::unit_test::data::make(kLong)) {
  BOOST_TEST(pieces(sample.request, 2).size() == 2U);
  BOOST_TEST(!ended);
  BOOST_TEST(status.ok());
}

BOOST_DATA_TEST_CASE_F(Fixture,
                       a_daemon_that_stops_does_not_finish_a_long_reply,
                       boost::unit_test::data::make(kLong)) {
  StoppingDaemon stopping(100);
  const auto before = pieces(sample.request, 1000, &stopping);
  BOOST_TEST(before.size() < 3U);
  BOOST_TEST(!ended);
  BOOST_REQUIRE(!status.ok());
  BOOST_TEST((status.error().code == core::ErrorCode::kUnavailable));
}

BOOST_AUTO_TEST_CASE(a_piece_of_long_rows_still_fits_into_a_message) {
  std::string line = sample_line(8, 10);
  const std::size_t at = line.find("{\"engine\":25");
  const std::string one = line.substr(at, line.rfind(']') - at);
  for (int i = 1; i < 200; ++i) {
    std::string another = one;
    another.replace(another.find("{}"), 2, "{\"2\":" + std::to_string(i) + "}");
    line.insert(line.rfind(']'), "," + another);
  }
  for (int i = 0; i < 100; ++i) {
    std::string with = line;
    with.replace(with.find("\"c\":8"), 5, "\"c\":" + std::to_string(8 * (kRecords + 1 + i)));
    put(with);
  }
  std::size_t longest = 0;
  for (const std::string& piece : pieces({{"request", "export"}})) {
    longest = std::max(longest, piece.size());
  }
  BOOST_TEST(longest < core::wire::kMaxPayloadBytes);
}

BOOST_AUTO_TEST_CASE(a_list_is_ordered_and_cut_off_as_asked) {
  const std::vector<std::pair<std::string, std::string>> orders{
      {"problem", "problem"}, {"time", "time_us"}, {"age", "measured_at"}};
  for (const auto& order : orders) {  // no structured binding: clang 14 cannot capture one
    const auto& sort = order.first;
    const auto& member = order.second;
    json last;
    const json all = rows({{"request", "list"}, {"sort", sort}}, &last);
    BOOST_TEST(last["total"] == kRecords);
    const bool descending = sort == "time";
    BOOST_TEST(std::is_sorted(all.begin(), all.end(), [&](const json& one, const json& other) {
      return descending ? other[member] < one[member] : one[member] < other[member];
    }));
    const json first = rows({{"request", "list"}, {"sort", sort}, {"limit", 70}}, &last);
    BOOST_TEST(last["total"] == kRecords);
    BOOST_REQUIRE(first.size() == 70U);
    BOOST_TEST(std::equal(first.begin(), first.end(), all.begin()));
  }
}

BOOST_AUTO_TEST_CASE(a_list_by_uses_begins_with_the_most_used) {
  for (const int i : {5, 200}) {
    BOOST_REQUIRE(
        database->add_uses(core::hash_key(key_of(i)), {.executions = 1000U + unsigned(i)}).ok());
  }
  const json used = rows({{"request", "list"}, {"sort", "uses"}, {"limit", 2}});
  BOOST_REQUIRE(used.size() == 2U);
  BOOST_TEST(used[0]["uses"] == 1200);
  BOOST_TEST(used[1]["uses"] == 1005);
}

// When nothing waits for its first measurement every weight is 1.
BOOST_AUTO_TEST_CASE(neither_quarantine_nor_a_repetition_changes_the_weights) {
  std::vector<storage::AccuracyRow> rows;
  for (int i = 0; i < kRecords; ++i) {
    storage::AccuracyRow row;
    row.time_s = 1000 + i;
    row.key = core::hash_key(key_of(i));
    row.variant = "heuristic_a";
    row.time_us = row.served_time_us = row.best_us = 10;
    row.selection_probability = i % 2 == 0 ? 0.9F : 0.01F;
    row.pool = 50;
    rows.push_back(row);
  }
  BOOST_REQUIRE(database->trim_accuracy(1000, 1000).ok());  // the fixture's
  BOOST_REQUIRE(database->append_accuracy(rows).ok());
  storage::QueuedJob job;
  job.key = key_of(7);  // measured, but the GPU was disturbed
  BOOST_REQUIRE(database->put_job(job).ok());
  job.key = key_of(kRecords);
  job.quarantined = true;
  BOOST_REQUIRE(database->put_job(job).ok());
  const json request{{"request", "ablation"}, {"resamples", 0}};
  json report = json::parse(pieces(request).at(0));
  BOOST_TEST(report["problems"] == kRecords);
  BOOST_TEST(report["waiting"] == 0);
  BOOST_TEST(report["weighted"] == false);
  job.key = key_of(kRecords + 1);
  job.quarantined = false;
  BOOST_REQUIRE(database->put_job(job).ok());
  report = json::parse(pieces(request).at(0));
  BOOST_TEST(report["waiting"] == 1);
  BOOST_TEST(report["weighted"] == true);
}

BOOST_AUTO_TEST_SUITE_END()
