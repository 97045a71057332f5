#include "cli/sweep_team.h"

#include "core/problem_text.h"

#include <boost/test/unit_test.hpp>

#include <atomic>
#include <csignal>

namespace reformer::cli {
namespace {

constexpr int kEngine = 7;
constexpr int kExitOfDead = 1;
std::atomic<bool> interrupted = false;

core::Problem a_problem() {
  return *core::parse_problem("fwd f16 nhwc n8 c16 h32 w32 k64 r3 s3 pad1");
}

}  // namespace

BOOST_AUTO_TEST_SUITE(sweep_team)

// Each sees an engine twice, too seldom to know it; together they have seen it often enough.
BOOST_AUTO_TEST_CASE(what_one_member_sees_of_an_engine_the_others_know) {
  auto team = Team::make(2);
  BOOST_REQUIRE(team);
  const int result = team->run(
      [&](std::size_t) {
        const std::shared_ptr<cudnn::Pace> pace = team->pace();
        for (int i = 0; i < 2; ++i) {
          const Team::Turn turn(*team);
          pace->note(a_problem(), kEngine, 3000);
        }
        return team->meet(interrupted) && pace->least_us(a_problem(), kEngine) > 0 ? 0 : 3;
      },
      [] {},
      interrupted,
      kExitOfDead);
  BOOST_TEST(result == 0);
  BOOST_TEST(team->pace()->least_us(a_problem(), kEngine) > 0);
}

BOOST_AUTO_TEST_CASE(the_turn_of_a_member_that_died_passes_on) {
  auto team = Team::make(2);
  BOOST_REQUIRE(team);
  const int result = team->run(
      [&](std::size_t member) {
        const Team::Turn turn(*team);
        if (member == 0) {
          (void)std::raise(SIGKILL);
        }
        team->count(true);
        return 0;
      },
      [] {},
      interrupted,
      kExitOfDead);
  BOOST_TEST(result == kExitOfDead);
  BOOST_TEST(team->counts().done == 1);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace reformer::cli
