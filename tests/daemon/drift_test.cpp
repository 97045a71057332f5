#include "daemon/drift.h"

#include "interchange/measurements.h"
#include "model/random.h"
#include "tests/daemon/accuracy_rows.h"
#include "tests/daemon/running_daemon.h"

#include <boost/test/unit_test.hpp>

#include <cmath>

using namespace reformer;
using namespace reformer::testing;
using daemon::AccuracyLog;

namespace {

struct Host {
  AccuracyLog log;
  std::uint64_t problems = 0;
  model::Random random{5};
  void verify(int count, double slowdown, double abstaining) {
    for (int i = 0; i < count; ++i) {
      add(log,
          rows_of(problems++,
                  {{"champion",
                    slowdown * std::exp(0.1 * std::abs(random.normal())),
                    random.uniform() < abstaining}}));
    }
  }
  [[nodiscard]] std::string alarms() const {
    std::string kinds;
    for (const auto& alarm : daemon::drift_alarms(log, "champion", {})) {
      kinds += alarm.kind + " ";
    }
    return kinds;
  }
};

core::Record record(double best_us, std::int64_t cudnn) {
  auto made = interchange::record_from_json(sample_line(64, best_us)).value();
  made.key.context.cudnn_version = cudnn;
  return made;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(drift)

BOOST_AUTO_TEST_CASE(steady_work_raises_no_alarm) {
  Host host;
  for (int i = 0; i < 40; ++i) {
    host.verify(50, 1, 0.1);
    BOOST_TEST(host.alarms() == "");
  }
}

BOOST_AUTO_TEST_CASE(a_planted_slowdown_is_noticed_within_200_problems) {
  Host host;
  host.verify(1000, 1, 0.1);
  host.verify(100, 1.25, 0.1);
  BOOST_TEST(host.alarms() == "slowdown ");
}

BOOST_AUTO_TEST_CASE(planted_abstentions_are_noticed_within_200_problems) {
  Host host;
  host.verify(1000, 1, 0.1);
  host.verify(100, 1, 0.5);
  BOOST_TEST(host.alarms().find("abstention") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(two_windows_are_needed) {
  Host host;
  host.verify(99, 1, 0);
  host.verify(100, 2, 0);
  BOOST_TEST(host.alarms() == "");
}

BOOST_AUTO_TEST_CASE(a_winner_that_got_slower_is_remembered_until_it_is_faster_or_acknowledged) {
  daemon::SlowerWinners slower;
  BOOST_TEST(!slower.compare(record(10, 91400), record(10.5, 91900), 1.1));
  BOOST_TEST(slower.alarms().empty());
  BOOST_TEST(slower.compare(record(10, 91400), record(14, 91900), 1.1));
  BOOST_REQUIRE_EQUAL(slower.alarms().size(), 1U);
  const std::string text = slower.alarms()[0].text;
  BOOST_TEST(text.find("1.40x") != std::string::npos, text);
  BOOST_TEST(text.find("91400") != std::string::npos, text);

  daemon::SlowerWinners restarted;
  restarted.from_text(slower.to_text());
  BOOST_TEST(restarted.alarms() == slower.alarms());
  BOOST_TEST(restarted.compare(record(10, 91400), record(10, 91900), 1.1));
  BOOST_TEST(restarted.alarms().empty());
  slower.clear();
  BOOST_TEST(slower.alarms().empty());
  restarted.from_text("[[1,2],{}, \"x\"]");
  BOOST_TEST(restarted.alarms().empty());
}

BOOST_AUTO_TEST_CASE(a_hasty_time_proves_nothing) {
  daemon::SlowerWinners slower;
  auto hasty = record(20, 91900);
  for (auto& candidate : hasty.candidates) {
    candidate.timing = core::Timing::kGraphOnce;
  }
  BOOST_TEST(!slower.compare(record(10, 91400), hasty, 1.1));
}

BOOST_AUTO_TEST_SUITE_END()
