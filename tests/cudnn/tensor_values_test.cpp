#include "cudnn/tensor_values.h"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <cmath>
#include <cstring>

using namespace reformer;

namespace {

std::vector<std::byte> bytes_of(const std::vector<float>& values) {
  std::vector<std::byte> bytes(values.size() * sizeof(float));
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

std::vector<float> ramp() {
  std::vector<float> values(1000);
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = static_cast<float>(i % 17) - 8;
  }
  return values;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(tensor_values)

BOOST_AUTO_TEST_CASE(floats_lie_in_their_range_and_are_not_zero) {
  const auto bytes = cudnn::random_values(core::DataType::kF32, 40000);
  std::vector<float> values(10000);
  std::memcpy(values.data(), bytes.data(), bytes.size());
  BOOST_TEST(std::all_of(values.begin(), values.end(), [](float value) {
    return std::abs(value) <= 1.001f && value != 0;
  }));
  BOOST_TEST(std::count_if(values.begin(), values.end(), [](float value) { return value < 0; }) >
             4000);
}

BOOST_AUTO_TEST_CASE(halves_are_numbers) {
  for (const auto type : {core::DataType::kF16, core::DataType::kBf16}) {
    const auto bytes = cudnn::random_values(type, 20000);
    const std::uint16_t exponent = type == core::DataType::kF16 ? 0x7c00 : 0x7f80;
    for (std::size_t i = 0; i < bytes.size(); i += 2) {
      std::uint16_t half = 0;
      std::memcpy(&half, bytes.data() + i, 2);
      BOOST_REQUIRE((half & exponent) != exponent);
    }
  }
}

BOOST_AUTO_TEST_CASE(sums_in_another_order_agree_and_a_wrong_element_does_not) {
  std::vector<float> one = ramp();
  std::vector<float> other = one;
  for (float& value : other) {
    value *= 1.001f;
  }
  BOOST_TEST(cudnn::agree(bytes_of(one), bytes_of(other), core::DataType::kF32));
  other[500] += 5;
  BOOST_TEST(!cudnn::agree(bytes_of(one), bytes_of(other), core::DataType::kF32));
}

BOOST_AUTO_TEST_CASE(an_output_that_was_not_written_does_not_agree) {
  const std::vector<float> zeros(1000);
  BOOST_TEST(!cudnn::agree(bytes_of(zeros), bytes_of(ramp()), core::DataType::kF32));
  std::vector<float> nan = ramp();
  nan[3] = NAN;
  BOOST_TEST(!cudnn::agree(bytes_of(nan), bytes_of(ramp()), core::DataType::kF32));
}

BOOST_AUTO_TEST_SUITE_END()
