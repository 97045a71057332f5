#include "cli/train_data.h"

#include <boost/test/unit_test.hpp>

#include <atomic>
#include <latch>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

// The threads that training shares its work out to.
namespace reformer::cli {

BOOST_AUTO_TEST_SUITE(workers)

BOOST_AUTO_TEST_CASE(every_piece_is_done_once) {
  Workers workers(4);
  std::vector<std::atomic<int>> done(100);
  for (int round = 0; round < 20; ++round) {
    workers.run(done.size(), [&](std::size_t piece) { ++done[piece]; });
  }
  for (const std::atomic<int>& times : done) {
    BOOST_TEST(times == 20);
  }
  workers.run(0, [](std::size_t) { throw std::runtime_error("there is no piece"); });
}

// It once ended the process where another thread had the piece, and left the others at work on what
// the caller had given up where the calling thread had it.
BOOST_AUTO_TEST_CASE(what_a_piece_throws_reaches_the_caller_when_all_have_ended) {
  constexpr std::size_t kThreads = 4;
  Workers workers(kThreads);
  for (std::size_t thrower = 0; thrower < kThreads; ++thrower) {
    std::latch all_at_work(kThreads);
    std::atomic<std::size_t> under_way = 0;
    const auto work = [&](std::size_t piece) {
      ++under_way;
      all_at_work.arrive_and_wait();
      if (piece == thrower) {
        --under_way;
        throw std::bad_alloc();
      }
      std::this_thread::yield();
      --under_way;
    };
    BOOST_CHECK_THROW(workers.run(kThreads, work), std::bad_alloc);
    BOOST_TEST(under_way == 0U);
  }
}

BOOST_AUTO_TEST_CASE(behind_a_failure_no_further_piece_is_begun_and_the_next_run_is_whole) {
  Workers workers(3);
  std::atomic<std::size_t> begun = 0;
  const auto fail = [&](std::size_t piece) {
    ++begun;
    throw std::runtime_error(std::to_string(piece));
  };
  BOOST_CHECK_THROW(workers.run(1000, fail), std::runtime_error);
  BOOST_TEST(begun <= 3U);
  std::atomic<std::size_t> done = 0;
  workers.run(1000, [&](std::size_t) { ++done; });
  BOOST_TEST(done == 1000U);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace reformer::cli
