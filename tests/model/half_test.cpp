#include "model/half.h"

#include <boost/test/unit_test.hpp>

#include <array>
#include <cmath>
#include <cstdint>

namespace reformer::model {

BOOST_AUTO_TEST_SUITE(half)

BOOST_AUTO_TEST_CASE(every_float16_comes_back) {
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    if ((bits & 0x7c00U) == 0x7c00U) {
      continue;  // infinite or not a number
    }
    const auto half = static_cast<std::uint16_t>(bits);
    const float value = half_to_float(half);
    const int exponent = static_cast<int>((bits >> 10) & 31U);
    const double digits = bits & 0x3ffU;
    const double magnitude =
        exponent == 0 ? std::ldexp(digits, -24) : std::ldexp(1024 + digits, exponent - 25);
    BOOST_REQUIRE(value == ((bits & 0x8000U) != 0 ? -magnitude : magnitude));
    BOOST_REQUIRE(float_to_half(value) == half);
  }
}

BOOST_AUTO_TEST_CASE(values_between_go_to_the_nearest_and_ties_to_the_even_one) {
  // Around 1 float16 has steps of 2^-10.
  BOOST_TEST(rounded_to_half(1 + 0x1p-11F) == 1);
  BOOST_TEST(rounded_to_half(1 + 0x1.002p-11F) == 1 + 0x1p-10F);
  BOOST_TEST(rounded_to_half(1 + 0x1.8p-10F) == 1 + 0x1p-9F);
  BOOST_TEST(rounded_to_half(-0x1.8p-25F) == -0x1p-24F);
  BOOST_TEST(rounded_to_half(0x1p-25F) == 0);
  BOOST_TEST(rounded_to_half(0x1.ffep-15F) == 0x1p-14F);
}

BOOST_AUTO_TEST_CASE(what_float16_cannot_hold_stays_as_it_is) {
  std::array<float, 2> values{70000, 0.1F};
  round_to_half(values);
  BOOST_TEST(values[0] == 70000);
  BOOST_TEST(!all_are_halves(values));
  BOOST_TEST(all_are_halves(std::span(values).subspan(1)));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace reformer::model
