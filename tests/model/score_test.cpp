#include "model/score.h"

#include "tests/model/sample_model.h"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <cmath>
#include <vector>

// Toy cases that are computed by hand.
namespace reformer::model {
namespace {

using testing::config;
using testing::timed;

// Times: engine 0 20 us, 1 10 us (best), 2 10.4 us, 3 without a time.
core::Record toy() {
  std::vector<core::Candidate> candidates = {
      timed(0, 20, 1, 0), timed(1, 10, 2), timed(2, 10.4F, 3, 1), timed(3, 5, 0)};
  candidates[3].timing = core::Timing::kNone;
  return testing::record("fwd f16 nhwc n1 c8 h8 w8 k8 r3 s3", candidates);
}

Score of_slowdown(double slowdown, bool covered = true) {
  Score score;
  score.covered = covered;
  score.slowdown = slowdown;
  score.best_us = 10;
  score.time_us = 10 * slowdown;
  score.top1 = covered && slowdown <= 1;
  score.top3 = covered && slowdown < 1.5;
  score.within_5pct = covered && slowdown <= 1.05;
  return score;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(score)

BOOST_AUTO_TEST_CASE(the_first_of_an_order_that_exists_is_the_choice) {
  const core::Record record = toy();
  const std::vector<core::EngineConfig> order = {config(9), config(3), config(2), config(1)};
  const Score score = score_order(record, order);
  BOOST_TEST(score.covered);
  BOOST_TEST((score.predicted == config(2)));
  BOOST_TEST(std::abs(score.slowdown - 1.04) < 1e-6);
  BOOST_TEST(score.within_5pct);
  BOOST_TEST(!score.top1);
  BOOST_TEST(score.top3);
  BOOST_TEST(score.rank_of_best == 1);
}

BOOST_AUTO_TEST_CASE(an_order_of_what_does_not_exist_covers_nothing) {
  const std::vector<core::EngineConfig> order = {config(9), config(3)};
  BOOST_TEST(!score_order(toy(), order).covered);
  BOOST_TEST(!score_order(toy(), {}).covered);
}

BOOST_AUTO_TEST_CASE(the_baselines_choose_as_defined) {
  const core::Record record = toy();
  BOOST_TEST(score_heuristic_a(record).slowdown == 2.0);  // its first has no time
  BOOST_TEST(score_heuristic_b(record).slowdown == 2.0);
  BOOST_TEST(score_a_first_10(record).slowdown == 1.0);
  BOOST_TEST(score_oracle(record).top1);
}

BOOST_AUTO_TEST_CASE(what_is_far_behind_is_not_taken_where_an_answers_first_does_not_exist) {
  core::Decision decision;
  for (const std::int32_t engine : {9, 0, 2}) {  // 9 does not exist
    decision.entries.emplace_back().config = config(engine);
  }
  BOOST_TEST((score_decision(toy(), decision).predicted == config(0)));
  decision.entries[1].behavior_notes = core::behavior_note::kFarBehind;
  BOOST_TEST((score_decision(toy(), decision).predicted == config(2)));
  decision.entries[2].behavior_notes = core::behavior_note::kFarBehind;
  BOOST_TEST((score_decision(toy(), decision).predicted == config(0)));  // heuristic A's choice
  BOOST_TEST(score_decision(toy(), decision).slowdown == score_heuristic_a(toy()).slowdown);
}

BOOST_AUTO_TEST_CASE(what_is_served_is_the_heuristics_where_the_model_abstains) {
  const core::Record record = toy();
  const std::vector<core::EngineConfig> classes = {config(1), config(0)};
  Ranking ranking;
  ranking.count = 1;
  ranking.abstained = false;
  ranking.confidence = 0.75F;
  const Score answered = score_ranking(record, ranking, classes);
  BOOST_TEST(score_served(record, answered).slowdown == 1.0);
  ranking.abstained = true;
  const Score abstained = score_ranking(record, ranking, classes);
  BOOST_TEST(abstained.slowdown == 1.0);
  BOOST_TEST(abstained.confidence == 0.75F);
  BOOST_TEST(score_served(record, abstained).slowdown == 2.0);
  BOOST_TEST(score_served(record, abstained).abstained);
}

// Slowdowns 1, 1, 1.04, 2, and one problem that is not covered.
BOOST_AUTO_TEST_CASE(a_summary_counts_what_is_not_covered_as_a_miss) {
  const std::vector<Score> scores = {
      of_slowdown(1), of_slowdown(2), of_slowdown(1.04), of_slowdown(1), of_slowdown(0, false)};
  const Summary s = summarise(scores);
  BOOST_TEST(s.problems == 5U);
  BOOST_TEST(s.uncovered == 1U);
  BOOST_TEST(std::abs(s.top1 - 0.4) < 1e-12);
  BOOST_TEST(std::abs(s.within_5pct - 0.6) < 1e-12);
  BOOST_TEST(std::abs(s.geomean_slowdown - std::pow(2.08, 0.25)) < 1e-12);
  BOOST_TEST(s.p90_slowdown == 2.0);
  BOOST_TEST(s.p99_slowdown == 2.0);
  BOOST_TEST(s.max_slowdown == 2.0);
  BOOST_TEST(std::abs(s.total_time_ratio - 5.04 / 4) < 1e-12);
  BOOST_TEST(s.top1_95.low < s.top1);
  BOOST_TEST(s.top1 < s.top1_95.high);
  // Wilson's interval of 2 out of 5.
  BOOST_TEST(std::abs(s.top1_95.low - 0.11762) < 1e-5);
  BOOST_TEST(std::abs(s.top1_95.high - 0.76928) < 1e-5);
}

BOOST_AUTO_TEST_CASE(a_summary_does_not_depend_on_the_order) {
  std::vector<Score> scores;
  for (std::size_t i = 0; i < 500; ++i) {
    scores.push_back(of_slowdown(1 + std::abs(testing::number(5, i))));
  }
  const Summary one = summarise(scores);
  std::ranges::reverse(scores);
  const Summary other = summarise(scores);
  BOOST_TEST(one.geomean_slowdown == other.geomean_slowdown);
  BOOST_TEST(one.total_time_ratio == other.total_time_ratio);
  BOOST_TEST(summarise({}).problems == 0U);
  BOOST_TEST(summarise({}).geomean_slowdown == 0.0);
}

BOOST_AUTO_TEST_CASE(pairs_are_compared_where_both_are_covered) {
  const std::vector<Score> challenger = {
      of_slowdown(1), of_slowdown(1), of_slowdown(2), of_slowdown(0, false)};
  const std::vector<Score> champion = {
      of_slowdown(2), of_slowdown(1), of_slowdown(1), of_slowdown(1)};
  const PairedComparison paired = compare_paired(challenger, champion);
  BOOST_TEST(paired.pairs == 3U);
  BOOST_TEST(paired.left_out == 1U);
  BOOST_TEST(paired.better == 1U);
  BOOST_TEST(paired.worse == 1U);
  BOOST_TEST(std::abs(paired.slowdown_ratio - 1) < 1e-12);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace reformer::model
