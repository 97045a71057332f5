#include "model/time_network.h"

#include "tests/model/sample_model.h"

#include <boost/test/unit_test.hpp>

#include <array>
#include <cmath>
#include <vector>

namespace reformer::model {
namespace {

using testing::number;

// The time depends on three inputs, the last of which is an indicator that turns the second on.
struct MadeUp {
  std::vector<std::array<float, kTimeInputs>> inputs;
  std::vector<TimeSample> samples;

  MadeUp(std::size_t count, std::uint64_t stream) : inputs(count) {
    for (std::size_t i = 0; i < count; ++i) {
      for (std::size_t j = 0; j < 3; ++j) {
        inputs[i][j] = static_cast<float>(number(stream, 3 * i + j));
      }
      const float indicator = inputs[i][2] > 0 ? 1.0F : 0.0F;
      inputs[i][2] = 0;
      inputs[i].back() = indicator;
      samples.push_back(
          {inputs[i].data(), 6 + 3 * std::abs(inputs[i][0]) + 2 * indicator * inputs[i][1]});
    }
  }
};

double mean_error(const TimeNetwork& network, const MadeUp& tested) {
  double sum = 0;
  for (std::size_t i = 0; i < tested.samples.size(); ++i) {
    sum += std::abs(expected_log2_us(network, tested.inputs[i]) - tested.samples[i].log2_best_us);
  }
  return sum / static_cast<double>(tested.samples.size());
}

}  // namespace

BOOST_AUTO_TEST_SUITE(time_network)

BOOST_AUTO_TEST_CASE(times_of_problems_that_it_has_not_seen_are_learnt) {
  const MadeUp given(4000, 1);
  const MadeUp others(500, 2);
  BOOST_TEST(mean_error(fit_times(given.samples, 1), others) < 0.1);
}

BOOST_AUTO_TEST_CASE(a_few_times_that_are_wrong_by_far_spoil_little) {
  MadeUp given(4000, 1);
  for (std::size_t i = 0; i < given.samples.size(); i += 40) {
    given.samples[i].log2_best_us += 12;
  }
  const MadeUp others(500, 2);
  BOOST_TEST(mean_error(fit_times(given.samples, 1), others) < 0.25);
}

BOOST_AUTO_TEST_CASE(the_same_seed_gives_the_same_times) {
  const MadeUp given(300, 1);
  const TimeNetwork one = fit_times(given.samples, 5);
  const TimeNetwork same = fit_times(given.samples, 5);
  BOOST_TEST((one.hidden1_weights == same.hidden1_weights));
  BOOST_TEST(one.output_bias == same.output_bias);
  BOOST_TEST((fit_times(given.samples, 6).hidden1_weights != one.hidden1_weights));
}

BOOST_AUTO_TEST_CASE(nothing_measured_says_nothing) {
  const TimeNetwork network = fit_times({}, 1);
  BOOST_TEST(network.hidden1_weights.size() == kTimeInputs * kTimeHidden[0]);
  BOOST_TEST(expected_log2_us(network, std::array<float, kTimeInputs>{}) == 0);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace reformer::model
