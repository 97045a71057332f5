#include "model/calibration.h"

#include "tests/model/sample_model.h"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

namespace reformer::model {
namespace {

using testing::number;

// The first input says how likely the model is right: with probability (1 + input) / 2 its choice
// is the best, otherwise twice as slow. Heuristic A is always 20 % slower than the best.
std::vector<JudgeSample> samples(std::size_t count, std::uint64_t stream) {
  std::vector<JudgeSample> result;
  for (std::size_t i = 0; i < count; ++i) {
    JudgeSample sample;
    sample.shape = i;
    for (std::size_t j = 0; j < kJudgeInputs; ++j) {
      sample.inputs[j] = j < 4 ? static_cast<float>(number(stream, i * kJudgeInputs + j)) : 0.0F;
    }
    const bool right = number(stream + 1, i) < static_cast<double>(sample.inputs[0]);
    sample.log_slowdown = right ? 0.0F : std::log(2.0F);
    sample.heuristic_log_slowdown = std::log(1.2F);
    result.push_back(sample);
  }
  return result;
}

Judgement judgement_at(const Calibration& calibration, float first) {
  std::array<float, kJudgeInputs> inputs{};
  inputs[0] = first;
  return judge(calibration, inputs);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(calibration)

BOOST_AUTO_TEST_CASE(confidence_is_the_share_that_was_right) {
  const Calibration calibration = fit_calibration(samples(8000, 100), {}, 1);
  std::array<double, 5> confidence{};
  std::array<double, 5> right{};
  std::array<double, 5> count{};
  for (const JudgeSample& sample : samples(8000, 200)) {  // others than it was fitted on
    const Judgement judgement = judge(calibration, sample.inputs);
    BOOST_REQUIRE((judgement.confidence >= 0 && judgement.confidence <= 1));
    const auto bin = std::min<std::size_t>(4, static_cast<std::size_t>(judgement.confidence * 5));
    confidence[bin] += judgement.confidence;
    right[bin] += sample.log_slowdown < 0.04F ? 1 : 0;
    count[bin] += 1;
  }
  for (std::size_t bin = 0; bin < count.size(); ++bin) {
    BOOST_TEST(count[bin] > 200);
    BOOST_TEST(std::abs(confidence[bin] - right[bin]) / count[bin] < 0.06, "bin " << bin);
  }
}

BOOST_AUTO_TEST_CASE(it_abstains_where_the_heuristic_is_expected_to_do_better) {
  const Calibration calibration = fit_calibration(samples(8000, 100), {}, 1);
  BOOST_TEST(calibration.abstains(judgement_at(calibration, -0.9F)));
  BOOST_TEST(!calibration.abstains(judgement_at(calibration, 0.9F)));
  BOOST_TEST(std::abs(judgement_at(calibration, 0).heuristic_log_slowdown - std::log(1.2F)) < 0.05);

  // What is served is better than either alone.
  double model = 0;
  double heuristic = 0;
  double served = 0;
  for (const JudgeSample& sample : samples(4000, 300)) {
    const bool abstains = calibration.abstains(judge(calibration, sample.inputs));
    model += sample.log_slowdown;
    heuristic += sample.heuristic_log_slowdown;
    served += abstains ? sample.heuristic_log_slowdown : sample.log_slowdown;
  }
  BOOST_TEST(served < 0.9 * std::min(model, heuristic));
}

// Model and heuristic are right by the same chance, which no input tells: where the heuristic seems
// better in some samples, it is not.
BOOST_AUTO_TEST_CASE(it_does_not_abstain_for_a_gain_that_may_be_chance) {
  for (const std::uint64_t stream : {400U, 500U, 600U, 700U}) {
    std::vector<JudgeSample> given = samples(3000, stream);
    for (std::size_t i = 0; i < given.size(); ++i) {
      given[i].log_slowdown = number(stream + 2, i) < 0 ? 0.3F : 0.0F;
      given[i].heuristic_log_slowdown = number(stream + 3, i) < 0 ? 0.3F : 0.0F;
    }
    const Calibration calibration = fit_calibration(given, {}, 1);
    BOOST_TEST(!calibration.abstains(judgement_at(calibration, 0)));
    BOOST_TEST(calibration.margin == -1);
  }
}

// The same, where each shape is there six times: in three views, by two networks. A judge that has
// seen some of the six knows the others by heart, and all four seem to gain. Twice the standard
// error may still be chance, once.
BOOST_AUTO_TEST_CASE(copies_of_a_problem_make_no_gain_of_chance) {
  int gains = 0;
  for (const std::uint64_t stream : {400U, 500U, 600U, 700U}) {
    std::vector<JudgeSample> given;
    for (JudgeSample& sample : samples(500, stream)) {
      for (std::size_t j = 0; j < kJudgeInputs; ++j) {
        sample.inputs[j] = static_cast<float>(number(stream + 9, sample.shape * kJudgeInputs + j));
      }
      sample.log_slowdown = number(stream + 2, sample.shape) < 0 ? 0.3F : 0.0F;
      sample.heuristic_log_slowdown = number(stream + 3, sample.shape) < 0 ? 0.3F : 0.0F;
      given.insert(given.end(), 6, sample);
    }
    gains += fit_calibration(given, {}, 1).margin > -1 ? 1 : 0;
  }
  BOOST_TEST(gains <= 1);
}

// The networks that the judge learnt from saw less than the one that it judges.
BOOST_AUTO_TEST_CASE(a_margin_that_makes_the_network_itself_worse_is_not_used) {
  const std::vector<JudgeSample> given = samples(8000, 100);
  std::vector<JudgeSample> validation = samples(2000, 800);
  const float margin = fit_calibration(given, {}, 1).margin;
  BOOST_TEST(margin > -1);
  BOOST_TEST(fit_calibration(given, validation, 1).margin == margin);
  for (JudgeSample& sample : validation) {
    sample.log_slowdown = 0.1F;  // A's is 0.18
  }
  BOOST_TEST(fit_calibration(given, validation, 1).margin == -1);
}

BOOST_AUTO_TEST_CASE(problems_that_the_heuristic_does_not_cover_teach_nothing_about_it) {
  std::vector<JudgeSample> mixed = samples(6000, 100);
  for (std::size_t i = 0; i < mixed.size(); i += 2) {
    mixed[i].heuristic_log_slowdown = -1;
  }
  const Calibration calibration = fit_calibration(mixed, {}, 1);
  BOOST_TEST(std::abs(judgement_at(calibration, 0).heuristic_log_slowdown - std::log(1.2F)) < 0.06);
}

BOOST_AUTO_TEST_CASE(the_same_seed_gives_the_same_calibration) {
  const std::vector<JudgeSample> given = samples(500, 100);
  const Calibration one = fit_calibration(given, {}, 9);
  const Calibration same = fit_calibration(given, {}, 9);
  BOOST_TEST((one.hidden_weights == same.hidden_weights));
  BOOST_TEST((one.output_weights == same.output_weights));
  BOOST_TEST(one.margin == same.margin);
  BOOST_TEST((fit_calibration(given, {}, 10).hidden_weights != one.hidden_weights));
}

BOOST_AUTO_TEST_CASE(it_abstains_below_a_confidence_and_by_the_margin) {
  Calibration rule;
  Judgement judgement{
      .confidence = 0.5F, .model_log_slowdown = 0.1F, .heuristic_log_slowdown = 0.12F};
  BOOST_TEST(!rule.abstains(judgement));
  rule.margin = 0.03F;
  BOOST_TEST(rule.abstains(judgement));
  rule.margin = 0;
  rule.abstain_below = 0.6F;
  BOOST_TEST(rule.abstains(judgement));
}

// Logits 2, 0, 1: the softmax is known.
BOOST_AUTO_TEST_CASE(rank_features_describe_the_ranking) {
  const std::array<float, 3> logits{2, 0, 1};
  const NumericFeatures features{};
  RankFeatures out{};
  rank_features(logits, features, out);
  const double sum = 1 + std::exp(-2.0) + std::exp(-1.0);
  BOOST_TEST(std::abs(out[0] - 1 / sum) < 1e-5);
  BOOST_TEST(std::abs(out[1] - 1) < 1e-5);
  double entropy = 0;
  for (const double l : {0.0, -2.0, -1.0}) {
    const double p = std::exp(l) / sum;
    entropy -= p * std::log(p);
  }
  BOOST_TEST(std::abs(out[2] - 0.3 * entropy) < 1e-5);
  BOOST_TEST(std::abs(out[3] - 0.2 * std::log(3.0)) < 1e-5);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace reformer::model
