#include "daemon/ablation.h"

#include "core/problem_text.h"
#include "daemon/verification_queue.h"
#include "model/random.h"
#include "tests/daemon/accuracy_rows.h"

#include <boost/test/unit_test.hpp>

#include <array>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

using namespace reformer;
using namespace reformer::testing;
using daemon::AccuracyLog;
using Json = nlohmann::ordered_json;
namespace tt = boost::test_tools;

namespace {

Json report_of(const AccuracyLog& log,
               std::vector<double> weights = {},
               std::size_t resamples = 0) {
  daemon::ReportOptions options;
  options.champion = "champion";
  options.weights = std::move(weights);
  options.weights.resize(log.problems().size(), options.weights.empty() ? 1.0 : 0.0);
  options.resamples = resamples;
  return daemon::ablation_report(log, options);
}

Json variant_of(const Json& report, const std::string& name) {
  for (const Json& variant : report["variants"]) {
    if (variant["name"] == name) {
      return variant;
    }
  }
  return {};
}

// A choice with a long tail, like a model's: a third is the fastest.
double drawn_slowdown(model::Random& random) {
  return random.uniform() < 0.33 ? 1 : std::exp(0.1 * std::abs(random.normal()));
}

storage::QueuedJob job_number(int number, double gain) {
  storage::QueuedJob job;
  job.key.context = {{"NVIDIA H200", 90, 132}, 91900};
  job.key.problem =
      core::parse_problem("fwd f16 nhwc n1 c8 h8 w8 k" + std::to_string(number + 1) + " r1 s1")
          .value();
  job.predicted_gain_us = static_cast<float>(gain);
  job.queued_at_s = 1000;
  return job;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(ablation)

BOOST_AUTO_TEST_CASE(of_a_problem_that_was_measured_again_the_last_row_counts) {
  AccuracyLog log;
  add(log, rows_of(1, {{"champion", 3}}));
  add(log, rows_of(2, {{"champion", 2}}));
  add(log, rows_of(1, {{"champion", 1}}));
  const Json variant = variant_of(report_of(log), "champion");
  BOOST_TEST(variant["n"] == 2);
  BOOST_TEST(variant["max_slowdown"] == 2.0);
  BOOST_TEST(variant["geomean_slowdown"].get<double>() == std::sqrt(2.0), tt::tolerance(1e-12));
}

BOOST_AUTO_TEST_CASE(served_is_heuristic_a_where_the_model_abstains) {
  AccuracyLog log;
  add(log, rows_of(1, {{"champion", 3, true}}));
  add(log, rows_of(2, {{"champion", 1, false}}));
  const Json variant = variant_of(report_of(log), "champion");
  BOOST_TEST(variant["served"]["max_slowdown"].get<double>() == 1.2, tt::tolerance(1e-6));
  BOOST_TEST(variant["abstained"] == 1);
  BOOST_TEST(variant["abstained_share"] == 0.5);
}

BOOST_AUTO_TEST_CASE(a_problem_without_weight_is_left_out) {
  AccuracyLog log;
  add(log, rows_of(1, {{"champion", 3}}));
  add(log, rows_of(2, {{"champion", 1}}));
  const Json report = report_of(log, {0, 1});
  BOOST_TEST(report["problems"] == 1);
  BOOST_TEST(variant_of(report, "champion")["max_slowdown"] == 1.0);
}

BOOST_AUTO_TEST_CASE(weights_count_a_problem_as_often_as_it_was_used) {
  AccuracyLog log;
  add(log, rows_of(1, {{"champion", 4}}));
  add(log, rows_of(2, {{"champion", 1}}));
  const Json report = report_of(log, {1, 3});
  const Json variant = variant_of(report, "champion");
  BOOST_TEST(report["weighted"] == true);
  BOOST_TEST(variant["top1"] == 0.75);
  BOOST_TEST(variant["geomean_slowdown"].get<double>() == std::pow(4.0, 0.25), tt::tolerance(1e-6));
  BOOST_TEST(variant["p90_slowdown"] == 4.0);
  BOOST_TEST(!variant.contains("top1_95"));  // its formula is for equal weights
}

BOOST_AUTO_TEST_CASE(paired_differences_are_corrected_for_the_number_of_variants) {
  model::Random random(3);
  AccuracyLog log;
  for (std::uint64_t i = 0; i < 400; ++i) {
    const double base = drawn_slowdown(random);
    add(log, rows_of(i, {{"champion", base}, {"twin", base}, {"worse", base * 1.1}}));
  }
  const Json report = report_of(log, {}, 200);
  const Json worse = variant_of(report, "worse")["paired"];
  BOOST_TEST(worse["difference"].get<double>() == 0.1, tt::tolerance(1e-4));
  BOOST_TEST(worse["worse"] == 400);
  BOOST_TEST(worse["p_adjusted"].get<double>() > worse["p_value"].get<double>());
  BOOST_TEST(worse["p_adjusted"].get<double>() < 1e-6);
  const Json twin = variant_of(report, "twin")["paired"];
  BOOST_TEST(twin["difference"] == 0.0);
  BOOST_TEST(twin["p_adjusted"] == 1.0);
  BOOST_TEST(!variant_of(report, "champion").contains("paired"));
}

BOOST_AUTO_TEST_CASE(holm_steps_down) {
  const std::array<double, 3> p{0.04, 0.01, 0.03};
  const std::vector<double> adjusted = daemon::holm(p);
  BOOST_TEST(adjusted[0] == 0.06, tt::tolerance(1e-12));
  BOOST_TEST(adjusted[1] == 0.03, tt::tolerance(1e-12));
  BOOST_TEST(adjusted[2] == 0.06, tt::tolerance(1e-12));
}

// Of a known population, 200 logs of 400 problems: their intervals cover its values as often as
// they say. bench/online_replay does this with a real log.
BOOST_AUTO_TEST_CASE(intervals_cover_the_population_in_93_to_97_percent_of_resampled_runs) {
  constexpr int kRuns = 200;
  model::Random random(11);
  std::vector<double> population;
  AccuracyLog whole;
  for (std::uint64_t i = 0; i < 5000; ++i) {
    population.push_back(drawn_slowdown(random));
    add(whole, rows_of(i, {{"champion", population.back()}}));
  }
  const Json truth = variant_of(report_of(whole), "champion");
  std::map<std::string, int> covered;
  for (int run = 0; run < kRuns; ++run) {
    AccuracyLog log;
    for (std::uint64_t i = 0; i < 400; ++i) {
      add(log, rows_of(i, {{"champion", population[random.below(population.size())]}}));
    }
    const Json drawn = variant_of(report_of(log, {}, 400), "champion");
    for (const char* figure : {"top1", "within_5pct", "geomean_slowdown", "p90_slowdown"}) {
      const double value = truth[figure];
      const Json& interval = drawn["interval"][figure];
      covered[figure] += interval[0] <= value && value <= interval[1] ? 1 : 0;
    }
  }
  int all = 0;
  for (const auto& [figure, count] : covered) {
    all += count;
    BOOST_TEST_CONTEXT(figure << " was covered " << count << " times") {
      BOOST_TEST(count >= kRuns * 90 / 100);  // 200 runs tell no more of one figure
      BOOST_TEST(count <= kRuns * 99 / 100);
    }
  }
  const int runs = kRuns * static_cast<int>(covered.size());
  BOOST_TEST(all >= runs * 93 / 100);
  BOOST_TEST(all <= runs * 97 / 100);
}

// Two abstentions in a thousand problems: often none is seen at all.
BOOST_AUTO_TEST_CASE(intervals_of_what_is_rare_cover_it_too) {
  constexpr int kRuns = 200;
  constexpr double kShare = 0.002;
  model::Random random(12);
  int covered = 0;
  int never = 0;
  for (int run = 0; run < kRuns; ++run) {
    AccuracyLog log;
    for (std::uint64_t i = 0; i < 1000; ++i) {
      auto rows = rows_of(i, {{"champion", 1.0}});
      rows.front().abstained = random.uniform() < kShare;
      add(log, rows);
    }
    const Json interval = variant_of(report_of(log, {}, 200), "champion")["interval"];
    const Json& share = interval["abstained_share"];
    covered += share[0] <= kShare && kShare <= share[1] ? 1 : 0;
    never += share[0] <= 0.0 ? 1 : 0;
  }
  BOOST_TEST(covered >= kRuns * 92 / 100);
  BOOST_TEST(never > 0);  // none was seen: it may be that there is none
}

// Problems with much to gain are where the model is bad. Half of them are measured, by the queue's
// own order: the plain mean is too bad, the corrected one is right on average.
BOOST_AUTO_TEST_CASE(estimates_are_corrected_for_what_was_verified_first) {
  constexpr int kProblems = 60;
  constexpr int kMeasured = 30;
  double plain = 0;
  double corrected = 0;
  double truth = 0;
  constexpr int kRuns = 400;
  for (int run = 0; run < kRuns; ++run) {
    model::Random random(static_cast<std::uint64_t>(run) + 1);
    daemon::VerificationQueue queue({1000, 0.3, 2},
                                    {[](const auto&) {}, [](const auto&) {}},
                                    static_cast<std::uint64_t>(run) * 7919 + 1);
    std::map<core::KeyHash, double> slowdowns;
    double mean = 0;
    for (int i = 0; i < kProblems; ++i) {
      const double log_slowdown = 0.3 * random.uniform();
      const auto job = job_number(i, 1 + 100 * log_slowdown);
      slowdowns[core::hash_key(job.key)] = log_slowdown;
      mean += log_slowdown / kProblems;
      queue.add(job, 1000);
    }
    AccuracyLog log;
    for (std::uint64_t i = 0; i < kMeasured; ++i) {
      const auto pick = queue.pick(1000, [](const auto&) { return true; });
      const auto hash = core::hash_key(pick->job.key);
      add(log,
          rows_of(i, {{"champion", std::exp(slowdowns[hash])}}, pick->probability, pick->pool));
      queue.finish(hash);
    }
    const auto weights = daemon::selection_weights(log.problems(), kProblems - kMeasured);
    const auto log_of = [&](const Json& report) {
      return std::log(variant_of(report, "champion")["geomean_slowdown"].get<double>());
    };
    plain += log_of(report_of(log)) / kRuns;
    corrected += log_of(report_of(log, weights)) / kRuns;
    truth += mean / kRuns;
  }
  BOOST_TEST_MESSAGE("truth " << truth << " plain " << plain << " corrected " << corrected);
  BOOST_TEST(plain > truth * 1.2);
  BOOST_TEST(corrected == truth, tt::tolerance(0.05));
}

BOOST_AUTO_TEST_CASE(with_nothing_waiting_no_weight_differs_from_one) {
  AccuracyLog log;
  add(log, rows_of(1, {{"champion", 1}}, 0.01F, 900));
  add(log, rows_of(2, {{"champion", 2}}, 0.9F, 899));
  BOOST_TEST(daemon::selection_weights(log.problems(), 0) == (std::vector<double>{1, 1}));
  const auto weights = daemon::selection_weights(log.problems(), 10);
  BOOST_TEST(weights[0] < 1.0);
  BOOST_TEST(weights[0] > 0.0);
}

BOOST_AUTO_TEST_SUITE_END()
