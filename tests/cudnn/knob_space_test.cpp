#include "cudnn/knob_space.h"

#include <boost/test/unit_test.hpp>

#include <limits>
#include <map>
#include <set>
#include <utility>
#include <vector>

namespace reformer::cudnn {
namespace {

using Settings = std::vector<std::vector<std::int32_t>>;

Settings walk(std::vector<KnobRange> ranges, std::size_t limit) {
  KnobSpace space(std::move(ranges), limit);
  Settings settings;
  while (const auto setting = space.next()) {
    auto& values = settings.emplace_back();
    for (const core::Knob& knob : *setting) {
      values.push_back(knob.value);
    }
  }
  return settings;
}

std::size_t distinct(const Settings& settings) {
  return std::set<std::vector<std::int32_t>>(settings.begin(), settings.end()).size();
}

BOOST_AUTO_TEST_SUITE(knob_space)

BOOST_AUTO_TEST_CASE(a_small_space_is_walked_whole) {
  const Settings all = walk({{2, 0, 1, 1}, {5, 10, 30, 10}}, 100);
  BOOST_TEST(distinct(all) == 6U);
  BOOST_TEST(all.size() == 6U);
  BOOST_TEST(all.front() == (std::vector<std::int32_t>{0, 10}));
}

BOOST_AUTO_TEST_CASE(an_engine_without_knobs_has_one_setting) {
  const Settings all = walk({}, 100);
  BOOST_TEST(all.size() == 1U);
  BOOST_TEST(walk({}, 0).empty());
}

BOOST_AUTO_TEST_CASE(of_a_large_space_each_value_of_each_knob_comes_about_equally_often) {
  const Settings some = walk({{0, 0, 3, 1}, {1, 0, 7, 1}, {2, 0, 9, 1}, {3, 0, 15, 1}}, 320);
  BOOST_TEST(some.size() == 320U);
  BOOST_TEST(distinct(some) == 320U);
  const std::vector<std::size_t> values{4, 8, 10, 16};
  for (std::size_t knob = 0; knob < values.size(); ++knob) {
    std::map<std::int32_t, std::size_t> seen;
    for (const auto& setting : some) {
      ++seen[setting[knob]];
    }
    BOOST_TEST(seen.size() == values[knob]);
    for (const auto& [value, times] : seen) {
      BOOST_TEST(times >= 320 / values[knob] / 2);
      BOOST_TEST(times <= 320 / values[knob] * 2);
    }
  }
}

BOOST_AUTO_TEST_CASE(strange_ranges_have_their_lowest_value_and_huge_spaces_no_overflow) {
  const std::int64_t huge = std::numeric_limits<std::int64_t>::max();
  BOOST_TEST(walk({{0, 5, 3, 1}, {1, 0, 4, 0}, {2, 1, huge, 1}}, 10) == (Settings{{5, 0, 1}}));
  std::vector<KnobRange> ranges(9, {0, 0, std::numeric_limits<std::int32_t>::max(), 1});
  KnobSpace space(ranges, 50);
  BOOST_TEST(space.size() == std::uint64_t{1} << 62);
  BOOST_TEST(distinct(walk(ranges, 50)) == 50U);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace
}  // namespace reformer::cudnn
