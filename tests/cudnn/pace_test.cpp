#include "cudnn/pace.h"

#include <boost/test/unit_test.hpp>

#include <string>

using namespace reformer;

namespace {

core::Problem problem(int channels, const std::string& operation) {
  core::Problem made;
  made.operation = operation == "fwd" ? core::Operation::kForward : core::Operation::kDataGradient;
  made.x.dims = {8, channels, 1, 32, 32};
  made.w.dims = {64, channels, 1, 3, 3};
  made.y.dims = {8, 64, 1, 32, 32};
  return made;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(pace)

BOOST_AUTO_TEST_CASE(an_engine_that_was_seen_often_enough_has_a_least_time) {
  cudnn::Pace pace;
  const core::Problem small = problem(16, "fwd");
  for (int i = 0; i < 3; ++i) {
    pace.note(small, 5, 300);
  }
  BOOST_TEST(pace.least_us(small, 5) == 0.0f);
  pace.note(small, 5, 150);
  BOOST_TEST(pace.least_us(small, 5) == 100.0f, boost::test_tools::tolerance(1e-4f));
  BOOST_TEST(pace.least_us(problem(160, "fwd"), 5) == 1000.0f, boost::test_tools::tolerance(1e-4f));
}

BOOST_AUTO_TEST_CASE(nothing_is_known_of_other_engines_and_operations) {
  cudnn::Pace pace;
  for (int i = 0; i < 20; ++i) {
    pace.note(problem(16, "fwd"), 5, 300);
  }
  BOOST_TEST(pace.least_us(problem(16, "fwd"), 6) == 0.0f);
  BOOST_TEST(pace.least_us(problem(16, "dgrad"), 5) == 0.0f);
}

BOOST_AUTO_TEST_SUITE_END()
