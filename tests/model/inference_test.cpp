#include "model/inference.h"

#include "model/half.h"
#include "model/kernels.h"
#include "model/predictor.h"
#include "model/training_run.h"
#include "tests/model/allocation_counter.h"
#include "tests/model/sample_model.h"

#include <boost/test/data/test_case.hpp>
#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <iterator>
#include <numeric>
#include <set>
#include <vector>

namespace reformer::model {
namespace {

constexpr std::array kKinds = {BlockKind::kGamma, BlockKind::kMlp, BlockKind::kTransformer};

const Corpus& corpus() {
  static const Corpus made = testing::made_up_corpus(400);
  return made;
}

// Trained a little, so that its answers depend on the problem.
ModelData small_model(BlockKind kind) {
  TrainOptions options = *preset("default");
  options.block = kind;
  options.epochs = 2;
  options.folds = 2;
  options.seed = 5;
  const auto trained = train_model(
      corpus(), testing::all_of(corpus()), options, testing::run_inline, [](const TrainProgress&) {
        return true;
      });
  BOOST_REQUIRE(trained.ok());
  return *trained;
}

std::vector<core::Problem> some_problems(std::size_t count) {
  std::vector<core::Problem> problems;
  for (std::size_t i = 0; i < count; ++i) {
    problems.push_back(corpus().problems()[i].problem);
  }
  return problems;
}

void check_same(const Ranking& one, const Ranking& other) {
  BOOST_REQUIRE(one.count == other.count);
  for (std::uint32_t i = 0; i < one.count; ++i) {
    BOOST_TEST(one.classes[i].class_index == other.classes[i].class_index);
    BOOST_TEST(std::abs(one.classes[i].logit - other.classes[i].logit) < 1e-5);
  }
  BOOST_TEST(std::abs(one.confidence - other.confidence) < 1e-5);
  BOOST_TEST(one.abstained == other.abstained);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(inference)

BOOST_DATA_TEST_CASE(predicting_allocates_nothing, kKinds, kind) {
  const auto predictor = testing::predictor_of(small_model(kind));
  Predictor::Scratch scratch(*predictor);
  const std::vector<core::Problem> problems = some_problems(150);
  std::vector<Ranking> rankings(problems.size());
  const std::size_t before = testing::allocations();
  for (const core::Problem& problem : problems) {
    predictor->rank(problem, 8, scratch, rankings[0]);
  }
  predictor->rank_batch(problems, kMaxRanked, scratch, rankings);
  const std::size_t after = testing::allocations();
  BOOST_TEST(after == before);
  BOOST_TEST(rankings.back().count > 0U);
}

BOOST_AUTO_TEST_CASE(the_allocation_counter_counts) {
  const std::size_t before = testing::allocations();
  const std::vector<float> one(1000);
  const std::vector<float> other(1000);
  BOOST_TEST(testing::allocations() == before + 2);
}

// 150 is two full batches and a part of one; the types alternate.
BOOST_DATA_TEST_CASE(a_batch_answers_as_one_by_one, kKinds, kind) {
  const auto predictor = testing::predictor_of(small_model(kind));
  Predictor::Scratch scratch(*predictor);
  const std::vector<core::Problem> problems = some_problems(150);
  std::vector<Ranking> rankings(problems.size());
  predictor->rank_batch(problems, 8, scratch, rankings);
  for (std::size_t i = 0; i < problems.size(); ++i) {
    Ranking one;
    predictor->rank(problems[i], 8, scratch, one);
    check_same(one, rankings[i]);
    BOOST_TEST(one.count == 8U);
    BOOST_TEST(std::is_sorted(one.classes.begin(),
                              one.classes.begin() + one.count,
                              [](auto& a, auto& b) { return a.logit > b.logit; }));
  }
}

BOOST_AUTO_TEST_CASE(what_is_no_problem_of_its_kind_is_not_ranked) {
  const auto predictor = testing::predictor_of(testing::fixed_ranking_model(5));
  Predictor::Scratch scratch(*predictor);
  Ranking ranking;
  core::Problem known = testing::problem("fwd f16 nhwc n4 c8 h8 w8 k8 r3 s3");
  predictor->rank(known, 3, scratch, ranking);
  BOOST_TEST(ranking.count == 3U);
  BOOST_TEST(!ranking.abstained);
  BOOST_TEST(ranking.confidence == 0.5F);
  BOOST_TEST(ranking.classes[2].class_index == 2);
  known.fusion = 42;
  predictor->rank(known, 3, scratch, ranking);
  BOOST_TEST(ranking.count == 0U);
  BOOST_TEST(ranking.abstained);
  predictor->rank(testing::problem("fwd bf16 nhwc n4 c8 h8 w8 k8 r3 s3"), 3, scratch, ranking);
  BOOST_TEST(ranking.count == 0U);
  BOOST_TEST(ranking.abstained);
}

BOOST_AUTO_TEST_CASE(more_is_not_ranked_than_asked_for_or_there_is) {
  const auto few = testing::predictor_of(testing::fixed_ranking_model(5));
  const auto many = testing::predictor_of(testing::fixed_ranking_model(40));
  const core::Problem problem = testing::problem("fwd f16 nhwc n4 c8 h8 w8 k8 r3 s3");
  Ranking ranking;
  Predictor::Scratch few_scratch(*few);
  few->rank(problem, 1000, few_scratch, ranking);
  BOOST_TEST(ranking.count == 5U);
  Predictor::Scratch many_scratch(*many);
  many->rank(problem, 1000, many_scratch, ranking);
  BOOST_TEST(ranking.count == kMaxRanked);
  many->rank(problem, 0, many_scratch, ranking);
  BOOST_TEST(ranking.count == 1U);
}

// The packed network and judge of the predictor against the plain ones.
BOOST_DATA_TEST_CASE(confidence_and_abstention_are_the_judges, kKinds, kind) {
  const ModelData data = small_model(kind);
  const auto predictor = testing::predictor_of(data);
  const InferenceNetwork network(data, *supported_kernels().front());
  std::vector<float> workspace(network.workspace_floats());
  std::vector<float> logits(network.logit_stride());
  Predictor::Scratch scratch(*predictor);
  for (const core::Problem& problem : some_problems(50)) {
    const Combination combination = combination_of(problem);
    const auto index = find_combination(data.classes.combinations, combination);
    BOOST_REQUIRE(index.has_value());
    NumericFeatures features{};
    numeric_features(problem, 132, features);
    data.normaliser.apply(features);
    const std::array<std::uint32_t, 1> one{static_cast<std::uint32_t>(*index)};
    network.logits(one[0], network.embed(one, features.data(), workspace), 1, logits.data());
    const std::size_t classes = data.classes.combinations[*index].classes.size();
    RankFeatures rank{};
    rank_features(std::span(logits).first(classes), features, rank);
    std::array<float, kJudgeInputs> inputs{};
    auto next = std::ranges::copy(features, inputs.begin()).out;
    next = std::ranges::copy(indicator_features(combination), next).out;
    std::ranges::copy(rank, next);
    const Judgement judgement = judge(data.calibration, inputs);
    Ranking ranking;
    predictor->rank(problem, 8, scratch, ranking);
    BOOST_TEST(std::abs(ranking.confidence - judgement.confidence) < 1e-4);
    const float doubt =
        judgement.model_log_slowdown + data.calibration.margin - judgement.heuristic_log_slowdown;
    if (std::abs(doubt) > 1e-3) {
      BOOST_TEST(ranking.abstained == data.calibration.abstains(judgement));
    }
  }
}

// What training rounds is kept as float16; one number that is none, and all of its matrix is float.
BOOST_AUTO_TEST_CASE(float16_weights_answer_as_float_ones) {
  ModelData halves = small_model(BlockKind::kGamma);
  BOOST_TEST(all_are_halves(halves.trunk));
  BOOST_TEST(all_are_halves(halves.rows));
  ModelData floats = halves;
  for (std::vector<float>* values : {&floats.trunk, &floats.rows}) {
    for (float& value : *values) {
      value = std::nextafter(value, 1e9F);
    }
  }
  BOOST_TEST(!all_are_halves(floats.trunk));
  const auto one = testing::predictor_of(halves);
  const auto other = testing::predictor_of(floats);
  Predictor::Scratch one_scratch(*one);
  Predictor::Scratch other_scratch(*other);
  for (const core::Problem& problem : some_problems(100)) {
    Ranking of_one;
    Ranking of_other;
    one->rank(problem, 1, one_scratch, of_one);
    other->rank(problem, 1, other_scratch, of_other);
    BOOST_TEST(std::abs(of_one.classes[0].logit - of_other.classes[0].logit) < 1e-4);
  }
}

BOOST_AUTO_TEST_CASE(a_decision_obeys_the_constraints_and_the_limits) {
  ModelData data = testing::fixed_ranking_model(10);
  data.info.sharpness = 4;
  const auto predictor = testing::predictor_of(data);
  const core::Problem problem = testing::problem("fwd f16 nhwc n4 c8 h8 w8 k8 r3 s3");
  Predictor::Scratch scratch(*predictor);
  const auto decide = [&](const core::Constraints& constraints, std::size_t entries) {
    return predictor->decide(
        testing::sample_context(), problem, constraints, {}, entries, entries, scratch);
  };
  const core::Decision all = decide({}, 4);
  BOOST_TEST((all.source == core::Source::kPredicted));
  BOOST_TEST(all.model == "fixed");
  BOOST_REQUIRE(all.entries.size() == 4U);
  BOOST_TEST((all.entries[0].config == testing::config(0)));
  BOOST_TEST(std::isnan(all.entries[0].time_us));

  core::Constraints small;  // class i needs i MiB
  small.max_workspace_bytes = 0;
  const core::Decision constrained = decide(small, 4);
  BOOST_REQUIRE(constrained.entries.size() == 1U);
  BOOST_TEST((constrained.entries[0].config == testing::config(0)));

  core::Context other = testing::sample_context();
  other.cudnn_version = 90000;
  const core::Decision foreign = predictor->decide(other, problem, {}, {}, 4, 4, scratch);
  BOOST_TEST((foreign.source == core::Source::kAbstain));
  BOOST_TEST(foreign.entries.empty());
  BOOST_TEST(!predictor->knows(other));
}

// Classes 0, 1 and 3 use tensor cores, 5 and 6 are not deterministic. Without tensor cores the
// ranking is 5, 4, 2, 6, 7; deterministic it is 7, 2, 4.
ModelData model_of_three_views() {
  ModelData data = testing::fixed_ranking_model(8);
  for (const std::size_t index : {0, 1, 3}) {
    data.classes.classes[index].entry.numerical_notes = core::numerical_note::kTensorCore;
  }
  for (const std::size_t index : {5, 6}) {
    data.classes.classes[index].entry.numerical_notes = core::numerical_note::kNondeterministic;
  }
  data.classes.combinations[1].classes = {2, 4, 5, 6, 7};
  data.combination_rows[1] = {4, 3, 2, 5, 6};
  data.classes.combinations[2].classes = {2, 4, 7};
  data.combination_rows[2] = {4, 5, 3};
  return data;
}

// The engines of an answer, in its order.
std::vector<std::int32_t> engines_of(const ModelData& data,
                                     const std::string& problem,
                                     std::size_t max_entries,
                                     const core::Constraints& constraints,
                                     const core::BuildPolicy& policy) {
  const auto predictor = testing::predictor_of(data);
  Predictor::Scratch scratch(*predictor);
  const core::Decision decision = predictor->decide(testing::sample_context(),
                                                    testing::problem(problem),
                                                    constraints,
                                                    policy,
                                                    max_entries,
                                                    max_entries,
                                                    scratch);
  BOOST_TEST((decision.source == core::Source::kPredicted) == !decision.entries.empty());
  std::vector<std::int32_t> engines;
  for (const core::DecisionEntry& entry : decision.entries) {
    engines.push_back(entry.config.engine());
  }
  return engines;
}

std::vector<std::int32_t> engines_for_f32(const ModelData& data,
                                          std::size_t max_entries,
                                          std::uint32_t forbidden = 0) {
  core::Constraints constraints;
  constraints.forbidden_numerical_notes = forbidden;
  return engines_of(data, "fwd f32 nchw n4 c8 h8 w8 k8 r3 s3", max_entries, constraints, {});
}

BOOST_AUTO_TEST_CASE(an_answer_for_f32_is_right_for_whoever_takes_it) {
  using Engines = std::vector<std::int32_t>;
  const ModelData data = model_of_three_views();
  const auto first_in = [](const Engines& engines, const Engines& view) {
    const auto found = std::ranges::find_first_of(engines, view);
    return found == engines.end() ? -1 : *found;
  };
  for (std::size_t max_entries = 4; max_entries <= 16; ++max_entries) {
    const Engines engines = engines_for_f32(data, max_entries);
    BOOST_TEST(engines.size() <= max_entries);
    BOOST_TEST(std::set<std::int32_t>(engines.begin(), engines.end()).size() == engines.size());
    BOOST_TEST(engines[0] == 0);
    BOOST_TEST(first_in(engines, {2, 4, 5, 6, 7}) == 5);
    BOOST_TEST(first_in(engines, {2, 4, 7}) == 7);
  }
  BOOST_TEST((engines_for_f32(data, 1) == Engines{0}));
  constexpr std::uint32_t kTensorCore = core::numerical_note::kTensorCore;
  constexpr std::uint32_t kBoth = kTensorCore | core::numerical_note::kNondeterministic;
  BOOST_TEST((engines_for_f32(data, 16, kTensorCore) == Engines{5, 7, 2, 4}));  // 6 is hopeless
  BOOST_TEST((engines_for_f32(data, 16, kBoth) == Engines{7, 2, 4}));

  ModelData plain_first = model_of_three_views();  // the first of all stays so
  plain_first.classes.classes[0].entry.numerical_notes = 0;
  const Engines engines = engines_for_f32(plain_first, 16);
  BOOST_TEST(engines[0] == 0);
  BOOST_TEST(first_in(engines, {2, 4, 5, 6, 7}) == 5);

  ModelData with_alone = model_of_three_views();
  for (const std::size_t index : {1, 2}) {
    Combination& other = with_alone.classes.combinations[index].combination;
    other.spatial_rank = 3;
    other.view = index == 1 ? View::kAll : View::kWithoutTensorCores;
  }
  BOOST_TEST(engines_for_f32(with_alone, 16).empty());
}

BOOST_AUTO_TEST_CASE(a_kernel_that_is_compiled_at_run_time_must_be_worth_it) {
  ModelData data = testing::fixed_ranking_model(3);
  data.classes.classes[0].entry.build_us = 500'000;
  const auto predictor = testing::predictor_of(data);
  const core::Problem problem = testing::problem("fwd f16 nhwc n4 c8 h8 w8 k8 r3 s3");
  Predictor::Scratch scratch(*predictor);
  // 2^3 us are expected of the first, e times as many of the second.
  const auto first = [&](double uses) {
    const core::BuildPolicy policy{.expected_uses = uses, .cheap_build_us = 1000};
    const core::Decision decision =
        predictor->decide(testing::sample_context(), problem, {}, policy, 4, 4, scratch);
    return decision.entries.at(0).config;
  };
  BOOST_TEST((first(1000) == testing::config(1)));
  BOOST_TEST((first(10'000'000) == testing::config(0)));
}

// Class 0 is compiled and the fastest by far; the others rank 1, 2, 3 after it, and in their own
// view 3, 2, 1. Both views' best are expected to take the same time.
ModelData model_with_a_precompiled_view() {
  ModelData data = testing::fixed_ranking_model(4);
  data.info.sharpness = 1;
  data.classes.classes[0].entry.build_us = 500'000;
  data.classes.classes[0].entry.behavior_notes = core::behavior_note::kRuntimeCompilation;
  const core::Problem grouped = testing::problem("fwd f16 nhwc n4 c8 h8 w8 k8 r3 s3 grp8");
  CombinationClasses& whole = data.classes.combinations.back();
  whole.combination = combination_of(grouped);
  CombinationClasses precompiled;
  precompiled.combination = combination_of(grouped, View::kPrecompiled);
  precompiled.classes = {1, 2, 3};
  data.classes.combinations.push_back(precompiled);
  data.combination_rows.push_back({3, 2, 1});
  const std::size_t inputs = input_width(5);
  data.trunk.assign(inputs * 4 + 4 + 4 * 4 + inputs * 4 + 4, 0.0F);
  return data;
}

std::vector<std::int32_t> engines_for_groups(const ModelData& data, double uses) {
  const core::BuildPolicy policy{.expected_uses = uses, .cheap_build_us = 1000};
  return engines_of(data, "fwd f16 nhwc n4 c8 h8 w8 k8 r3 s3 grp8", 4, {}, policy);
}

BOOST_AUTO_TEST_CASE(what_needs_no_compiling_comes_in_the_order_of_its_own_view) {
  using Engines = std::vector<std::int32_t>;
  const ModelData data = model_with_a_precompiled_view();
  BOOST_TEST((engines_for_groups(data, 1000) == Engines{3, 2, 1}));
  ModelData without = data;  // nothing learnt of that view
  without.classes.combinations.back().combination.operation = core::Operation::kDataGradient;
  BOOST_TEST((engines_for_groups(without, 1000) == Engines{1, 2, 3}));
  // A view that knows a class the whole does not: no training makes that.
  ModelData foreign = data;
  foreign.classes.combinations[3].classes = {0, 1, 2};
  foreign.combination_rows[3] = {0, 1, 2};
  BOOST_TEST((engines_for_groups(foreign, 1000) == Engines{1, 2}));
}

// The precompiled view's best is expected to take e^2 times the best of all.
BOOST_AUTO_TEST_CASE(a_compiled_kernel_is_weighed_against_what_the_precompiled_view_expects) {
  using Engines = std::vector<std::int32_t>;
  ModelData data = model_with_a_precompiled_view();
  const std::size_t is_precompiled = kNumericFeatures + kIndicatorFeatures - 1;
  data.times.hidden1_weights[is_precompiled * kTimeHidden[0]] = 1;
  data.times.hidden2_weights[0] = 1;
  data.times.output_weights[0] = static_cast<float>(std::log2(std::exp(2.0)));
  const Engines patient = engines_for_groups(data, 1e9);
  BOOST_REQUIRE(!patient.empty());
  BOOST_TEST(patient[0] == 0);
  BOOST_TEST((patient == Engines{0, 3}));  // 2 and 1 would take over ten times as long
  BOOST_TEST((engines_for_groups(data, 1000) == Engines{3, 2, 1}));
}

// Class 1 is expected to take e^(1/4) times the first's time, which is worth building the first for
// from a number of uses on.
BOOST_AUTO_TEST_CASE(building_is_weighed_by_what_the_time_network_expects) {
  constexpr float kBuildUs = 500'000;
  ModelData data = testing::fixed_ranking_model(2);
  data.info.sharpness = 4;
  data.classes.classes[0].entry.build_us = kBuildUs;
  data.normaliser.scale.fill(0.2F);
  data.times.hidden1_weights = testing::numbers(8, data.times.hidden1_weights.size(), 0.05);
  data.times.hidden2_weights = testing::numbers(9, data.times.hidden2_weights.size(), 0.25);
  data.times.output_weights = testing::numbers(10, data.times.output_weights.size(), 0.5);
  const auto predictor = testing::predictor_of(data);
  Predictor::Scratch scratch(*predictor);
  std::set<int> octaves;
  for (const char* text : {"fwd f16 nhwc n4 c8 h8 w8 k8 r3 s3",
                           "fwd f16 nhwc n256 c512 h8 w8 k64 r3 s3",
                           "fwd f16 nhwc n1 c8 h512 w512 k8 r7 s7 str2"}) {
    const core::Problem problem = testing::problem(text);
    NumericFeatures features{};
    numeric_features(problem, 132, features);
    data.normaliser.apply(features);
    std::array<float, kTimeInputs> inputs{};
    const auto rest = std::ranges::copy(features, inputs.begin()).out;
    std::ranges::copy(indicator_features(combination_of(problem)), rest);
    const float log2_us = expected_log2_us(data.times, inputs);
    octaves.insert(static_cast<int>(std::floor(log2_us * 4)));
    const double even = kBuildUs / (std::exp2(log2_us) * (std::exp(0.25) - 1));
    const auto first = [&](double uses) {
      const core::BuildPolicy policy{.expected_uses = uses, .cheap_build_us = 1000};
      const core::Decision decision =
          predictor->decide(testing::sample_context(), problem, {}, policy, 4, 4, scratch);
      return decision.entries.at(0).config.engine();
    };
    BOOST_TEST(first(0.99 * even) == 1, text);
    BOOST_TEST(first(1.01 * even) == 0, text);
  }
  BOOST_TEST(octaves.size() > 1U);
}

BOOST_AUTO_TEST_CASE(
    what_is_expected_to_take_twice_the_firsts_time_is_far_behind_and_mostly_left_out) {
  const core::Problem f16 = testing::problem("fwd f16 nhwc n4 c8 h8 w8 k8 r3 s3");
  const core::Problem f32 = testing::problem("fwd f32 nchw n4 c8 h8 w8 k8 r3 s3");
  using Engines = std::set<std::int32_t>;
  const auto answer = [](const ModelData& data, const core::Problem& problem) {
    const auto predictor = testing::predictor_of(data);
    Predictor::Scratch scratch(*predictor);
    const core::Decision decision =
        predictor->decide(testing::sample_context(), problem, {}, {}, 16, 16, scratch);
    std::pair<Engines, Engines> near_and_far;
    for (const core::DecisionEntry& entry : decision.entries) {
      BOOST_TEST(std::isnan(entry.time_us));
      const bool far = (entry.behavior_notes & core::behavior_note::kFarBehind) != 0;
      (far ? near_and_far.second : near_and_far.first).insert(entry.config.engine());
    }
    return near_and_far;
  };
  // Class i takes exp(i / 4) times the time of the first: 3, 4 and 5 are far behind, and three
  // entries are one too few.
  ModelData data = testing::fixed_ranking_model(6);
  data.info.sharpness = 4;
  BOOST_TEST((answer(data, f16) == std::pair(Engines{0, 1, 2}, Engines{3})));
  // One that is there for those who refuse the others stays.
  for (const std::size_t index : {0, 1, 2, 3, 4}) {
    data.classes.classes[index].entry.numerical_notes = core::numerical_note::kNondeterministic;
  }
  BOOST_TEST((answer(data, f16) == std::pair(Engines{0, 1, 2}, Engines{5})));
  // The best of each view, 0, 5 and 7, is expected to take the same time here.
  ModelData views = model_of_three_views();
  views.info.sharpness = 4;
  const auto [near, far] = answer(views, f32);
  BOOST_TEST((near == Engines{0, 1, 2, 4, 5, 7}));  // not 3, and of the second view not 6
  BOOST_TEST((far == Engines{}));
}

BOOST_AUTO_TEST_CASE(classes_are_found_by_their_configuration) {
  const auto predictor = testing::predictor_of(testing::fixed_ranking_model(5));
  BOOST_TEST(predictor->classes().size() == 5U);
  BOOST_TEST(predictor->class_of(testing::config(4)) == 4);
  BOOST_TEST(predictor->class_of(testing::config(5)) == -1);
  BOOST_TEST(predictor->class_entry(3).workspace_bytes == 3 << 20);
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_AUTO_TEST_SUITE(kernels)

BOOST_AUTO_TEST_CASE(exp_and_log2_are_accurate_to_float) {
  for (const Kernels* k : supported_kernels()) {
    for (std::size_t count : {1U, 3U, 16U, 1001U}) {
      std::vector<float> x;
      for (std::size_t i = 0; i < count; ++i) {
        x.push_back(static_cast<float>(80 * testing::number(61, i)));
      }
      std::vector<float> e = x;
      k->exp(e.data(), count);
      std::vector<float> l = e;
      k->log2(l.data(), count);
      for (std::size_t i = 0; i < count; ++i) {
        BOOST_TEST(std::abs(e[i] / std::exp(static_cast<double>(x[i])) - 1) < 1e-6, k->name);
        const double expected = std::log2(static_cast<double>(e[i]));
        BOOST_TEST(std::abs(l[i] - expected) < 1e-5 * std::max(1.0, std::abs(expected)), k->name);
      }
    }
  }
}

// With float weights, and with the same ones as float16.
BOOST_DATA_TEST_CASE(dense_is_a_matrix_product_with_bias_and_activation,
                     boost::unit_test::data::make({false, true}),
                     halves) {
  for (const Kernels* k : supported_kernels()) {
    for (const std::size_t columns : {1U, 16U, 37U, 96U, 160U, 250U}) {
      for (const std::size_t samples : {1U, 2U, 3U, 4U, 5U, 6U, 13U}) {
        constexpr std::size_t kRows = 9;
        std::vector<float> w = testing::numbers(71, kRows * columns, 1);
        round_to_half(w);
        const std::vector<float> x = testing::numbers(72, samples * kRows, 1);
        const std::size_t width = padded_columns(columns);
        std::vector<float> packed(kRows * width);
        pack_panels(w.data(), kRows, columns, packed.data());
        std::vector<std::uint16_t> half_packed;
        std::ranges::transform(packed, std::back_inserter(half_packed), float_to_half);
        std::vector<float> bias = testing::numbers(73, width, 1);
        std::vector<float> y(samples * width);
        k->dense({.weights = halves ? nullptr : packed.data(),
                  .half_weights = halves ? half_packed.data() : nullptr,
                  .bias = bias.data(),
                  .rows = kRows,
                  .columns = width,
                  .x = x.data(),
                  .x_stride = kRows,
                  .y = y.data(),
                  .y_stride = width,
                  .samples = samples,
                  .activation = Activation::kRelu});
        for (std::size_t s = 0; s < samples; ++s) {
          for (std::size_t c = 0; c < columns; ++c) {
            double sum = bias[c];
            for (std::size_t r = 0; r < kRows; ++r) {
              sum += static_cast<double>(x[s * kRows + r]) * w[r * columns + c];
            }
            BOOST_TEST(std::abs(y[s * width + c] - std::max(0.0, sum)) < 1e-5, k->name);
          }
        }
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(logits_are_summarised) {
  for (const Kernels* k : supported_kernels()) {
    for (const std::size_t count : {1U, 2U, 15U, 16U, 17U, 276U}) {
      const std::vector<float> logits = testing::numbers(91, count, 5);
      std::vector<float> sorted = logits;
      std::ranges::sort(sorted, std::greater<>{});
      double sum = 0;
      double weighted = 0;
      for (const float logit : logits) {
        const double centred = static_cast<double>(logit) - sorted[0];
        sum += std::exp(centred);
        weighted += std::exp(centred) * centred;
      }
      const LogitSummary s = k->summarise(logits.data(), count);
      BOOST_TEST(s.first == sorted[0], k->name);
      BOOST_TEST((count > 1 ? s.second == sorted[1] : s.second < -1e29F), k->name);
      BOOST_TEST(std::abs(s.sum - sum) < 1e-5 * sum, k->name);
      BOOST_TEST(std::abs(s.weighted - weighted) < 1e-5 * (1 + std::abs(weighted)), k->name);
    }
  }
  const std::array<float, 3> twice{1, 4, 4};
  BOOST_TEST(best_kernels().summarise(twice.data(), 3).second == 4);
}

BOOST_AUTO_TEST_CASE(spread_tells_how_far_values_are_from_0) {
  for (const Kernels* k : supported_kernels()) {
    for (const std::size_t count : {0U, 1U, 7U, 16U, 88U}) {
      const std::vector<float> values = testing::numbers(93, count, 5);
      double furthest = 0;
      double squares = 0;
      double beyond = 0;
      for (const float value : values) {
        const double size = std::abs(static_cast<double>(value));
        furthest = std::max(furthest, size);
        squares += size * size;
        beyond += std::max(0.0, size - 2.5);
      }
      const Spread spread = k->spread(values.data(), count, 2.5F);
      BOOST_TEST(spread.furthest == static_cast<float>(furthest), k->name);
      BOOST_TEST(std::abs(spread.squares - squares) <= 1e-5 * squares, k->name);
      BOOST_TEST(std::abs(spread.beyond - beyond) <= 1e-5 * beyond, k->name);
    }
  }
}

// Many equal values among them, and once all.
BOOST_AUTO_TEST_CASE(the_largest_are_selected_in_order) {
  for (const Kernels* k : supported_kernels()) {
    for (const auto& [count, scale] : std::initializer_list<std::pair<std::size_t, float>>{
             {0, 20}, {1, 20}, {7, 20}, {16, 20}, {33, 20}, {100, 2000}, {500, 20}, {500, 0}}) {
      std::vector<float> values = testing::numbers(92, count, scale);
      for (float& value : values) {
        value = std::round(value);
      }
      std::vector<std::uint32_t> order(count);
      std::iota(order.begin(), order.end(), 0U);
      std::ranges::stable_sort(order, std::greater<>{}, [&](auto i) { return values[i]; });
      for (const std::size_t top : {1U, 8U, 16U}) {
        std::array<std::uint32_t, 16> found{};
        const std::size_t n = k->select_top(values.data(), count, top, found.data());
        BOOST_TEST(n == std::min(count, top));
        BOOST_TEST(std::equal(found.begin(), found.begin() + n, order.begin()), k->name);
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(gemm_multiplies_whatever_is_transposed) {
  constexpr std::size_t kM = 5;
  constexpr std::size_t kN = 7;
  constexpr std::size_t kK = 11;
  const std::vector<float> a = testing::numbers(81, kM * kK, 1);
  const std::vector<float> b = testing::numbers(82, kK * kN, 1);
  for (const Kernels* k : supported_kernels()) {
    for (const Transpose ta : {Transpose::kNo, Transpose::kYes}) {
      for (const Transpose tb : {Transpose::kNo, Transpose::kYes}) {
        const std::size_t lda = ta == Transpose::kYes ? kM : kK;
        const std::size_t ldb = tb == Transpose::kYes ? kK : kN;
        std::vector<float> c(kM * kN, 2.0F);
        k->gemm({ta, tb, kM, kN, kK, lda, ldb, kN}, a.data(), b.data(), c.data(), true);
        for (std::size_t i = 0; i < kM; ++i) {
          for (std::size_t j = 0; j < kN; ++j) {
            double sum = 2;
            for (std::size_t l = 0; l < kK; ++l) {
              sum += static_cast<double>(a[ta == Transpose::kYes ? l * lda + i : i * lda + l]) *
                     b[tb == Transpose::kYes ? j * ldb + l : l * ldb + j];
            }
            BOOST_TEST(std::abs(c[i * kN + j] - sum) < 1e-5, k->name);
          }
        }
      }
    }
  }
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace reformer::model
