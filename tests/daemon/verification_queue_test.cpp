#include "daemon/verification_queue.h"

#include "core/problem_text.h"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <set>
#include <string>
#include <utility>

using namespace reformer;
using daemon::VerificationQueue;

namespace {

storage::QueuedJob job(int channels, float gain_us, std::int64_t queued_at_s = 1000) {
  storage::QueuedJob made;
  made.key.context = {{"NVIDIA H200", 90, 132}, 91900};
  made.key.problem =
      core::parse_problem("fwd f16 nhwc n1 c" + std::to_string(channels) + " h8 w8 k8 r1 s1")
          .value();
  made.predicted_gain_us = gain_us;
  made.queued_at_s = queued_at_s;
  return made;
}
core::KeyHash hash(const storage::QueuedJob& of) {
  return core::hash_key(of.key);
}

struct Fixture {
  std::set<core::KeyHash> stored;
  VerificationQueue::Changes changes{
      [this](const storage::QueuedJob& j) { stored.insert(hash(j)); },
      [this](const core::KeyHash& h) { stored.erase(h); }};
  VerificationQueue queue{{3, 0.0, 2}, changes, 1};
  const std::function<bool(const storage::QueuedJob&)> any = [](const auto&) { return true; };
};

}  // namespace

BOOST_FIXTURE_TEST_SUITE(verification_queue, Fixture)

BOOST_AUTO_TEST_CASE(the_largest_use_count_times_gain_goes_first) {
  queue.add(job(1, 10), 1000);
  queue.add(job(2, 30), 1000);
  queue.add(job(3, 4), 1000);
  queue.add_uses(hash(job(3, 4)), 100);
  BOOST_TEST((hash(queue.pick(1000, any)->job) == hash(job(3, 4))));
  BOOST_TEST((hash(queue.pick(1000, any)->job) == hash(job(2, 30))));
  BOOST_TEST((hash(queue.pick(1000, any)->job) == hash(job(1, 10))));
  BOOST_TEST(!queue.pick(1000, any).has_value());
}

BOOST_AUTO_TEST_CASE(age_overtakes_gain) {
  BOOST_TEST(VerificationQueue::value(job(1, 10, 0), 1, 3600) >
             VerificationQueue::value(job(2, 30, 3600), 1, 3600));
}

BOOST_AUTO_TEST_CASE(a_full_queue_drops_the_least_useful_and_counts_it) {
  queue.add(job(1, 10), 1000);
  queue.add(job(2, 1), 1000);
  queue.add(job(3, 20), 1000);
  BOOST_TEST((queue.add(job(4, 5), 1000) == VerificationQueue::Added::kQueued));
  BOOST_TEST(stored.count(hash(job(2, 1))) == 0U);
  BOOST_TEST((queue.add(job(5, 0.5), 1000) == VerificationQueue::Added::kRefused));
  BOOST_TEST(queue.waiting() == 3U);
  BOOST_TEST(queue.dropped() == 2U);
  BOOST_TEST(stored.size() == 3U);
}

// Looking for the least useful one takes a while: it is not done for each job that comes.
BOOST_AUTO_TEST_CASE(a_large_full_queue_drops_the_least_useful_hundredth_at_once) {
  VerificationQueue large{{1000, 0.0, 2}, changes, 1};
  for (int i = 1; i <= 1000; ++i) {
    large.add(job(i, static_cast<float>(i)), 1000);
  }
  BOOST_TEST((large.add(job(2000, 0.5), 1000) == VerificationQueue::Added::kRefused));
  BOOST_TEST((large.add(job(2001, 1), 1000) == VerificationQueue::Added::kRefused));
  BOOST_TEST(large.waiting() == 1000U);
  BOOST_TEST((large.add(job(2002, 500), 1000) == VerificationQueue::Added::kQueued));
  BOOST_TEST(large.waiting() == 991U);
  BOOST_TEST(large.dropped() == 12U);
  BOOST_TEST(stored.size() == 991U);
  for (int i = 1; i <= 1000; ++i) {
    BOOST_TEST(stored.count(hash(job(i, 0))) == (i <= 10 ? 0U : 1U));
  }
  // There is room again; what came into it may be the least useful next time.
  for (int i = 0; i < 9; ++i) {
    BOOST_TEST((large.add(job(3000 + i, 0.5), 1000) == VerificationQueue::Added::kQueued));
  }
  BOOST_TEST((large.add(job(4000, 0.4F), 1000) == VerificationQueue::Added::kRefused));
  BOOST_TEST((large.add(job(4001, 0.6F), 1000) == VerificationQueue::Added::kQueued));
  BOOST_TEST(stored.count(hash(job(3000, 0))) == 0U);
}

BOOST_AUTO_TEST_CASE(what_is_picked_is_not_dropped_and_what_was_put_back_may_be) {
  queue.add(job(1, 1), 1000);
  BOOST_TEST(queue.pick(1000, any).has_value());
  queue.add(job(2, 20), 1000);
  queue.add(job(3, 30), 1000);
  BOOST_TEST((queue.add(job(4, 10), 1000) == VerificationQueue::Added::kRefused));
  queue.put_back(hash(job(1, 1)));
  BOOST_TEST((queue.add(job(4, 10), 1000) == VerificationQueue::Added::kQueued));
  BOOST_TEST(stored.count(hash(job(1, 1))) == 0U);
}

BOOST_AUTO_TEST_CASE(quarantine_is_bounded_and_forgets_the_oldest) {
  for (int i = 1; i <= 5; ++i) {
    const auto one = job(i, 10, 1000 + i % 3);  // the third is the oldest
    queue.add(one, 1000);
    queue.fail(hash(one), "it died");
    queue.fail(hash(one), "it died");
    BOOST_TEST(queue.quarantined() == static_cast<std::size_t>(std::min(i, 3)));
  }
  BOOST_TEST(stored.size() == 3U);
  BOOST_TEST(stored.count(hash(job(3, 0))) == 0U);
  BOOST_TEST((queue.add(job(3, 10), 1000) == VerificationQueue::Added::kQueued));
  BOOST_TEST((queue.add(job(5, 10), 1000) == VerificationQueue::Added::kQuarantined));
}

BOOST_AUTO_TEST_CASE(arrivals_rise_when_there_may_be_something_to_pick) {
  auto seen = queue.arrivals();
  const auto rises = [&] { return std::exchange(seen, queue.arrivals()) < queue.arrivals(); };
  const auto one = job(1, 10);
  queue.add(one, 1000);
  BOOST_TEST(rises());
  queue.add(one, 1000);  // it is there already
  BOOST_TEST(!rises());
  BOOST_TEST(queue.pick(1000, any).has_value());
  BOOST_TEST(!rises());
  queue.put_back(hash(one));
  BOOST_TEST(rises());
  BOOST_TEST(queue.pick(1000, any).has_value());
  queue.fail(hash(one), "once");
  BOOST_TEST(rises());
  queue.add_first(one);
  BOOST_TEST(rises());
}

BOOST_AUTO_TEST_CASE(what_was_put_back_for_a_while_lets_others_go_first) {
  queue.add(job(1, 10), 1000);
  queue.add(job(2, 1), 1000);
  BOOST_TEST(queue.pick(1000, any).has_value());
  queue.put_back(hash(job(1, 10)), 1060);
  BOOST_TEST((hash(queue.pick(1059, any)->job) == hash(job(2, 1))));
  BOOST_TEST(!queue.pick(1059, any).has_value());
  BOOST_TEST((hash(queue.pick(1060, any)->job) == hash(job(1, 10))));
}

BOOST_AUTO_TEST_CASE(two_failures_lead_to_quarantine_until_an_administrator_asks) {
  queue.add(job(1, 10), 1000);
  for (int i = 0; i < 2; ++i) {
    BOOST_TEST(queue.pick(1000, any).has_value());
    queue.fail(hash(job(1, 10)), "it died");
  }
  BOOST_TEST(queue.quarantined() == 1U);
  BOOST_TEST(!queue.pick(1000, any).has_value());
  BOOST_TEST((queue.add(job(1, 10), 1000) == VerificationQueue::Added::kQuarantined));
  queue.add_first(job(1, 10));
  BOOST_TEST(queue.quarantined() == 0U);
  BOOST_TEST(queue.pick(1000, any).has_value());
  queue.finish(hash(job(1, 10)));
  BOOST_TEST(stored.empty());
}

BOOST_AUTO_TEST_CASE(what_an_administrator_asks_for_keeps_the_bound) {
  queue.add(job(1, 10), 1000);
  queue.add(job(2, 1), 1000);
  queue.add(job(3, 20), 1000);
  for (int i = 4; i <= 6; ++i) {
    BOOST_TEST(queue.add_first(job(i, 0)));
    BOOST_TEST(queue.waiting() == 3U);
  }
  BOOST_TEST(queue.dropped() == 3U);  // the others
  BOOST_TEST(!queue.add_first(job(7, 0)));
  BOOST_TEST(queue.add_first(job(6, 0)));  // is there already
  BOOST_TEST((stored == std::set{hash(job(4, 0)), hash(job(5, 0)), hash(job(6, 0))}));
}

BOOST_AUTO_TEST_CASE(every_pick_says_how_likely_it_was) {
  VerificationQueue random{{100, 0.5, 2}, changes, 7};
  for (int i = 1; i <= 4; ++i) {
    random.add(job(i, static_cast<float>(i)), 1000);
  }
  const auto pick = random.pick(1000, any);
  const bool best = hash(pick->job) == hash(job(4, 4));
  BOOST_TEST(pick->probability == (best ? 0.625F : 0.125F));
}

BOOST_AUTO_TEST_CASE(work_that_was_put_back_is_picked_again_without_an_attempt) {
  queue.add(job(1, 10), 1000);
  queue.pick(1000, any);
  queue.put_back(hash(job(1, 10)));
  BOOST_TEST(queue.pick(1000, any)->job.attempts == 0U);
}

BOOST_AUTO_TEST_CASE(a_disturbed_measurement_is_repeated_later_and_later_and_then_no_more) {
  const auto one = job(1, 10);
  queue.add(one, 1000);
  std::int64_t now = 1000;
  for (const std::int64_t pause : {600, 1200, 2400}) {
    BOOST_TEST(queue.pick(now, any).has_value());
    BOOST_TEST(queue.repeat_later(hash(one), now));
    BOOST_TEST(!queue.pick(now + pause - 1, any).has_value());
    now += pause;
  }
  BOOST_TEST(stored.count(hash(one)) == 1U);  // also over a restart
  BOOST_TEST(queue.pick(now, any).has_value());
  BOOST_TEST(!queue.repeat_later(hash(one), now));
  queue.finish(hash(one));
  BOOST_TEST(queue.waiting() == 0U);
}

BOOST_AUTO_TEST_CASE(an_administrator_does_not_wait_for_the_time_of_a_repetition) {
  queue.add(job(1, 10), 1000);
  BOOST_TEST(queue.pick(1000, any).has_value());
  BOOST_TEST(queue.repeat_later(hash(job(1, 10)), 1000));
  queue.add_first(job(1, 10));
  BOOST_TEST(queue.pick(1000, any).has_value());
}

BOOST_AUTO_TEST_SUITE_END()
