#include "model/statistics.h"

#include "tests/model/sample_model.h"

#include <boost/test/unit_test.hpp>

#include <cmath>
#include <limits>
#include <vector>

namespace reformer::model {
namespace {

using Runs = std::vector<std::vector<double>>;

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

std::vector<std::uint64_t> clusters(std::size_t problems, std::size_t each) {
  std::vector<std::uint64_t> result;
  for (std::size_t i = 0; i < problems; ++i) {
    result.push_back(i / each);
  }
  return result;
}

double width(const Estimate& estimate) {
  return estimate.interval.high - estimate.interval.low;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(statistics)

BOOST_AUTO_TEST_CASE(values_are_those_of_the_sample_and_lie_in_their_interval) {
  Runs runs(2);
  for (std::size_t i = 0; i < 400; ++i) {
    runs[0].push_back(1 + 0.2 * testing::number(1, i));
    runs[1].push_back(1 + 0.2 * testing::number(2, i));
  }
  const Bootstrap bootstrap(clusters(400, 1), 2, 1);
  const Estimate mean = bootstrap.mean(runs);
  BOOST_TEST(std::abs(mean.value - 1) < 0.02);
  BOOST_TEST(mean.interval.low < mean.value);
  BOOST_TEST(mean.value < mean.interval.high);
  const Estimate p90 = bootstrap.percentile(runs, 0.9);
  BOOST_TEST(std::abs(p90.value - 1.16) < 0.02);
  BOOST_TEST(p90.interval.low <= p90.value);
  BOOST_TEST(p90.value <= p90.interval.high);
  const Runs powers = {{1, 2, 4}};
  BOOST_TEST(std::abs(Bootstrap(clusters(3, 1), 1, 1).geomean(powers).value - 2) < 1e-12);
}

// Of n independent values the interval's half width is 1.96 sigma / sqrt(n).
BOOST_AUTO_TEST_CASE(the_interval_is_as_wide_as_theory_says) {
  Runs runs(1);
  for (std::size_t i = 0; i < 1000; ++i) {
    runs[0].push_back(testing::number(1, i));  // uniform in [-1, 1): sigma is 1 / sqrt(3)
  }
  const double expected = 2 * 1.96 / std::sqrt(3.0) / std::sqrt(1000.0);
  const Estimate independent = Bootstrap(clusters(1000, 1), 1, 1).mean(runs);
  BOOST_TEST(std::abs(width(independent) / expected - 1) < 0.1);
  // Ten equal values of one shape count as one.
  Runs equal(1);
  for (std::size_t i = 0; i < 1000; ++i) {
    equal[0].push_back(testing::number(1, i / 10));
  }
  const Estimate clustered = Bootstrap(clusters(1000, 10), 1, 1).mean(equal);
  BOOST_TEST(std::abs(width(clustered) / (expected * std::sqrt(10.0)) - 1) < 0.2);
}

BOOST_AUTO_TEST_CASE(what_differs_between_seeds_widens_the_interval) {
  Runs same(4);
  Runs different(4);
  for (std::size_t r = 0; r < 4; ++r) {
    for (std::size_t i = 0; i < 100; ++i) {
      same[r].push_back(testing::number(1, i));
      different[r].push_back(testing::number(1, i) + static_cast<double>(r));
    }
  }
  const Bootstrap bootstrap(clusters(100, 1), 4, 1);
  BOOST_TEST(width(bootstrap.mean(different)) > 3 * width(bootstrap.mean(same)));
  const std::vector<double> numbers = {1, 2, 3, 4};
  BOOST_TEST(bootstrap.mean_of_runs(numbers).value == 2.5);
  BOOST_TEST(width(bootstrap.mean_of_runs(numbers)) > 1);
  BOOST_TEST(width(bootstrap.mean_of_runs(std::vector<double>{7})) == 0);
}

BOOST_AUTO_TEST_CASE(what_is_not_there_is_left_out) {
  const Runs runs = {{1, kNone, 3}};
  const Bootstrap bootstrap(clusters(3, 1), 1, 1);
  BOOST_TEST(bootstrap.mean(runs).value == 2);
  BOOST_TEST(bootstrap.percentile(runs, 1).value == 3);
  const Runs nothing = {{kNone, kNone, kNone}};
  BOOST_TEST(std::isnan(bootstrap.mean(nothing).value));
  BOOST_TEST(std::isnan(bootstrap.mean(nothing).interval.low));
  BOOST_TEST(std::isnan(bootstrap.mean(Runs{}).value));
}

BOOST_AUTO_TEST_CASE(a_percentile_is_the_smallest_value_that_the_share_does_not_exceed) {
  Runs runs(1);
  for (int i = 10; i >= 1; --i) {
    runs[0].push_back(i);
  }
  const Bootstrap bootstrap(clusters(10, 1), 1, 1);
  BOOST_TEST(bootstrap.percentile(runs, 0.9).value == 9);
  BOOST_TEST(bootstrap.percentile(runs, 0.91).value == 10);
  BOOST_TEST(bootstrap.percentile(runs, 0.5).value == 5);
}

BOOST_AUTO_TEST_CASE(the_same_seed_draws_the_same) {
  const Runs runs = {{1, 5, 2, 8, 3}};
  const Estimate one = Bootstrap(clusters(5, 1), 1, 4).mean(runs);
  const Estimate same = Bootstrap(clusters(5, 1), 1, 4).mean(runs);
  BOOST_TEST(one.interval.low == same.interval.low);
  BOOST_TEST(one.interval.high == same.interval.high);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace reformer::model
