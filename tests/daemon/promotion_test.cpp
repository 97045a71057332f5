#include "daemon/promotion.h"

#include "model/random.h"
#include "tests/daemon/accuracy_rows.h"

#include <boost/test/unit_test.hpp>

#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

using namespace reformer;
using namespace reformer::testing;
using daemon::AccuracyLog;

namespace {

const std::vector<std::string> kCandidates{"one", "two"};

std::optional<std::string> promoted(const AccuracyLog& log,
                                    daemon::PromotionRule rule = {},
                                    std::span<const AccuracyLog> other_views = {}) {
  const std::vector<double> weights(log.problems().size(), 1);
  const auto found =
      daemon::challenger_to_promote(log, other_views, weights, "champion", kCandidates, rule);
  return found ? std::optional(found->name) : std::nullopt;
}

double noise(model::Random& random, double width = 0.1) {
  return std::exp(width * std::abs(random.normal()));
}

}  // namespace

BOOST_AUTO_TEST_SUITE(promotion)

BOOST_AUTO_TEST_CASE(a_worse_champion_is_replaced_by_the_best_once_there_are_enough_problems) {
  model::Random random(1);
  AccuracyLog log;
  for (std::uint64_t i = 0; i < 300; ++i) {
    add(log,
        rows_of(i,
                {{"champion", 1.08 * noise(random)},
                 {"one", noise(random)},
                 {"two", 1.03 * noise(random)}}));
    if (i + 1 < 200) {
      BOOST_REQUIRE(!promoted(log));
    }
  }
  BOOST_TEST(promoted(log).value_or("none") == "one");
}

// The rule looks again and again; its confidence must hold over all looks.
BOOST_AUTO_TEST_CASE(an_equal_challenger_is_not_promoted_however_often_the_rule_looks) {
  int wrong = 0;
  constexpr int kHosts = 40;
  for (std::uint64_t host = 0; host < kHosts; ++host) {
    model::Random random(host + 100);
    AccuracyLog log;
    for (std::uint64_t i = 0; i < 1500; ++i) {
      add(log,
          rows_of(i,
                  {{"champion", noise(random)}, {"one", noise(random)}, {"two", noise(random)}}));
      if (i % 20 == 19 && promoted(log, {100, 0.95})) {
        ++wrong;
        break;
      }
    }
  }
  BOOST_TEST(wrong <= 2);  // 5 % of 40
}

BOOST_AUTO_TEST_CASE(a_challenger_that_regresses_in_one_operation_is_not_promoted) {
  model::Random random(2);
  AccuracyLog log;
  for (std::uint64_t i = 0; i < 600; ++i) {
    const bool bad = i % 3 == 2;  // one operation
    const double base = noise(random);
    add(log, rows_of(i, {{"champion", base * 1.1}, {"one", base * (bad ? 1.15 : 1.0)}}));
  }
  BOOST_TEST(!promoted(log));
}

BOOST_AUTO_TEST_CASE(a_challenger_that_regresses_in_a_view_of_f32_is_not_promoted) {
  for (const double without : {1.0, 1.02}) {
    model::Random random(3);
    std::vector<AccuracyLog> logs(model::kApplicationViews.begin(), model::kViews.end());
    for (std::uint64_t i = 0; i < 400; ++i) {
      const double base = noise(random);
      add(logs[0], rows_of(i, {{"champion", base * 1.1}, {"one", base}}));
      if (i % 2 == 1) {  // what is f32
        auto rows = rows_of(i, {{"champion", base}, {"one", base * without}});
        for (auto& row : rows) {
          row.view = 1;
        }
        add(logs[1], rows);
      }
    }
    BOOST_TEST(logs[1].problems().size() == 200U);
    BOOST_TEST(promoted(logs[0]).value_or("none") == "one");
    BOOST_TEST(promoted(logs[0], {}, std::span(logs).subspan(1)).has_value() == (without == 1.0));
  }
}

BOOST_AUTO_TEST_CASE(what_counts_is_what_applications_get) {
  model::Random random(4);
  AccuracyLog log;
  for (std::uint64_t i = 0; i < 400; ++i) {
    const double base = noise(random);
    // The model's own choice is better, but it abstains, and heuristic A is at 1.2.
    add(log, rows_of(i, {{"champion", base * 1.05}, {"one", base, true}}));
  }
  BOOST_TEST(!promoted(log));
}

BOOST_AUTO_TEST_CASE(full_confidence_means_never) {
  AccuracyLog log;
  for (std::uint64_t i = 0; i < 400; ++i) {
    add(log, rows_of(i, {{"champion", 2}, {"one", 1}}));
  }
  BOOST_TEST(!promoted(log, {200, 1}));
  BOOST_TEST(promoted(log, {200, 0.99}).has_value());
}

BOOST_AUTO_TEST_CASE(a_rollback_undoes_the_last_promotion_that_stands_and_bars_its_model) {
  const auto folder =
      std::filesystem::temp_directory_path() / ("promotion-test-" + std::to_string(::getpid()));
  storage::OpenReport opened;
  auto database = storage::Database::open(folder, storage::OpenMode::kReadWrite, &opened);
  BOOST_REQUIRE(database.ok());
  auto history = daemon::PromotionHistory::load(**database);
  BOOST_REQUIRE(history.ok());
  const auto all = [](const std::string&) { return true; };
  BOOST_TEST(!history->roll_back(1, "uid 0", all).has_value());
  history->add(10, "b", "a", "rule", {{"problems", 200}});
  history->add(20, "c", "b", "uid 0", nullptr);
  BOOST_TEST(history->roll_back(30, "uid 0", all).value_or("") == "b");
  BOOST_TEST(history->barred("c"));
  BOOST_TEST(!history->barred("b"));
  BOOST_TEST(history->store(**database).ok());

  auto again = daemon::PromotionHistory::load(**database);
  BOOST_REQUIRE(again.ok());
  BOOST_TEST(again->to_json().size() == 3U);
  BOOST_TEST(again->to_json()[0]["why"]["problems"] == 200);
  BOOST_TEST(again->roll_back(40, "uid 0", all).value_or("") == "a");
  again->add(50, "c", "a", "uid 0", nullptr);  // somebody wants it after all
  BOOST_TEST(!again->barred("c"));
  (*database).reset();
  std::filesystem::remove_all(folder);
}

BOOST_AUTO_TEST_CASE(a_rollback_goes_on_to_a_champion_that_is_still_loaded) {
  daemon::PromotionHistory history;
  history.add(10, "b", "a", "uid 0", nullptr);
  history.add(20, "c", "b", "uid 0", nullptr);
  history.add(30, "d", "c", "rule", nullptr);
  const auto all_but_c = [](const std::string& model) { return model != "c"; };
  const auto none = [](const std::string&) { return false; };
  BOOST_TEST(!history.roll_back(40, "uid 0", none).has_value());
  BOOST_TEST(history.to_json().size() == 3U);
  BOOST_TEST(history.champion_before(all_but_c).value_or("") == "b");
  BOOST_TEST(history.roll_back(40, "uid 0", all_but_c).value_or("") == "b");
  BOOST_TEST(history.to_json().back()["previous"] == "d");
  BOOST_TEST(history.barred("d"));
  BOOST_TEST(history.barred("c"));
  BOOST_TEST(!history.barred("b"));
  BOOST_TEST(history.roll_back(50, "uid 0", all_but_c).value_or("") == "a");
}

BOOST_AUTO_TEST_SUITE_END()
