#include "model/cover.h"

#include "model/random.h"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <functional>
#include <limits>
#include <numeric>
#include <vector>

namespace reformer::model {
namespace {

std::vector<core::DecisionEntry> random_classes(Random& random) {
  std::vector<core::DecisionEntry> classes(random.below(300));
  for (std::size_t i = 0; i < classes.size(); ++i) {
    core::EngineConfig config(static_cast<std::int32_t>(random.below(12)));
    (void)config.add_knob({.type = 1, .value = static_cast<std::int32_t>(i)});
    classes[i] = {.config = config,
                  .numerical_notes = static_cast<std::uint32_t>(random.below(512)),
                  .behavior_notes = static_cast<std::uint32_t>(random.below(3)),
                  .workspace_bytes = static_cast<std::int64_t>(random.below(4)) << 24,
                  .build_us = static_cast<float>(random.below(100))};
  }
  return classes;
}

// All allowed classes in order, then core's own choice.
std::vector<core::DecisionEntry> plain_choice(const std::vector<core::DecisionEntry>& classes,
                                              const std::vector<float>& logits,
                                              const CoverRequest& request) {
  std::vector<std::size_t> order(classes.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, std::greater<>{}, [&](std::size_t i) { return logits[i]; });
  std::vector<const core::DecisionEntry*> allowed;
  for (const std::size_t i : order) {
    if (core::passes(classes[i], request.constraints) &&
        !(classes[i].build_us > request.worth_us)) {
      allowed.push_back(&classes[i]);
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
    request.worth_us = random.below(3) == 0 ? 30 : 1000;
    request.max_entries = random.below(20);
    request.max_engines = random.below(20);
    std::vector<ClassTraits> traits;
    FilterSet coverable = 0;
    for (const core::DecisionEntry& entry : classes) {
      traits.emplace_back(entry);
      coverable |= traits.back().filters;
    }
    const Cover cover = choose_cover(traits, logits, coverable, request);
    const auto expected = plain_choice(classes, logits, request);
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
  std::vector<ClassTraits> traits;
  std::vector<float> logits;
  for (std::size_t i = 0; i < classes.size(); ++i) {
    classes[i].config = core::EngineConfig(static_cast<std::int32_t>(i));
    classes[i].workspace_bytes = i == 150 ? 0 : 1 << 30;
    traits.emplace_back(classes[i]);
    logits.push_back(-static_cast<float>(i));
  }
  CoverRequest request;
  request.worth_us = 1;
  request.max_entries = 4;
  const Cover cover = choose_cover(traits, logits, ~FilterSet{0}, request);
  BOOST_REQUIRE(cover.count == 4U);
  BOOST_TEST(cover.rows[0] == 0U);
  BOOST_TEST(cover.rows[3] == 150U);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace reformer::model
