#include "cudnn/race.h"

#include "tests/cudnn/fake_launcher.h"

#include <boost/test/unit_test.hpp>

#include <cmath>
#include <utility>

using namespace reformer;
using cudnn::Entrant;
using cudnn::RaceOptions;
using cudnn::RaceOutcome;
using reformer::testing::FakeLauncher;
using Kernel = FakeLauncher::Kernel;

namespace {

std::vector<Entrant> one_engine_each(std::size_t count) {
  std::vector<Entrant> entrants(count);
  for (std::size_t i = 0; i < count; ++i) {
    entrants[i].engine = static_cast<std::int32_t>(i);
  }
  return entrants;
}

bool never() {
  return false;
}

RaceOutcome raced(FakeLauncher& launcher,
                  const std::vector<Entrant>& entrants,
                  const RaceOptions& options = {}) {
  auto outcome = cudnn::race(launcher, entrants, options, never);
  BOOST_REQUIRE(outcome);
  return std::move(*outcome);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(race)

BOOST_AUTO_TEST_CASE(the_best_gets_seven_graphs_and_the_worse_fewer) {
  FakeLauncher launcher({{.us = 100}, {.us = 103}, {.us = 110}, {.us = 125}, {.us = 900}});
  const RaceOutcome outcome = raced(launcher, one_engine_each(5));
  const auto timing = [&](std::size_t i) { return outcome.results[i].timing; };
  BOOST_TEST((timing(0) == core::Timing::kGraphMedian));
  BOOST_TEST(outcome.results[0].samples == 15);
  BOOST_TEST(outcome.results[0].time_us == 100.0f);
  BOOST_TEST(outcome.results[0].spread == 0.0f);
  BOOST_TEST(outcome.results[1].samples == 7);
  BOOST_TEST(outcome.results[2].samples == 3);
  BOOST_TEST(std::isnan(outcome.results[2].spread));
  BOOST_TEST((timing(3) == core::Timing::kGraphOnce));
  BOOST_TEST((timing(4) == core::Timing::kSingleLaunch));
  BOOST_TEST(launcher.counts(4).singles == 2);
  BOOST_TEST(launcher.counts(4).graphs == 0);
}

BOOST_AUTO_TEST_CASE(a_hopeless_candidate_is_launched_once_and_its_engine_not_again) {
  FakeLauncher launcher({{.us = 100}, {.us = 50000}, {.us = 40000}, {.us = 1500}, {.us = 90}});
  const RaceOutcome outcome =
      raced(launcher, {{.engine = 1}, {.engine = 0}, {.engine = 0}, {.engine = 2}, {.engine = 1}});
  BOOST_TEST((outcome.results[1].timing == core::Timing::kFirstLaunch));
  BOOST_TEST(outcome.results[1].time_us == 50000.0f);
  BOOST_TEST(launcher.counts(1).singles == 1);
  BOOST_TEST(launcher.counts(2).singles == 0);
  BOOST_TEST(outcome.results[2].status == cudnn::kHopelessStatus);
  BOOST_TEST(std::isnan(outcome.results[2].time_us));
  BOOST_TEST((outcome.results[3].timing == core::Timing::kFirstLaunch));
  BOOST_TEST(outcome.results[4].samples >= 7);
}

// What a choice costs is known by single launches only to the overhead of a launch, if they tell
// the truth at all.
BOOST_AUTO_TEST_CASE(what_somebody_chooses_is_sampled_however_slow_it_is) {
  FakeLauncher launcher({{.us = 5},
                         {.us = 300, .load_us = 9000},
                         {.us = 8, .single_reads = 500},
                         {.us = 90000},
                         {.us = 300}});
  const RaceOutcome outcome = raced(launcher,
                                    {{.engine = 0},
                                     {.engine = 1, .chosen = true},
                                     {.engine = 2, .chosen = true},
                                     {.engine = 3, .chosen = true},
                                     {.engine = 4}});
  for (const std::size_t i : {std::size_t{1}, std::size_t{2}}) {
    BOOST_TEST((outcome.results[i].timing == core::Timing::kGraphMedian));
    BOOST_TEST(outcome.results[i].samples >= 3);
  }
  BOOST_TEST(outcome.results[1].time_us == 300.0f);
  BOOST_TEST(outcome.results[2].time_us == 8.0f);
  BOOST_TEST(launcher.counts(3).graphs == 0);  // long enough for a single launch to tell
  BOOST_TEST(launcher.counts(3).singles == 1);
  BOOST_TEST(launcher.counts(4).graphs == 0);
}

// It could take all the time that the problem has.
BOOST_AUTO_TEST_CASE(what_is_chosen_but_known_to_take_long_is_not_launched) {
  FakeLauncher launcher({{.us = 5}, {.us = 900000}, {.us = 900000}, {.us = 900000}, {.us = 300}});
  const RaceOutcome outcome = raced(launcher,
                                    {{.engine = 0},
                                     {.engine = 1, .least_us = 30000, .chosen = true},
                                     {.engine = 2},
                                     {.engine = 2, .chosen = true},
                                     {.engine = 3, .least_us = 200, .chosen = true}});
  BOOST_TEST(outcome.results[1].status == cudnn::kHopelessStatus);
  BOOST_TEST(outcome.results[3].status == cudnn::kHopelessStatus);
  BOOST_TEST((outcome.results[4].timing == core::Timing::kGraphMedian));
}

BOOST_AUTO_TEST_CASE(an_engine_with_one_good_configuration_is_tried_to_the_end) {
  FakeLauncher launcher({{.us = 100}, {.us = 50000}, {.us = 95}});
  const RaceOutcome outcome = raced(launcher, {{.engine = 1}, {.engine = 1}, {.engine = 1}});
  BOOST_TEST(outcome.results[2].samples >= 7);
}

// Tensor cores, and ten times slower without: who refuses them gets the best of the others.
BOOST_AUTO_TEST_CASE(every_demand_has_its_race) {
  const std::vector<Kernel> kernels = {
      {.us = 100}, {.us = 1300}, {.us = 1000}, {.us = 990}, {.us = 15000}, {.us = 104}};
  std::vector<Entrant> entrants = {
      {.engine = 1}, {.engine = 2}, {.engine = 2}, {.engine = 2}, {.engine = 3}, {.engine = 1}};
  FakeLauncher plain(kernels);
  const RaceOutcome without = raced(plain, entrants);
  BOOST_TEST(without.results[2].status == cudnn::kHopelessStatus);
  BOOST_TEST(without.results[3].status == cudnn::kHopelessStatus);

  for (const std::size_t i : {1U, 2U, 3U, 4U}) {
    entrants[i].demands = 3;
  }
  FakeLauncher launcher(kernels);
  const RaceOutcome outcome = raced(launcher, entrants);
  BOOST_TEST(outcome.results[0].samples == 15);
  BOOST_TEST(outcome.results[5].samples >= 3);
  BOOST_TEST((outcome.results[1].timing == core::Timing::kSingleLaunch));
  BOOST_TEST(outcome.results[2].samples == 15);
  BOOST_TEST(outcome.results[3].samples == 15);
  BOOST_TEST(launcher.counts(4).singles == 1);  // hopeless for them too
}

BOOST_AUTO_TEST_CASE(what_cannot_be_fast_enough_is_not_launched) {
  FakeLauncher launcher({{.us = 100}, {.us = 100}, {.us = 100}});
  const RaceOutcome outcome = raced(
      launcher, {{.engine = 1}, {.engine = 2, .least_us = 450}, {.engine = 3, .least_us = 350}});
  BOOST_TEST(outcome.results[1].status == cudnn::kHopelessStatus);
  BOOST_TEST(outcome.results[2].samples >= 7);
}

BOOST_AUTO_TEST_CASE(a_kernel_that_was_slow_to_load_gets_a_second_look) {
  FakeLauncher launcher({{.us = 100}, {.us = 90, .load_us = 5000}});
  const RaceOutcome outcome = raced(launcher, one_engine_each(2));
  BOOST_TEST(launcher.counts(1).singles == 2);
  BOOST_TEST(outcome.results[1].time_us == 90.0f);
  BOOST_TEST(outcome.results[1].samples >= 7);
}

BOOST_AUTO_TEST_CASE(so_does_one_that_kept_the_gpu_waiting_while_it_was_loaded) {
  FakeLauncher launcher({{.us = 20}, {.us = 10, .load_us = 2000, .upload_us = 900}});
  const RaceOutcome outcome = raced(launcher, one_engine_each(2));
  BOOST_TEST(outcome.results[1].time_us == 10.0f);
  BOOST_TEST(outcome.results[1].samples >= 7);
}

// As another process does that has the GPU for a moment: the host sees nothing of it.
BOOST_AUTO_TEST_CASE(so_does_one_that_waited_for_the_gpu) {
  FakeLauncher launcher({{.us = 20}, {.us = 10, .upload_us = 2500}, {.us = 15}});
  const RaceOutcome outcome = raced(launcher, {{.engine = 1}, {.engine = 2}, {.engine = 2}});
  BOOST_TEST(outcome.results[1].time_us == 10.0f);
  BOOST_TEST(outcome.results[1].samples >= 7);
  BOOST_TEST(std::isfinite(outcome.results[2].time_us));
}

BOOST_AUTO_TEST_CASE(calls_that_were_held_up_do_not_put_a_kernel_out_of_sight) {
  // Other threads load kernels: every launch call takes its time.
  FakeLauncher launcher({{.us = 8}, {.us = 3, .stuck_us = 200}, {.us = 9}});
  const RaceOutcome outcome = raced(launcher, one_engine_each(3));
  BOOST_TEST(outcome.results[1].samples == 15);
  BOOST_TEST(outcome.results[1].time_us == 3.0f);
}

BOOST_AUTO_TEST_CASE(small_kernels_get_graphs_of_many_repeats) {
  FakeLauncher launcher({{.us = 4}, {.us = 9}, {.us = 60}}, {.overhead_us = 6}, 1);
  const RaceOutcome outcome = raced(launcher, one_engine_each(3));
  BOOST_TEST(launcher.counts(0).repeats == 38);
  BOOST_TEST((outcome.results[1].timing == core::Timing::kGraphOnce));
  BOOST_TEST((outcome.results[2].timing == core::Timing::kSingleLaunch));
}

BOOST_AUTO_TEST_CASE(impossible_times_are_failures) {
  FakeLauncher launcher({{.us = 100},
                         {.us = 1, .single_reads = -3},
                         {.us = 1, .single_reads = HUGE_VALF},
                         {.us = 1, .single_reads = NAN},
                         {.us = -5, .single_reads = 90}});
  const RaceOutcome outcome = raced(launcher, one_engine_each(5));
  for (std::size_t i = 1; i < 5; ++i) {
    BOOST_TEST_CONTEXT(i) {
      BOOST_TEST(outcome.results[i].status == "impossible time");
      BOOST_TEST((outcome.results[i].timing == core::Timing::kNone));
      BOOST_TEST(std::isnan(outcome.results[i].time_us));
    }
  }
  BOOST_TEST(outcome.results[0].samples >= 7);
}

BOOST_AUTO_TEST_CASE(a_candidate_that_fails_gets_a_status_and_the_others_a_time) {
  FakeLauncher launcher({{.us = 100}, {.fails = "NOT_SUPPORTED"}, {.us = 98}});
  const RaceOutcome outcome = raced(launcher, one_engine_each(3));
  BOOST_TEST(outcome.results[1].status == "NOT_SUPPORTED");
  BOOST_TEST(outcome.results[0].samples >= 7);
  BOOST_TEST(outcome.results[2].samples >= 7);
}

BOOST_AUTO_TEST_CASE(a_candidate_that_fails_among_others_in_a_batch_is_found_out) {
  FakeLauncher launcher({{.us = 100}, {.us = 80, .fails_in_graphs = true}, {.us = 98}});
  const RaceOutcome outcome = raced(launcher, one_engine_each(3));
  BOOST_TEST(outcome.results[1].status == "it fails");
  BOOST_TEST(std::isnan(outcome.results[1].time_us));
  BOOST_TEST(outcome.results[0].samples >= 7);
  BOOST_TEST(outcome.results[2].samples >= 7);
}

BOOST_AUTO_TEST_CASE(a_fault_ends_the_race) {
  FakeLauncher launcher({{.us = 100}, {.faults = true}, {.us = 95}});
  const auto outcome = cudnn::race(launcher, one_engine_each(3), {}, never);
  BOOST_REQUIRE(!outcome);
  BOOST_TEST((outcome.error().code == core::ErrorCode::kInternal));
  BOOST_TEST(launcher.counts(2).singles == 0);
}

BOOST_AUTO_TEST_CASE(it_stops_between_two_launches) {
  FakeLauncher launcher(std::vector<Kernel>(20, Kernel{.us = 100}));
  int asked = 0;
  const auto outcome =
      cudnn::race(launcher, one_engine_each(20), {}, [&asked] { return ++asked > 5; });
  BOOST_REQUIRE(outcome);
  BOOST_TEST(outcome->stopped);
  BOOST_TEST(launcher.counts(4).singles == 2);
  BOOST_TEST(launcher.counts(5).singles == 0);
  BOOST_TEST(launcher.counts(0).graphs == 0);
}

BOOST_AUTO_TEST_CASE(what_is_queued_together_is_short_enough_to_give_way_in_time) {
  FakeLauncher launcher(std::vector<Kernel>(60, Kernel{.us = 3000}));
  (void)raced(launcher, one_engine_each(60));
  BOOST_TEST(launcher.longest_batch_us() > 3000);
  BOOST_TEST(launcher.longest_batch_us() < 20000);
}

BOOST_AUTO_TEST_CASE(first_launches_end_when_their_time_is_used_up_and_the_rest_is_raced) {
  FakeLauncher launcher(std::vector<Kernel>(10, Kernel{.us = 1000}));
  const RaceOutcome outcome = raced(launcher, one_engine_each(10), {.first_look_us = 5000});
  BOOST_TEST(outcome.results[0].samples >= 7);
  BOOST_TEST(outcome.results[9].status == cudnn::kNoTimeStatus);
}

BOOST_AUTO_TEST_CASE(an_exhaustive_race_times_all_with_equal_care) {
  FakeLauncher launcher({{.us = 100}, {.us = 50000}, {.us = 60000}});
  const RaceOutcome outcome = raced(launcher,
                                    {{.engine = 1}, {.engine = 0}, {.engine = 0, .least_us = 1e6}},
                                    {.exhaustive = true});
  for (const cudnn::RaceResult& result : outcome.results) {
    BOOST_TEST(result.samples == 7);
  }
}

BOOST_AUTO_TEST_SUITE_END()
