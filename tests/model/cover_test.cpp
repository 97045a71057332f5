#include "model/cover.h"

#include "model/random.h"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <vector>

namespace reformer::model {
namespace {

constexpr std::uint32_t kRare = core::behavior_note::kRarelyListed;

Coverable coverable_of(const std::vector<core::DecisionEntry>& classes) {
  Coverable coverable;
  for (const core::DecisionEntry& entry : classes) {
    coverable.add(entry);
  }
  return coverable;
}

std::vector<core::DecisionEntry> random_classes(Random& random) {
  std::vector<core::DecisionEntry> classes(1 + random.below(300));
  for (std::size_t i = 0; i < classes.size(); ++i) {
    core::EngineConfig config(static_cast<std::int32_t>(random.below(12)));
    (void)config.add_knob({.type = 1, .value = static_cast<std::int32_t>(i)});
    classes[i] = {.config = config,
                  .numerical_notes = static_cast<std::uint32_t>(random.below(512)),
                  .behavior_notes = static_cast<std::uint32_t>(random.below(3)) |
                                    (random.below(3) == 0 ? kRare : 0U),
                  .workspace_bytes = static_cast<std::int64_t>(random.below(4)) << 24,
                  .build_us = random.below(3) == 0 ? static_cast<float>(random.below(90'000)) : 10};
  }
  return classes;
}

// All allowed classes in order, then core's own choice.
std::vector<core::DecisionEntry> plain_choice(const std::vector<core::DecisionEntry>& classes,
                                              std::vector<float> logits,
                                              const CoverRequest& request) {
  const auto is_cheap = [&](std::size_t i) {
    return classes[i].build_us <= request.policy.cheap_build_us;
  };
  std::vector<std::size_t> order(classes.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  const float best = *std::ranges::max_element(logits);
  for (const std::size_t i : order) {
    if (!is_cheap(i)) {
      const double us = request.times.us(static_cast<double>(best) - logits[i]) +
                        classes[i].build_us / request.policy.expected_uses;
      logits[i] = static_cast<float>(best - request.times.behind(us));
    }
  }
  std::ranges::stable_sort(order, std::greater<>{}, [&](std::size_t i) { return logits[i]; });
  std::erase_if(order,
                [&](std::size_t i) { return !core::passes(classes[i], request.constraints); });
  const auto cheap = std::ranges::find_if(order, [&](std::size_t i) {
    return is_cheap(i) && (classes[i].behavior_notes & kRare) == 0;
  });
  std::vector<const core::DecisionEntry*> allowed;
  for (auto at = order.begin(); at != order.end(); ++at) {
    if (is_cheap(*at) || at < cheap) {
      allowed.push_back(&classes[*at]);
    }
  }
  return core::select_cover(std::span<const core::DecisionEntry* const>(allowed),
                            request.max_entries,
                            request.max_engines);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(cover)

BOOST_AUTO_TEST_CASE(it_chooses_what_sorting_everything_would) {
  Random random(17);
  std::size_t chosen = 0;
  for (int round = 0; round < 3000; ++round) {
    const std::vector<core::DecisionEntry> classes = random_classes(random);
    std::vector<float> logits;
    for (std::size_t i = 0; i < classes.size(); ++i) {
      logits.push_back(static_cast<float>(random.below(round % 2 == 0 ? 40 : 1 << 20)));
    }
    CoverRequest request;
    request.constraints.forbidden_numerical_notes = static_cast<std::uint32_t>(random.below(512)) &
                                                    static_cast<std::uint32_t>(random.below(512));
    request.constraints.forbidden_behavior_notes = static_cast<std::uint32_t>(random.below(2));
    if (random.below(3) == 0) {
      request.constraints.max_workspace_bytes = 1 << 24;
    }
    request.policy = {.expected_uses = static_cast<double>(1 + random.below(100)),
                      .cheap_build_us = random.below(8) == 0 ? 80'000.0F : 20'000.0F};
    request.times = {random.below(4) == 0 ? TargetKind::kSoftmax : TargetKind::kRatio,
                     round % 2 == 0 ? 20.0F : 3e5F,
                     100};
    request.max_entries = random.below(20);
    request.max_engines = random.below(20);
    const auto expected = plain_choice(classes, logits, request);
    const Cover cover = choose_cover(coverable_of(classes), logits, request);
    BOOST_REQUIRE(cover.count == expected.size());
    for (std::size_t i = 0; i < cover.count; ++i) {
      BOOST_REQUIRE((classes[cover.rows[i]].config == expected[i].config));
    }
    chosen += cover.count;
  }
  BOOST_TEST(chosen > 10000U);
}

BOOST_AUTO_TEST_CASE(a_far_class_is_found_for_a_filter_that_the_best_do_not_pass) {
  std::vector<core::DecisionEntry> classes(200);
  std::vector<float> logits;
  for (std::size_t i = 0; i < classes.size(); ++i) {
    classes[i].config = core::EngineConfig(static_cast<std::int32_t>(i));
    classes[i].workspace_bytes = i == 150 ? 0 : 1 << 30;
    logits.push_back(-static_cast<float>(i));
  }
  CoverRequest request;
  request.max_entries = 4;
  const Cover cover = choose_cover(coverable_of(classes), logits, request);
  BOOST_REQUIRE(cover.count == 4U);
  BOOST_TEST(cover.rows[0] == 0U);
  BOOST_TEST(cover.rows[3] == 150U);
}

using Rows = std::vector<std::uint32_t>;

Rows rows_of(const std::vector<core::DecisionEntry>& classes,
             std::vector<float> logits,
             double uses) {
  CoverRequest request;
  request.policy.expected_uses = uses;
  request.times = {TargetKind::kRatio, 4, 100};
  const Cover cover = choose_cover(coverable_of(classes), logits, request);
  return {cover.rows.begin(), cover.rows.begin() + static_cast<std::ptrdiff_t>(cover.count)};
}

constexpr float kTwice = 2.7726F;  // 4 ln 2: the logit of one that takes half the time

// Rows 0 and 2 are compiled at run time, which takes a second.
BOOST_AUTO_TEST_CASE(a_class_that_is_compiled_must_earn_it_back_by_what_the_logits_promise) {
  std::vector<core::DecisionEntry> classes(3);
  for (std::size_t i = 0; i < classes.size(); ++i) {
    classes[i].config = core::EngineConfig(static_cast<std::int32_t>(i));
    classes[i].workspace_bytes = 0;
    classes[i].build_us = i == 1 ? 10.0F : 1'000'000.0F;
  }
  // 100 us against 200.
  BOOST_TEST(rows_of(classes, {kTwice, 0, -1}, 9'900) == Rows({1}));
  BOOST_TEST(rows_of(classes, {kTwice, 0, -1}, 10'100) == Rows({0, 1}));
  // Both are worth it, or only the better one.
  BOOST_TEST(rows_of(classes, {kTwice, 0, kTwice / 2}, 100'000) == Rows({0, 2, 1}));
  BOOST_TEST(rows_of(classes, {kTwice, 0, kTwice / 2}, 12'000) == Rows({0, 1}));
  BOOST_TEST(rows_of(classes, {kTwice, 0, -1}, 0) == Rows({1}));
  // There is no other way: all of them, the best first.
  classes.erase(classes.begin() + 1);
  BOOST_TEST(rows_of(classes, {0, 1}, 0) == Rows({1, 0}));
}

// Row 0 may not exist: it goes first, but does not stand for what can be had without compiling.
BOOST_AUTO_TEST_CASE(what_is_rarely_listed_does_not_keep_a_compiled_class_out) {
  std::vector<core::DecisionEntry> classes(3);
  for (std::size_t i = 0; i < classes.size(); ++i) {
    classes[i].config = core::EngineConfig(static_cast<std::int32_t>(i));
    classes[i].workspace_bytes = 0;
    classes[i].build_us = i == 1 ? 1'000'000.0F : 10.0F;
  }
  BOOST_TEST(rows_of(classes, {kTwice, kTwice, 0}, 20'000) == Rows({0, 2}));
  classes[0].behavior_notes = kRare;
  BOOST_TEST(rows_of(classes, {kTwice, kTwice, 0}, 20'000) == Rows({0, 1, 2}));
  BOOST_TEST(rows_of(classes, {kTwice, kTwice, 0}, 9'000) == Rows({0, 2}));
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_AUTO_TEST_SUITE(expected_times)

BOOST_AUTO_TEST_CASE(logits_say_of_times_what_the_target_taught_them) {
  const std::vector<float> log_slowdown = {0, std::log(3.0F)};
  std::vector<float> p(2);
  for (const TargetKind target : {TargetKind::kRatio, TargetKind::kSoftmax, TargetKind::kOneHot}) {
    const ExpectedTimes times{target, 4, 50};
    BOOST_TEST(times.us(0) == 50);
    BOOST_TEST(times.behind(50) == 0);
    BOOST_TEST(times.behind(20) == 0);
    BOOST_TEST(std::abs(times.us(times.behind(70)) - 70) < 1e-9);
    BOOST_TEST((ExpectedTimes{target, 0, 50}.us(1) > 50));
    // The target's distribution turned round.
    target_distribution(target, 4, log_slowdown, 50, p);
    if (p[1] > 0) {
      BOOST_TEST(std::abs(times.us(std::log(p[0] / p[1])) - 150) < 0.01);
    }
  }
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace reformer::model
