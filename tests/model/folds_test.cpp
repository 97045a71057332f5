#include "model/folds.h"

#include "model/dataset.h"
#include "tests/model/sample_model.h"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <cmath>
#include <set>

// What is trained on and what is left out; which configurations become classes.
namespace reformer::model {
namespace {

std::set<std::uint64_t> shapes_of(const Corpus& corpus, std::span<const std::size_t> indices) {
  std::set<std::uint64_t> shapes;
  for (const std::size_t index : indices) {
    shapes.insert(corpus.problems()[index].shape);
  }
  return shapes;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(folds)

BOOST_AUTO_TEST_CASE(a_shape_is_the_layer_without_batch_operation_type_and_layout) {
  const auto shape = [](const std::string& text) { return shape_hash(testing::problem(text)); };
  const std::uint64_t one = shape("fwd f16 nhwc n32 c64 h56 w56 k64 r3 s3 pad1");
  BOOST_TEST(one == shape("fwd f16 nhwc n1 c64 h56 w56 k64 r3 s3 pad1"));
  BOOST_TEST(one == shape("wgrad f32 nchw n32 c64 h56 w56 k64 r3 s3 pad1"));
  BOOST_TEST(one != shape("fwd f16 nhwc n32 c64 h56 w56 k64 r3 s3 pad2"));
  BOOST_TEST(one != shape("fwd f16 nhwc n32 c64 h56 w56 k128 r3 s3 pad1"));
  BOOST_TEST(one != shape("fwd f16 nhwc n32 c64 h56 w56 k64 r3 s3 pad1 str2"));
  BOOST_TEST(one != shape("fwd f16 nhwc n32 c64 h56 w56 k64 r3 s3 pad1 grp2"));
}

BOOST_AUTO_TEST_CASE(no_shape_stands_on_both_sides_of_a_split) {
  const Corpus corpus = testing::made_up_corpus(600);
  const std::vector<std::size_t> all = testing::all_of(corpus);
  const Split split = split_by_shape(corpus, all, 0.25, 3);
  BOOST_TEST(split.train.size() + split.held_out.size() == all.size());
  const auto share = static_cast<double>(split.held_out.size()) / static_cast<double>(all.size());
  BOOST_TEST(std::abs(share - 0.25) < 0.08);
  const auto train = shapes_of(corpus, split.train);
  for (const std::uint64_t shape : shapes_of(corpus, split.held_out)) {
    BOOST_TEST(!train.contains(shape));
  }
  BOOST_TEST((split_by_shape(corpus, all, 0.25, 3).train == split.train));
  BOOST_TEST((split_by_shape(corpus, all, 0.25, 4).train != split.train));
}

BOOST_AUTO_TEST_CASE(every_fold_gets_shapes_of_its_own) {
  const Corpus corpus = testing::made_up_corpus(600);
  const std::vector<std::size_t> all = testing::all_of(corpus);
  for (const auto& fold : {shape_folds(corpus, all, 4, 1), region_folds(corpus, all, 4, 1)}) {
    BOOST_REQUIRE(fold.size() == all.size());
    std::array<std::vector<std::size_t>, 4> members;
    for (std::size_t i = 0; i < all.size(); ++i) {
      BOOST_REQUIRE(fold[i] < 4U);
      members[fold[i]].push_back(all[i]);
    }
    std::size_t shapes = 0;
    for (const auto& indices : members) {
      BOOST_TEST(indices.size() > 30U);
      shapes += shapes_of(corpus, indices).size();
    }
    BOOST_TEST(shapes == shapes_of(corpus, all).size());  // none was counted twice
  }
}

BOOST_AUTO_TEST_CASE(a_corpus_takes_each_problem_once_and_of_one_gpu_only) {
  Corpus corpus;
  const core::Record record = testing::made_up_record(1);
  BOOST_TEST((corpus.add(record) == Corpus::Added::kYes));
  BOOST_TEST((corpus.add(record) == Corpus::Added::kDuplicate));
  core::Record other = testing::made_up_record(2);
  other.key.context.cudnn_version = 90100;
  BOOST_TEST((corpus.add(other) == Corpus::Added::kOtherContext));
  core::Record untimed = testing::made_up_record(3);
  for (core::Candidate& candidate : untimed.candidates) {
    candidate.timing = core::Timing::kNone;
  }
  BOOST_TEST((corpus.add(untimed) == Corpus::Added::kNothingTimed));
  BOOST_TEST(corpus.problems().size() == 1U);
}

BOOST_AUTO_TEST_CASE(seen_classes_were_sighted_often_enough) {
  Corpus corpus;
  const std::string text = "fwd f16 nhwc c8 h8 w8 k8 r3 s3 n";
  (void)corpus.add(testing::record(text + "1", {testing::timed(0, 10), testing::timed(1, 20)}));
  (void)corpus.add(testing::record(text + "2", {testing::timed(0, 10), testing::timed(2, 20)}));
  (void)corpus.add(testing::record("fwd f32 nchw n1 c8 h8 w8 k8 r3 s3",
                                   {testing::timed(2, 10), testing::timed(1, 20)}));
  const ClassList list = make_class_list(corpus, testing::all_of(corpus), {ClassChoice::kSeen, 2});
  BOOST_TEST(list.classes.size() == 3U);
  BOOST_REQUIRE(list.combinations.size() == 3U);  // f32 with and without tensor cores
  for (const CombinationClasses& combination : list.combinations) {
    const bool half = combination.combination.type == core::DataType::kF16;
    BOOST_TEST(combination.classes.size() == (half ? 3U : 2U));
  }
  BOOST_TEST(
      make_class_list(corpus, testing::all_of(corpus), {ClassChoice::kSeen, 3}).classes.empty());
}

// Engine 1 is the fastest, 2 the fastest deterministic one; 3 is 1 % behind 2, 4 is behind all.
BOOST_AUTO_TEST_CASE(contenders_are_near_the_best_of_some_application) {
  Corpus corpus;
  const std::string text = "fwd f16 nhwc c8 h8 w8 k8 r3 s3 n";
  for (int n = 1; n <= 3; ++n) {
    std::vector<core::Candidate> candidates{testing::timed(1, 10),
                                            testing::timed(2, 20),
                                            testing::timed(3, 20.2F),
                                            testing::timed(4, 21)};
    candidates[0].numerical_notes = core::numerical_note::kNondeterministic;
    if (n == 3) {
      candidates.push_back(testing::timed(5, 5));
    }
    (void)corpus.add(testing::record(text + std::to_string(n), candidates));
  }
  const auto engines = [&](const ClassRule& rule) {
    std::set<core::EngineConfig> result;
    for (const KernelClass& kernel :
         make_class_list(corpus, testing::all_of(corpus), rule).classes) {
      result.insert(kernel.entry.config);
    }
    return result;
  };
  const auto config = [](int engine) { return testing::config(engine); };
  const ClassRule twice{ClassChoice::kContenders, 1, 2};
  BOOST_TEST((engines(twice) == std::set{config(1), config(2), config(3)}));
  const ClassRule once{ClassChoice::kContenders, 1, 1};
  BOOST_TEST((engines(once) == std::set{config(1), config(2), config(3), config(5)}));
  const ClassRule sighted_twice{ClassChoice::kContenders, 2, 1};
  BOOST_TEST((engines(sighted_twice) == std::set{config(1), config(2), config(3)}));
}

// What is compiled at run time is not all that applications want: the best that builds fast is too.
BOOST_AUTO_TEST_CASE(contenders_include_the_best_that_builds_fast) {
  Corpus corpus;
  std::vector<core::Candidate> candidates{
      testing::timed(1, 10), testing::timed(2, 20), testing::timed(3, 30)};
  candidates[0].build_us = 1e6F;
  (void)corpus.add(testing::record("fwd f16 nhwc n1 c8 h8 w8 k8 r3 s3", candidates));
  const ClassRule rule{ClassChoice::kContenders, 1, 1};
  BOOST_TEST(make_class_list(corpus, testing::all_of(corpus), rule).classes.size() == 2U);
}

// Engine 9 is timed everywhere and never near the best.
BOOST_AUTO_TEST_CASE(contenders_are_asked_for_where_there_are_many_problems) {
  const auto engines = [](int problems) {
    Corpus corpus;
    for (int n = 1; n <= problems; ++n) {
      (void)corpus.add(testing::record("fwd f16 nhwc c8 h8 w8 k8 r3 s3 n" + std::to_string(n),
                                       {testing::timed(1, 10), testing::timed(9, 50)}));
    }
    return make_class_list(corpus, testing::all_of(corpus), ClassRule{}).classes.size();
  };
  BOOST_TEST(engines(2999) == 2U);
  BOOST_TEST(engines(3000) == 1U);
}

// Engines 3 and 6 use tensor cores, engine 2 is not deterministic.
BOOST_AUTO_TEST_CASE(f32_is_seen_as_each_application_runs_it) {
  Corpus corpus;
  std::vector<core::Candidate> candidates = {testing::timed(1, 40, 2),
                                             testing::timed(3, 10, 0),
                                             testing::timed(6, 20, 1),
                                             testing::timed(2, 30, 3)};
  candidates[1].numerical_notes = candidates[2].numerical_notes = core::numerical_note::kTensorCore;
  candidates[3].numerical_notes = core::numerical_note::kNondeterministic;
  (void)corpus.add(testing::record("fwd f32 nhwc n1 c8 h8 w8 k8 r3 s3", candidates));
  (void)corpus.add(testing::record("fwd f16 nhwc n1 c8 h8 w8 k8 r3 s3", candidates));
  (void)corpus.add(
      testing::record("fwd f32 nhwc n2 c8 h8 w8 k8 r3 s3", {candidates[1], candidates[2]}));
  const std::vector<std::size_t> all = testing::all_of(corpus);
  const ClassList list = make_class_list(corpus, all, {ClassChoice::kSeen, 1});
  BOOST_TEST(list.combinations.size() == 4U);
  const Dataset data(corpus, list, fit_normaliser(corpus, all), LossOptions{});
  BOOST_REQUIRE(data.samples().size() == 5U);
  BOOST_TEST(data.sample_of(1, View::kWithoutTensorCores) == -1);
  BOOST_TEST(data.sample_of(2, View::kWithoutTensorCores) == -1);  // nothing is left of it
  const auto sample = data.sample_of(0, View::kWithoutTensorCores);
  BOOST_REQUIRE(sample >= 0);
  const Sample& refused = data.samples()[static_cast<std::size_t>(sample)];
  BOOST_TEST(list.combinations[refused.combination].classes.size() == 2U);
  BOOST_REQUIRE(refused.count == 2U);
  BOOST_TEST(std::abs(data.existing(refused)[0].log_slowdown - std::log(4.0F / 3)) < 1e-6);
  BOOST_TEST(data.existing(refused)[1].log_slowdown == 0);
  BOOST_TEST(corpus.problems()[0].times(View::kWithoutTensorCores).heuristic_a_us == 40);
  const auto narrowest = data.sample_of(0, View::kDeterministic);
  BOOST_REQUIRE(narrowest >= 0);
  BOOST_TEST(data.samples()[static_cast<std::size_t>(narrowest)].count == 1U);
}

// Engine 1 is compiled at run time.
BOOST_AUTO_TEST_CASE(what_needs_no_compiling_is_learnt_by_itself_where_there_are_groups) {
  Corpus corpus;
  std::vector<core::Candidate> candidates = {
      testing::timed(1, 10, 0), testing::timed(3, 40, 1), testing::timed(6, 20, 2)};
  candidates[0].behavior_notes = core::behavior_note::kRuntimeCompilation;
  for (const char* text : {"fwd f16 nhwc n1 c8 h8 w8 k8 r3 s3 grp8",
                           "fwd f16 nhwc n1 c8 h8 w8 k8 r3 s3",
                           "fwd f32 nhwc n1 c8 h8 w8 k8 r3 s3 grp8"}) {
    (void)corpus.add(testing::record(text, candidates));
  }
  (void)corpus.add(testing::record("fwd f16 nhwc n2 c8 h8 w8 k8 r3 s3 grp8", {candidates[0]}));
  const std::vector<std::size_t> all = testing::all_of(corpus);
  const ClassList list = make_class_list(corpus, all, {ClassChoice::kSeen, 1});
  const Dataset data(corpus, list, fit_normaliser(corpus, all), LossOptions{});
  for (const std::size_t other : {1, 2, 3}) {
    BOOST_TEST(data.sample_of(other, View::kPrecompiled) == -1);
  }
  const auto sample = data.sample_of(0, View::kPrecompiled);
  BOOST_REQUIRE(sample >= 0);
  const Sample& precompiled = data.samples()[static_cast<std::size_t>(sample)];
  BOOST_TEST(to_string(list.combinations[precompiled.combination].combination) ==
             "fwd f16 nhwc 2d depthwise precompiled");
  BOOST_REQUIRE(precompiled.count == 2U);
  BOOST_TEST(std::abs(data.existing(precompiled)[0].log_slowdown - std::log(2.0F)) < 1e-6);
  BOOST_TEST(data.existing(precompiled)[1].log_slowdown == 0);
  BOOST_TEST(corpus.problems()[0].times(View::kPrecompiled).heuristic_a_us == 40);
}

// Engine 1 is within 3 % of the best everywhere but once; there it needs engine 2.
BOOST_AUTO_TEST_CASE(covering_classes_are_few_and_reach_three_per_cent) {
  Corpus corpus;
  const std::string text = "fwd f16 nhwc c8 h8 w8 k8 r3 s3 n";
  for (int n = 1; n <= 5; ++n) {
    (void)corpus.add(testing::record(
        text + std::to_string(n),
        {testing::timed(n + 10, 10), testing::timed(1, 10.2F), testing::timed(2, 50)}));
  }
  (void)corpus.add(testing::record(text + "9", {testing::timed(1, 50), testing::timed(2, 10)}));
  const ClassList list = make_class_list(corpus, testing::all_of(corpus), {ClassChoice::kCover, 1});
  BOOST_REQUIRE(list.classes.size() == 2U);
  BOOST_TEST((list.classes[0].entry.config == testing::config(1)));
  BOOST_TEST((list.classes[1].entry.config == testing::config(2)));
}

BOOST_AUTO_TEST_CASE(targets_of_a_sample_are_over_its_existing_classes) {
  const Corpus corpus = testing::made_up_corpus(200);
  const std::vector<std::size_t> all = testing::all_of(corpus);
  const ClassList list = make_class_list(corpus, all, {ClassChoice::kSeen, 1});
  const Dataset data(corpus, list, fit_normaliser(corpus, all), LossOptions{});
  const auto f32 = std::ranges::count_if(corpus.problems(), [](const CorpusProblem& problem) {
    return problem.problem.x.type == core::DataType::kF32;
  });
  BOOST_TEST(f32 > 20);
  BOOST_TEST(data.samples().size() == corpus.problems().size() + static_cast<std::size_t>(f32));
  for (const Sample& sample : data.samples()) {
    const CorpusProblem& problem = corpus.problems()[sample.problem];
    const auto allowed = std::ranges::count_if(
        corpus.candidates(problem),
        [&](const CorpusCandidate& candidate) { return corpus.holds(sample.view, candidate); });
    double sum = 0;
    float least = 1;
    for (const Existing& existing : data.existing(sample)) {
      sum += existing.target;
      least = std::min(least, existing.log_slowdown);
      BOOST_REQUIRE(existing.row < list.combinations[sample.combination].classes.size());
    }
    BOOST_TEST(sample.count == static_cast<std::size_t>(allowed));
    BOOST_TEST(std::abs(sum - 1) < 1e-5);
    BOOST_TEST(std::abs(least) < 1e-6);
  }
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace reformer::model
