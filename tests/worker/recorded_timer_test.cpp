#include "daemon/worker/recorded_timer.h"

#include "core/problem_text.h"
#include "tests/worker/sample.h"

#include <boost/test/unit_test.hpp>

using namespace reformer;
using namespace reformer::testing;

namespace {

worker::Job job(int channels, std::int64_t cudnn = 0) {
  worker::Job made;
  made.id = 1;
  made.problem = core::parse_problem(problem_text(channels)).value();
  if (cudnn != 0) {
    made.context = core::Context{{"NVIDIA H200", 90, 132}, cudnn};
  }
  return made;
}

const std::atomic<bool> kGoOn = false;

}  // namespace

BOOST_AUTO_TEST_SUITE(recorded_timer)

BOOST_AUTO_TEST_CASE(it_replays_what_the_files_hold_and_says_that_it_is_recorded) {
  const TemporaryFile one(line_of(8, 91900, 5));
  const TemporaryFile other(line_of(16, 91900, 6));
  worker::RecordedTimer timer({one.path(), other.path()});
  for (const int channels : {8, 16}) {
    const auto record = timer.measure(job(channels), kGoOn);
    BOOST_REQUIRE(record);
    BOOST_TEST((record->key.problem == job(channels).problem));
    BOOST_TEST(record->provenance.source == "recorded");
  }
  const auto unknown = timer.measure(job(24), kGoOn);
  BOOST_REQUIRE(!unknown);
  BOOST_TEST((unknown.error().code == core::ErrorCode::kUnavailable));
}

BOOST_AUTO_TEST_CASE(versions_are_not_mixed) {
  const TemporaryFile file(line_of(8, 91400, 5) + line_of(8, 91900, 7));
  worker::RecordedTimer timer({file.path()});
  BOOST_TEST(core::fastest(timer.measure(job(8, 91400), kGoOn).value())->time_us == 5.0f);
  BOOST_TEST(core::fastest(timer.measure(job(8, 91900), kGoOn).value())->time_us == 7.0f);
  BOOST_TEST(!timer.measure(job(8, 91800), kGoOn));
}

BOOST_AUTO_TEST_CASE(bad_lines_are_skipped) {
  const TemporaryFile file("nonsense\n" + line_of(8, 91900, 5) + "{\"half\":");
  worker::RecordedTimer timer({file.path()});
  BOOST_TEST(timer.measure(job(8), kGoOn).ok());
}

BOOST_AUTO_TEST_CASE(it_gives_way_while_it_reads_and_reads_again_afterwards) {
  const TemporaryFile file(line_of(8, 91900, 5));
  worker::RecordedTimer timer({file.path()});
  const std::atomic<bool> cancelled = true;
  const auto none = timer.measure(job(8), cancelled);
  BOOST_REQUIRE(!none);
  BOOST_TEST((none.error().code == core::ErrorCode::kDenied));
  BOOST_TEST(timer.measure(job(8), kGoOn).ok());
}

BOOST_AUTO_TEST_CASE(a_file_that_is_not_there_is_an_error) {
  worker::RecordedTimer timer({"/no/such/file"});
  BOOST_TEST(!timer.measure(job(8), kGoOn));
}

BOOST_AUTO_TEST_SUITE_END()
