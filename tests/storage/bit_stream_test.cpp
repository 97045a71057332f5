#include "storage/bit_stream.h"

#include <boost/test/unit_test.hpp>

#include <random>
#include <vector>

namespace {

using reformer::storage::BitReader;
using reformer::storage::BitWriter;

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

}  // namespace

BOOST_AUTO_TEST_SUITE(bit_stream_test)

BOOST_AUTO_TEST_CASE(mixed_fields_come_back) {
  struct Field {
    std::uint64_t value;
    int count;  // of bits; or -1 - order of a Golomb number
  };
  std::mt19937_64 random(1);
  for (int round = 0; round < 500; ++round) {
    std::vector<Field> fields(random() % 40);
    std::string bytes;
    BitWriter out(bytes);
    for (Field& field : fields) {
      const int width = static_cast<int>(random() % 63);
      field.value = random() & ((std::uint64_t{1} << width) - 1);
      field.count = random() % 2 == 0 ? width : -1 - static_cast<int>(random() % 41);
      field.count < 0 ? out.golomb(field.value, -1 - field.count)
                      : out.bits(field.value, field.count);
    }
    out.finish();
    BitReader in(bytes_of(bytes));
    for (const Field& field : fields) {
      BOOST_TEST(field.value ==
                 (field.count < 0 ? in.golomb(-1 - field.count) : in.bits(field.count)));
    }
    BOOST_TEST(in.at_end());
  }
}

BOOST_AUTO_TEST_CASE(signed_numbers_and_whole_words_come_back) {
  const std::vector<std::int64_t> values{0, 1, -1, 1 << 20, -(std::int64_t{1} << 61)};
  std::string bytes;
  BitWriter out(bytes);
  out.bits(~std::uint64_t{0}, 64);
  for (const std::int64_t value : values) {
    out.signed_golomb(value, 3);
  }
  out.finish();
  BitReader in(bytes_of(bytes));
  BOOST_TEST(in.bits(64) == ~std::uint64_t{0});
  for (const std::int64_t value : values) {
    BOOST_TEST(in.signed_golomb(3) == value);
  }
  BOOST_TEST(in.at_end());
}

BOOST_AUTO_TEST_CASE(golomb_bits_says_what_a_number_takes) {
  for (const std::uint64_t value : {0U, 1U, 7U, 8U, 1000U, 65536U}) {
    for (int order = 0; order < 12; ++order) {
      std::string bytes;
      BitWriter out(bytes);
      out.golomb(value, order);
      out.finish();
      const int whole = (reformer::storage::golomb_bits(value, order) + 7) / 8;
      BOOST_TEST(static_cast<int>(bytes.size()) == whole);
    }
  }
}

BOOST_AUTO_TEST_CASE(reading_past_the_end_fails_and_gives_zeros) {
  const std::string bytes = "\xff";
  BitReader in(bytes_of(bytes));
  BOOST_TEST(in.bits(5) == 31U);
  BOOST_TEST(in.ok());
  BOOST_TEST(in.bits(4) == 0U);
  BOOST_TEST(!in.ok());
  BOOST_TEST(in.golomb(0) == 0U);
  BOOST_TEST(!in.at_end());
}

BOOST_AUTO_TEST_CASE(bits_that_are_left_are_not_the_end) {
  const std::string bytes("\x01\x00", 2);
  BitReader in(bytes_of(bytes));
  BOOST_TEST(in.flag());
  BOOST_TEST(!in.at_end());
  BOOST_TEST(in.bits(8) == 0U);
  BOOST_TEST(in.at_end());
}

BOOST_AUTO_TEST_CASE(endless_zeros_are_not_a_number) {
  const std::string bytes(100, '\0');
  BitReader in(bytes_of(bytes));
  BOOST_TEST(in.golomb(0) == 0U);
  BOOST_TEST(!in.ok());
}

BOOST_AUTO_TEST_CASE(random_bytes_never_crash) {
  std::mt19937_64 random(2);
  for (int round = 0; round < 5'000; ++round) {
    std::string bytes(random() % 40, '\0');
    for (char& byte : bytes) {
      byte = static_cast<char>(random());
    }
    BitReader in(bytes_of(bytes));
    while (in.ok()) {
      (void)in.golomb(static_cast<int>(random() % 41));
      (void)in.bits(static_cast<int>(random() % 65));
    }
    BOOST_TEST(!in.at_end());
  }
}

BOOST_AUTO_TEST_SUITE_END()
