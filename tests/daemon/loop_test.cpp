#include "daemon/loop.h"

#include <boost/test/unit_test.hpp>

#include <chrono>

namespace reformer::daemon {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

BOOST_AUTO_TEST_SUITE(loop)

BOOST_AUTO_TEST_CASE(it_stays_awake_for_as_long_as_it_was_told_and_not_longer) {
  Loop loop;
  BOOST_TEST(!loop.awake());
  const auto start = Clock::now();
  Clock::duration slept{};
  loop.post([&loop] { loop.stay_awake(30ms); });
  bool was_awake = false;
  loop.every(1, [&] {
    was_awake = was_awake || loop.awake();
    if (was_awake && !loop.awake()) {
      slept = Clock::now() - start;
      loop.stop();
    }
  });
  loop.run();
  BOOST_TEST(was_awake);
  BOOST_TEST((slept >= 30ms));
}

BOOST_AUTO_TEST_CASE(being_told_again_prolongs_it) {
  Loop loop;
  const auto start = Clock::now();
  int told = 0;
  loop.every(5, [&] {
    if (told < 4) {
      ++told;
      loop.stay_awake(20ms);
    } else if (!loop.awake()) {
      loop.stop();
    }
  });
  loop.run();
  BOOST_TEST((Clock::now() - start >= 35ms));
}

BOOST_AUTO_TEST_CASE(an_awake_loop_stops_and_runs_what_is_posted) {
  Loop loop;
  bool ran = false;
  loop.post([&loop] { loop.stay_awake(1h); });
  loop.every(5, [&] {
    loop.post([&] {
      ran = true;
      loop.stop();
    });
  });
  loop.run();
  BOOST_TEST(ran);
  BOOST_TEST(loop.awake());
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace
}  // namespace reformer::daemon
