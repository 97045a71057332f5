#include "storage/record_codec.h"

#include "interchange/measurements.h"
#include "tests/storage/sample_records.h"

#include <boost/test/data/test_case.hpp>
#include <boost/test/unit_test.hpp>

#include <cmath>
#include <limits>
#include <random>

namespace {

using namespace reformer;
using storage::Dictionary;
using storage::testing::same_record;
using storage::testing::sample_record;

std::string encoded(const core::Record& record, Dictionary& dictionary) {
  return storage::encode_record(record, dictionary).value();
}

core::Record round_trip(const core::Record& record) {
  Dictionary dictionary;
  const std::string bytes = encoded(record, dictionary);
  return storage::decode_record(bytes, dictionary).value();
}

core::ErrorCode refusal(const core::Record& record) {
  Dictionary dictionary;
  return storage::encode_record(record, dictionary).error().code;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(record_codec_test)

BOOST_AUTO_TEST_CASE(records_come_back_as_they_were) {
  Dictionary dictionary;
  for (std::uint32_t number = 0; number < 300; ++number) {
    const core::Record record = sample_record(number);
    const std::string bytes = encoded(record, dictionary);
    const core::Record back = storage::decode_record(bytes, dictionary).value();
    BOOST_TEST(same_record(back, record));
    BOOST_TEST((encoded(back, dictionary) == bytes));
  }
}

BOOST_AUTO_TEST_CASE(an_empty_record_comes_back) {
  core::Record record = sample_record(1, 0);
  record.provenance = {};
  BOOST_TEST(same_record(round_trip(record), record));
}

BOOST_DATA_TEST_CASE(unusual_problems_come_back,
                     boost::unit_test::data::make({"fwd i8 nhwc n1 c32 h8 w8 k32 r3 s3 pad1 grp4",
                                                   "fwd f32 nchw n1 c1 h1 w1 k1 r1 s1",
                                                   "wgrad bf16 ndhwc n2 c8 d9 h8 w8 k8 t3 r3 s3",
                                                   "dgrad f16 nhwc n2 c8 h9 w8 k8 r5 s3 str2"}),
                     text) {
  core::Record record = sample_record(1, 2);
  const auto problem = core::parse_problem(text);
  BOOST_REQUIRE(problem.ok());
  record.key.problem = *problem;
  BOOST_TEST((round_trip(record).key == record.key));
}

BOOST_AUTO_TEST_CASE(strides_alignments_types_modes_padding_and_fusion_come_back) {
  core::Problem problem = storage::testing::sample_key(5).problem;
  problem.x.strides = {1'000'000, 10'000, 10'000, 100, 1};
  problem.w.alignment = 4;
  problem.y.type = core::DataType::kF32;
  problem.mode = core::ConvolutionMode::kConvolution;
  problem.pad_after = {0, 2, 1};
  problem.fusion = 0xfedcba9876543210;
  problem.y.dims = core::output_dims(problem);
  problem.y.strides = core::packed_strides(problem.y.dims, core::Layout::kNhwc);
  core::Record record = sample_record(1, 1);
  record.key.problem = core::canonicalise(problem).value();
  BOOST_TEST((round_trip(record).key == record.key));
}

BOOST_AUTO_TEST_CASE(times_are_kept_to_a_nanosecond_and_kept_so) {
  std::mt19937 random(3);
  std::uniform_real_distribution<float> exponent(-4, 9);
  core::Record record = sample_record(1, 1);
  for (int round = 0; round < 20'000; ++round) {
    const float time = std::pow(10.0F, exponent(random));
    record.candidates[0].time_us = time;
    const core::Record once = round_trip(record);
    const float kept = once.candidates[0].time_us;
    BOOST_TEST(std::abs(kept - time) <= (time < 0.0005F ? 0.001F : 0.0005F + time * 1e-7F));
    BOOST_TEST(kept > 0);
    BOOST_TEST(same_record(round_trip(once), once));
  }
}

BOOST_AUTO_TEST_CASE(what_no_measurement_has_is_refused) {
  const core::Record good = sample_record(1, 2);
  const auto with = [&](auto member, auto value) {
    core::Record record = good;
    record.candidates[1].*member = value;
    return refusal(record);
  };
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  constexpr auto kInvalid = core::ErrorCode::kInvalidArgument;
  BOOST_TEST((with(&core::Candidate::time_us, -1.0F) == kInvalid));
  BOOST_TEST((with(&core::Candidate::time_us, kInfinity) == kInvalid));
  BOOST_TEST((with(&core::Candidate::build_us, kInfinity) == kInvalid));
  BOOST_TEST((with(&core::Candidate::spread, -0.5F) == kInvalid));
  BOOST_TEST((with(&core::Candidate::rank_b, std::int16_t{-2}) == kInvalid));
  BOOST_TEST((with(&core::Candidate::workspace_bytes, std::int64_t{-1}) == kInvalid));
  core::Record many = good;
  many.candidates.resize(core::kMaxCandidates + 1);
  BOOST_TEST((refusal(many) == kInvalid));
}

// The recorded measurements hold 50.6 candidates a record.
BOOST_AUTO_TEST_CASE(recorded_measurements_keep_every_digit_in_less_than_370_bytes) {
  auto reader =
      interchange::MeasurementReader::open(REFORMER_SOURCE_DIR "/data/h200-networks.jsonl.zst");
  BOOST_REQUIRE(reader.ok());
  Dictionary dictionary;
  std::size_t bytes = 0;
  constexpr std::size_t kRecords = 1'500;
  for (std::size_t i = 0; i < kRecords; ++i) {
    const core::Record record = (*reader)->next().value().value();
    const std::string form = encoded(record, dictionary);
    bytes += form.size();
    BOOST_TEST(same_record(storage::decode_record(form, dictionary).value(), record));
  }
  BOOST_TEST(bytes / kRecords < 370U);
}

BOOST_AUTO_TEST_CASE(truncated_records_and_trailing_bytes_are_corrupt) {
  Dictionary dictionary;
  const std::string bytes = encoded(sample_record(7, 5), dictionary);
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    BOOST_TEST(!storage::decode_record(std::string_view(bytes).substr(0, size), dictionary).ok());
  }
  BOOST_TEST(!storage::decode_record(bytes + '\0', dictionary).ok());
}

// What decodes after damage must be something that can be stored again.
BOOST_AUTO_TEST_CASE(flipped_bits_never_crash_and_never_give_the_unstorable) {
  Dictionary dictionary;
  const std::string bytes = encoded(sample_record(7, 20), dictionary);
  for (std::size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    std::string damaged = bytes;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << (bit % 8)));
    if (const auto record = storage::decode_record(damaged, dictionary)) {
      BOOST_TEST(storage::encode_record(*record, dictionary).ok());
    }
  }
}

BOOST_AUTO_TEST_CASE(random_bytes_never_crash) {
  Dictionary dictionary;
  const std::string good = encoded(sample_record(7), dictionary);
  std::mt19937 random(4);
  for (int round = 0; round < 20'000; ++round) {
    std::string bytes = good;  // sane up to somewhere
    const std::size_t from = random() % bytes.size();
    for (std::size_t i = from; i < bytes.size(); ++i) {
      bytes[i] = static_cast<char>(random());
    }
    if (const auto record = storage::decode_record(bytes, dictionary)) {
      BOOST_TEST(storage::encode_record(*record, dictionary).ok());
    }
  }
}

BOOST_AUTO_TEST_CASE(a_later_form_is_unsupported_not_corrupt) {
  const Dictionary dictionary;
  BOOST_TEST(
      (storage::decode_record("\x0f", dictionary).error().code == core::ErrorCode::kUnsupported));
}

BOOST_AUTO_TEST_CASE(records_are_written_out_when_the_dictionary_is_full) {
  Dictionary full;
  for (std::uint32_t i = 0; i < Dictionary::kMaxConfigs; ++i) {
    (void)full.number_of(Dictionary::Config{core::EngineConfig(1000), i, 0});
  }
  for (std::uint32_t i = 0; i < Dictionary::kMaxTexts; ++i) {
    (void)full.number_of("text " + std::to_string(i));
    (void)full.number_of(core::Context{.device = {"GPU", 90, 1}, .cudnn_version = 1 + i});
  }
  full.saved();
  const core::Record record = sample_record(3);
  const std::string bytes = encoded(record, full);
  BOOST_TEST(full.unsaved().empty());
  BOOST_TEST(same_record(storage::decode_record(bytes, full).value(), record));
}

BOOST_AUTO_TEST_SUITE_END()
