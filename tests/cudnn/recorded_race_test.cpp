// The race over recorded times with the noise of a GPU: what its choices are worth, what it costs,
// and whether it makes the same ones again.
#include "cudnn/pace.h"
#include "interchange/measurements.h"
#include "tests/cudnn/fake_launcher.h"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <cmath>

using namespace reformer;
using reformer::testing::FakeLauncher;

namespace {

constexpr std::size_t kProblems = 200;

std::vector<core::Record> recorded() {
  const std::string file = REFORMER_SOURCE_DIR "/data/h200-networks.jsonl.zst";
  auto reader = interchange::MeasurementReader::open(file);
  BOOST_REQUIRE(reader);
  std::vector<core::Record> records;
  while (records.size() < kProblems) {
    auto record = reader.value()->next();
    BOOST_REQUIRE(record);
    BOOST_REQUIRE(record->has_value());
    std::erase_if((*record)->candidates, [](const auto& candidate) { return !candidate.timed(); });
    if (!(*record)->candidates.empty()) {
      records.push_back(std::move(**record));
    }
  }
  return records;
}

struct Run {
  double gpu_us = 0;
  double chosen_us = 0;  // the true time of its choice
};

bool needs_tensor_cores(const core::Candidate& candidate) {
  return (candidate.numerical_notes & core::numerical_note::kTensorCore) != 0;
}

// The best for those who refuse tensor cores, by the times of a race in which they have a demand of
// their own or not; its true time.
double chosen_without_tensor_cores(const core::Record& record, bool demanded, unsigned seed) {
  std::vector<FakeLauncher::Kernel> kernels;
  std::vector<cudnn::Entrant> entrants;
  for (const core::Candidate& candidate : record.candidates) {
    kernels.push_back({.us = candidate.time_us});
    entrants.push_back({.engine = candidate.config.engine(),
                        .demands = demanded && !needs_tensor_cores(candidate) ? 3U : 1U});
  }
  FakeLauncher launcher(
      std::move(kernels), {.overhead_us = 4, .gap_us = 1.5, .relative = 0.005f}, seed);
  const auto outcome = cudnn::race(launcher, entrants, {}, [] { return false; });
  BOOST_REQUIRE(outcome);
  const core::Candidate* best = nullptr;
  float best_us = 0;
  for (std::size_t i = 0; i < entrants.size(); ++i) {
    const float us = outcome->results[i].time_us;
    if (!needs_tensor_cores(record.candidates[i]) && std::isfinite(us) &&
        (best == nullptr || us < best_us)) {
      best = &record.candidates[i];
      best_us = us;
    }
  }
  return best == nullptr ? 1e9 : static_cast<double>(best->time_us);
}

Run run(const core::Record& record,
        cudnn::Pace& pace,
        bool exhaustive,
        FakeLauncher::Noise noise,
        unsigned seed) {
  std::vector<FakeLauncher::Kernel> kernels;
  std::vector<cudnn::Entrant> entrants;
  for (const core::Candidate& candidate : record.candidates) {
    const std::int32_t engine = candidate.config.engine();
    kernels.push_back({.us = candidate.time_us});
    entrants.push_back({engine, pace.least_us(record.key.problem, engine)});
  }
  FakeLauncher launcher(std::move(kernels), noise, seed);
  cudnn::RaceOptions options;
  options.exhaustive = exhaustive;
  const auto outcome = cudnn::race(launcher, entrants, options, [] { return false; });
  BOOST_REQUIRE(outcome);
  std::size_t best = 0;
  for (std::size_t i = 0; i < entrants.size(); ++i) {
    const cudnn::RaceResult& result = outcome->results[i];
    if (std::isfinite(result.time_us)) {
      pace.note(record.key.problem, entrants[i].engine, result.time_us);
      if (!std::isfinite(outcome->results[best].time_us) ||
          result.time_us < outcome->results[best].time_us) {
        best = i;
      }
    }
  }
  return {outcome->gpu_us, static_cast<double>(record.candidates[best].time_us)};
}

void check_goals(FakeLauncher::Noise noise) {
  const std::vector<core::Record> records = recorded();
  cudnn::Pace pace;
  double log_ratio = 0;
  double race_us = 0;
  double exhaustive_us = 0;
  std::size_t same = 0;
  unsigned seed = 1;
  for (const core::Record& record : records) {
    const Run first = run(record, pace, false, noise, seed++);
    const Run all = run(record, pace, true, noise, seed++);
    const Run second = run(record, pace, false, noise, seed++);
    const double best = static_cast<double>(core::fastest(record)->time_us);
    log_ratio += std::log(first.chosen_us / best);
    race_us += first.gpu_us;
    exhaustive_us += all.gpu_us;
    same += std::abs(first.chosen_us - second.chosen_us) <=
                    0.01 * std::min(first.chosen_us, second.chosen_us)
                ? 1
                : 0;
  }
  const auto count = static_cast<double>(records.size());
  const double ratio = std::exp(log_ratio / count);
  const double share = race_us / exhaustive_us;
  const double again = static_cast<double>(same) / count;
  BOOST_TEST_MESSAGE("ratio " << ratio << ", share of GPU time " << share << ", same " << again);
  BOOST_TEST(ratio < 1.005);
  BOOST_TEST(share < 0.2);
  BOOST_TEST(again >= 0.97);
}

constexpr FakeLauncher::Noise kQuietHost{.overhead_us = 4, .gap_us = 1.5, .relative = 0.005f};

}  // namespace

BOOST_AUTO_TEST_SUITE(recorded_race)

BOOST_AUTO_TEST_CASE(it_finds_the_best_of_recorded_problems_in_a_fifth_of_the_time) {
  check_goals(kQuietHost);
}

BOOST_AUTO_TEST_CASE(it_finds_the_best_without_tensor_cores_where_that_is_demanded) {
  double log_demanded = 0;
  double log_plain = 0;
  int problems = 0;
  unsigned seed = 1;
  for (const core::Record& record : recorded()) {
    double best = HUGE_VAL;
    for (const core::Candidate& candidate : record.candidates) {
      if (!needs_tensor_cores(candidate)) {
        best = std::min(best, static_cast<double>(candidate.time_us));
      }
    }
    if (record.key.problem.x.type != core::DataType::kF32 || !std::isfinite(best)) {
      continue;
    }
    ++problems;
    log_demanded += std::log(chosen_without_tensor_cores(record, true, seed++) / best);
    log_plain += std::log(chosen_without_tensor_cores(record, false, seed++) / best);
  }
  BOOST_REQUIRE(problems > 20);
  const double demanded = std::exp(log_demanded / problems);
  const double plain = std::exp(log_plain / problems);
  BOOST_TEST_MESSAGE("demanded " << demanded << ", not " << plain << ", of " << problems);
  BOOST_TEST(demanded < 1.005);
  BOOST_TEST(plain > demanded);
}

BOOST_AUTO_TEST_CASE(so_it_does_on_a_host_whose_processors_are_busy) {
  FakeLauncher::Noise noise = kQuietHost;
  noise.held_up = 0.03f;
  check_goals(noise);
}

BOOST_AUTO_TEST_CASE(so_it_does_where_other_processes_interrupt_the_gpu) {
  FakeLauncher::Noise noise = kQuietHost;
  noise.interrupted = 0.03f;
  check_goals(noise);
}

BOOST_AUTO_TEST_SUITE_END()
