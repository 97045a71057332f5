#include "cli/table.h"

#include "cli/units.h"

#include <boost/test/unit_test.hpp>

#include <limits>
#include <sstream>

namespace reformer::cli {
namespace {

std::string print(const Table& table, bool colour = false, std::size_t width = Table::kWidth) {
  std::ostringstream out;
  table.print(out, colour, width);
  return out.str();
}

}  // namespace

BOOST_AUTO_TEST_SUITE(table)

BOOST_AUTO_TEST_CASE(columns_are_aligned_and_lines_have_no_trailing_blanks) {
  Table table({{"name"}, {"count", Align::kRight}, {"note"}});
  table.add({"a", "7", "first"});
  table.add({"longer", "1 234", ""});
  BOOST_TEST(print(table) ==
             "name    count  note\n"
             "a           7  first\n"
             "longer  1 234\n");
}

BOOST_AUTO_TEST_CASE(only_the_shrinking_column_gives_way) {
  Table table({{"problem", Align::kLeft, Fit::kShrink}, {"time", Align::kRight}});
  table.add({"fwd f16 nhwc n32 c64 h56", "12.3 us"});
  BOOST_TEST(print(table, false, 20) ==
             "problem         time\n"
             "fwd f16 nh…  12.3 us\n");
}

BOOST_AUTO_TEST_CASE(widths_count_code_points_not_bytes) {
  Table table({{"x"}, {"y"}});
  table.add({"µs", "1"});
  table.add({"ab", "2"});
  BOOST_TEST(print(table) == "x   y\nµs  1\nab  2\n");
}

BOOST_AUTO_TEST_CASE(colours_appear_only_where_they_are_on) {
  Table table({{"x"}});
  table.add({Cell("bad", Tone::kBad)});
  BOOST_TEST(print(table) == "x\nbad\n");
  BOOST_TEST(print(table, true) == "\x1b[1mx\x1b[0m\n\x1b[31mbad\x1b[0m\n");
}

BOOST_AUTO_TEST_CASE(control_characters_never_reach_the_terminal) {
  Table table({{"x"}});
  table.add({std::string("\x1b[2J\xc2\x9bm\xff") + "ok"});
  BOOST_TEST(print(table) == "x\n?[2J?m?ok\n");
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_AUTO_TEST_SUITE(units)

BOOST_AUTO_TEST_CASE(quantities_read_well_at_their_limits) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  BOOST_TEST(human_us(9.996) == "10.0 us");
  BOOST_TEST(human_us(999.7) == "1.00 ms");
  BOOST_TEST(human_us(2.5e6) == "2.50 s");
  BOOST_TEST(human_us(nan) == "-");
  BOOST_TEST(human_bytes(1023) == "1023 B");
  BOOST_TEST(human_bytes(1536) == "1.50 KiB");
  BOOST_TEST(human_bytes(1048575) == "1.00 MiB");
  BOOST_TEST(human_bytes(-1) == "-");
  BOOST_TEST(human_seconds(119) == "119 s");
  BOOST_TEST(human_seconds(7200) == "2.0 h");
  BOOST_TEST(human_factor(1.13) == "1.130x");
  BOOST_TEST(human_factor(101) == "101x");
  BOOST_TEST(human_share(0.5) == "50.0 %");
  BOOST_TEST(human_count(1234567) == "1 234 567");
  BOOST_TEST(human_age(0, 100) == "-");
  BOOST_TEST(human_age(40, 100) == "60 s ago");
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace reformer::cli
