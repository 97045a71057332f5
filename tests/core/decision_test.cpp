#include "core/decision.h"

#include "core/problem_text.h"

#include <boost/test/unit_test.hpp>

namespace {

using namespace reformer::core;

Candidate timed(std::int32_t engine,
                float time_us,
                std::uint32_t notes = 0,
                std::int64_t workspace = 0,
                float build_us = 10) {
  Candidate candidate;
  candidate.config = EngineConfig(engine);
  candidate.time_us = time_us;
  candidate.timing = Timing::kGraphMedian;
  candidate.numerical_notes = notes;
  candidate.workspace_bytes = workspace;
  candidate.build_us = build_us;
  return candidate;
}

Record record_of(std::vector<Candidate> candidates) {
  Record record;
  record.key.context = Context{{"NVIDIA H200", 90, 132}, 91900};
  record.key.problem = *parse_problem("fwd f16 nhwc n2 c8 h9 w9 k8 r3 s3");
  record.candidates = std::move(candidates);
  return record;
}

std::vector<std::int32_t> engines(const Decision& decision) {
  std::vector<std::int32_t> result;
  for (const DecisionEntry& entry : decision.entries) {
    result.push_back(entry.config.engine());
  }
  return result;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(decision)

BOOST_AUTO_TEST_CASE(the_fastest_allowed_candidate_comes_first) {
  const Record record =
      record_of({timed(1, 30), timed(2, 10, numerical_note::kNondeterministic), timed(3, 20)});
  BOOST_TEST(engines(decide_measured(record, {}, {}, 8)).front() == 2);
  const Constraints deterministic{.forbidden_numerical_notes = numerical_note::kNondeterministic};
  const Decision decision = decide_measured(record, deterministic, {}, 8);
  BOOST_TEST(engines(decision) == (std::vector<std::int32_t>{3, 1}),
             boost::test_tools::per_element());
  BOOST_TEST((decision.source == Source::kMeasured));
}

BOOST_AUTO_TEST_CASE(untrustworthy_times_are_never_chosen) {
  Candidate zero = timed(1, 0);
  Candidate negative = timed(2, -5);
  Candidate infinite = timed(3, std::numeric_limits<float>::infinity());
  Candidate untimed = timed(4, 1);
  untimed.timing = Timing::kNone;
  const Record record = record_of({zero, negative, infinite, untimed, timed(5, 50)});
  BOOST_TEST(engines(decide_measured(record, {}, {}, 8)) == (std::vector<std::int32_t>{5}),
             boost::test_tools::per_element());
  BOOST_TEST(fastest(record)->config.engine() == 5);
}

BOOST_AUTO_TEST_CASE(a_record_with_nothing_allowed_abstains) {
  const Record record = record_of({timed(1, 10, 0, 1000)});
  const Decision decision = decide_measured(record, {.max_workspace_bytes = 999}, {}, 8);
  BOOST_TEST((decision.source == Source::kAbstain));
  BOOST_TEST(decision.entries.empty());
}

BOOST_AUTO_TEST_CASE(the_cover_keeps_a_configuration_for_each_filter) {
  std::vector<Candidate> candidates;
  for (std::int32_t i = 0; i < 20; ++i) {  // fast, and none of them deterministic
    candidates.push_back(
        timed(i, 10.0f + static_cast<float>(i), numerical_note::kNondeterministic));
  }
  candidates.push_back(timed(30, 100));
  const Decision decision = decide_measured(record_of(candidates), {}, {}, 8);
  BOOST_TEST(decision.entries.size() == 8u);
  BOOST_TEST(decision.entries.front().config.engine() == 0);
  BOOST_TEST(decision.entries.back().config.engine() == 30);
}

BOOST_AUTO_TEST_CASE(what_is_far_behind_is_left_out_unless_somebody_needs_it) {
  const std::uint32_t nondeterministic = numerical_note::kNondeterministic;
  std::vector<Candidate> candidates{timed(0, 10, nondeterministic),
                                    timed(1, 11, nondeterministic),
                                    timed(2, 19, nondeterministic),
                                    timed(3, 21, nondeterministic),  // over twice the first's
                                    timed(4, 30, nondeterministic),
                                    timed(5, 40),  // the first that is deterministic
                                    timed(6, 79),
                                    timed(7, 81)};
  const auto chosen = [&] { return engines(decide_measured(record_of(candidates), {}, {}, 16)); };
  BOOST_TEST(chosen() == (std::vector<std::int32_t>{0, 1, 2, 5, 6}),
             boost::test_tools::per_element());
  candidates[7].rank_a = 0;  // heuristic A's first choice stays
  BOOST_TEST(chosen() == (std::vector<std::int32_t>{0, 1, 2, 5, 6, 7}),
             boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(an_answer_has_four_entries_where_there_are_four) {
  const std::vector<Candidate> candidates{
      timed(0, 10), timed(1, 30, 0, 0, 900000), timed(2, 90), timed(3, 95), timed(4, 99)};
  // The one that is compiled at length is no spare while there are others.
  BOOST_TEST(engines(decide_measured(record_of(candidates), {}, {}, 16)) ==
                 (std::vector<std::int32_t>{0, 2, 3, 4}),
             boost::test_tools::per_element());
  const std::vector<Candidate> few{timed(0, 10), timed(1, 30, 0, 0, 900000)};
  BOOST_TEST(engines(decide_measured(record_of(few), {}, {}, 16)).size() == 2U);
}

BOOST_AUTO_TEST_CASE(what_is_hopeless_is_there_for_frameworks_alone) {
  const std::uint32_t tensor_core = numerical_note::kTensorCore;
  const auto chosen = [](std::uint32_t first_notes, float other_us) {
    Record record = record_of({timed(0, 10, first_notes), timed(1, other_us)});
    return engines(decide_measured(record, {}, {}, 16));
  };
  using Engines = std::vector<std::int32_t>;
  BOOST_TEST((chosen(tensor_core, 99) == Engines{0, 1}));
  BOOST_TEST((chosen(tensor_core, 101) == Engines{0}));  // nobody refuses tensor cores in f16
  BOOST_TEST((chosen(numerical_note::kNondeterministic, 101) == Engines{0, 1}));
  Record f32 = record_of({timed(0, 10, tensor_core), timed(1, 101)});
  f32.key.problem = *parse_problem("fwd f32 nhwc n2 c8 h9 w9 k8 r3 s3");
  BOOST_TEST((engines(decide_measured(f32, {}, {}, 16)) == Engines{0, 1}));
}

BOOST_AUTO_TEST_CASE(who_searches_does_not_compile_what_is_not_worth_compiling) {
  // 10 us and 45 of building; what costs less needs none.
  const auto chosen = [](float cheap_us) {
    return engines(decide_measured(record_of({timed(1, 10, 0, 0, 900000),
                                              timed(2, cheap_us),
                                              timed(3, 56),
                                              timed(4, 57),
                                              timed(5, 58)}),
                                   {},
                                   {},
                                   16));
  };
  BOOST_TEST(chosen(54) == (std::vector<std::int32_t>{2, 3, 4, 5}),
             boost::test_tools::per_element());
  BOOST_TEST(chosen(55.5F) == (std::vector<std::int32_t>{1, 2, 3, 4, 5}),
             boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(something_that_needs_no_compiler_is_always_there) {
  std::vector<Candidate> candidates;
  for (std::int32_t i = 0; i < 6; ++i) {
    candidates.push_back(timed(i, 10));
    candidates.back().behavior_notes = behavior_note::kRuntimeCompilation;
  }
  candidates.push_back(timed(6, 1000));
  BOOST_TEST(engines(decide_measured(record_of(candidates), {}, {}, 16)).back() == 6);
}

BOOST_AUTO_TEST_CASE(few_engines_are_respected) {
  std::vector<Candidate> candidates;
  for (std::int32_t i = 0; i < 12; ++i) {
    candidates.push_back(timed(i, 10.0f + static_cast<float>(i)));
  }
  BOOST_TEST(decide_measured(record_of(candidates), {}, {}, 8, 3).entries.size() == 3u);
}

BOOST_AUTO_TEST_CASE(a_plan_that_does_not_earn_its_building_time_is_passed_over) {
  const Record record = record_of({timed(1, 10, 0, 0, 500000), timed(2, 20)});
  const BuildPolicy many{.expected_uses = 100000, .cheap_build_us = 20000};
  const BuildPolicy few{.expected_uses = 1000, .cheap_build_us = 20000};
  BOOST_TEST(engines(decide_measured(record, {}, many, 8)).front() == 1);
  BOOST_TEST(engines(decide_measured(record, {}, few, 8)).front() == 2);
  // Nobody is to compile it on trial.
  BOOST_TEST(engines(decide_measured(record, {}, few, 8)).size() == 1U);
}

BOOST_AUTO_TEST_CASE(of_plans_that_are_compiled_the_one_that_costs_less_in_all_is_taken) {
  // 10.0 and 25 us of building, 10.5 and 5 us, 40 and none an execution.
  const Record record =
      record_of({timed(1, 10, 0, 0, 500000), timed(2, 10.5F, 0, 0, 100000), timed(3, 40)});
  const BuildPolicy policy{.expected_uses = 20000, .cheap_build_us = 20000};
  BOOST_TEST(engines(decide_measured(record, {}, policy, 8)) == (std::vector{2, 1, 3}),
             boost::test_tools::per_element());
  const BuildPolicy never{.expected_uses = 0, .cheap_build_us = 20000};
  BOOST_TEST(engines(decide_measured(record, {}, never, 8)).front() == 3);
}

BOOST_AUTO_TEST_CASE(the_better_founded_record_is_kept) {
  Record once = record_of({timed(1, 10)});
  once.candidates[0].timing = Timing::kGraphOnce;
  const Record often = record_of({timed(1, 11)});
  BOOST_TEST(better_founded(often, once));
  BOOST_TEST(!better_founded(once, often));
  Record disturbed = often;
  disturbed.provenance.disturbed = true;
  BOOST_TEST(better_founded(once, disturbed));
  BOOST_TEST(!better_founded(record_of({}), once));
  Record later = often;
  later.provenance.measured_at_s = 5;
  BOOST_TEST(better_founded(later, often));
  BOOST_TEST(!better_founded(often, often));
}

BOOST_AUTO_TEST_CASE(baselines_take_the_first_timed_candidate_of_their_list) {
  Record record = record_of({timed(1, 30), timed(2, 10), timed(3, 20)});
  record.candidates[0].rank_a = 1;
  record.candidates[1].rank_a = 12;
  record.candidates[2].rank_b = 0;
  BOOST_TEST(first_of_heuristic_a(record)->config.engine() == 1);
  BOOST_TEST(first_of_heuristic_b(record)->config.engine() == 3);
  BOOST_TEST(fastest_of_first_a(record, 10)->config.engine() == 1);
  record.candidates[2].timing = Timing::kNone;
  BOOST_TEST(first_of_heuristic_b(record) == nullptr);
}

BOOST_AUTO_TEST_CASE(without_what_is_refused_the_others_move_up) {
  Record record = record_of({timed(1, 30), timed(2, 10), timed(3, 20), timed(4, 5)});
  record.candidates[0].rank_a = 2;
  record.candidates[1].rank_a = 0;
  record.candidates[2].rank_a = 1;
  record.candidates[2].rank_b = 7;
  record.candidates[1].numerical_notes =
      numerical_note::kTensorCore | numerical_note::kNondeterministic;
  record.candidates[2].numerical_notes = numerical_note::kNondeterministic;
  const Record left = without_notes(record, numerical_note::kTensorCore);
  BOOST_REQUIRE(left.candidates.size() == 3U);
  BOOST_TEST((left.key.problem == record.key.problem));
  BOOST_TEST(left.candidates[0].rank_a == 1);
  BOOST_TEST(left.candidates[1].rank_a == 0);
  BOOST_TEST(left.candidates[1].rank_b == 0);
  BOOST_TEST(left.candidates[2].rank_a == kNoRank);
  BOOST_TEST(first_of_heuristic_a(left)->config.engine() == 3);
  const auto both = numerical_note::kTensorCore | numerical_note::kNondeterministic;
  BOOST_TEST(without_notes(record, both).candidates.size() == 2U);
}

BOOST_AUTO_TEST_SUITE_END()
