#include "cudnn/pace.h"

#include <boost/test/unit_test.hpp>

#include <cstring>
#include <string>
#include <type_traits>

using namespace reformer;

namespace {

core::Problem problem(int channels, const std::string& operation, int groups = 1) {
  core::Problem made;
  made.operation = operation == "fwd" ? core::Operation::kForward : core::Operation::kDataGradient;
  made.x.dims = {8, channels, 1, 32, 32};
  made.w.dims = {64, channels / groups, 1, 3, 3};
  made.y.dims = {8, 64, 1, 32, 32};
  return made;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(pace)

BOOST_AUTO_TEST_CASE(an_engine_that_was_seen_often_enough_has_a_least_time) {
  cudnn::Pace pace;
  const core::Problem small = problem(16, "fwd");
  for (int i = 0; i < 3; ++i) {
    pace.note(small, 5, 3000);
  }
  BOOST_TEST(pace.least_us(small, 5) == 0.0f);
  pace.note(small, 5, 1500);
  BOOST_TEST(pace.least_us(small, 5) == 1000.0f, boost::test_tools::tolerance(1e-4f));
  BOOST_TEST(pace.least_us(problem(160, "fwd"), 5) == 10000.0f,
             boost::test_tools::tolerance(1e-4f));
}

BOOST_AUTO_TEST_CASE(launches_that_are_short_whatever_they_do_show_no_pace) {
  cudnn::Pace pace;
  for (int i = 0; i < 20; ++i) {
    pace.note(problem(16, "fwd"), 5, 4);
  }
  BOOST_TEST(pace.least_us(problem(16000, "fwd"), 5) == 0.0f);
}

BOOST_AUTO_TEST_CASE(an_engine_that_takes_the_groups_one_by_one_needs_so_long_for_each) {
  cudnn::Pace pace;
  for (int i = 0; i < 4; ++i) {
    pace.note(problem(16, "fwd"), 5, 400);
    pace.note(problem(64, "fwd", 64), 5, 960);  // 15 each, with less to compute in all
  }
  BOOST_TEST(pace.least_us(problem(640, "fwd", 640), 5) == 6400.0f,
             boost::test_tools::tolerance(1e-4f));
  BOOST_TEST(pace.least_us(problem(16, "fwd", 2), 5) < 400.0f);
}

BOOST_AUTO_TEST_CASE(nothing_is_known_of_other_engines_and_operations) {
  cudnn::Pace pace;
  for (int i = 0; i < 20; ++i) {
    pace.note(problem(16, "fwd"), 5, 3000);
  }
  BOOST_TEST(pace.least_us(problem(16, "fwd"), 6) == 0.0f);
  BOOST_TEST(pace.least_us(problem(16, "dgrad"), 5) == 0.0f);
}

// As the processes of a sweep do; and what does not fit is not known, which costs a launch.
BOOST_AUTO_TEST_CASE(a_copy_of_its_bytes_knows_the_same_and_its_room_ends) {
  static_assert(std::is_trivially_copyable_v<cudnn::Pace>);
  cudnn::Pace pace;
  const core::Problem one = problem(16, "fwd");
  for (int engine = 0; engine < 2000; ++engine) {
    for (int i = 0; i < 4; ++i) {
      pace.note(one, engine, 3000);
    }
  }
  cudnn::Pace copy;
  std::memcpy(static_cast<void*>(&copy), &pace, sizeof(pace));
  BOOST_TEST(copy.least_us(one, 0) == 2000.0f, boost::test_tools::tolerance(1e-4f));
  BOOST_TEST(copy.least_us(one, 511) == 2000.0f, boost::test_tools::tolerance(1e-4f));
  BOOST_TEST(copy.least_us(one, 512) == 0.0f);
}

BOOST_AUTO_TEST_SUITE_END()
