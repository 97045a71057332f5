#include "model/model_file.h"

#include "model/features.h"
#include "model/inference.h"
#include "tests/model/allocation_counter.h"
#include "tests/model/sample_model.h"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <string>

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace reformer::model {
namespace {

// Offsets of the header's fields, as model_file.h documents them.
constexpr std::size_t kVersionAt = 8;
constexpr std::size_t kSchemaAt = 16;
constexpr std::size_t kLengthAt = 24;
constexpr std::size_t kChecksumAt = 32;

using Bytes = std::vector<std::byte>;

Bytes sample_bytes() {
  return encode_model(testing::fixed_ranking_model(5));
}

// What a forger would do: a checksum that fits.
void seal(Bytes& bytes) {
  const std::uint64_t length = bytes.size() - kModelHeaderBytes;
  std::memcpy(&bytes[kLengthAt], &length, sizeof length);
  XXH3_state_t state;
  XXH3_64bits_reset(&state);
  XXH3_64bits_update(&state, bytes.data(), kChecksumAt);
  XXH3_64bits_update(&state, &bytes[kModelHeaderBytes], length);
  const std::uint64_t checksum = XXH3_64bits_digest(&state);
  std::memcpy(&bytes[kChecksumAt], &checksum, sizeof checksum);
}

std::string reason(const Bytes& bytes) {
  const auto decoded = decode_model(bytes);
  return decoded.ok() ? "accepted" : decoded.error().message;
}

core::ErrorCode code(const Bytes& bytes) {
  const auto decoded = decode_model(bytes);
  BOOST_REQUIRE(!decoded.ok());
  return decoded.error().code;
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(model_file)

BOOST_AUTO_TEST_CASE(what_is_written_is_read_and_written_again_byte_by_byte) {
  const testing::TemporaryFolder folder;
  ModelData data = testing::fixed_ranking_model(7);
  data.info.target = "softmax";
  data.info.sharpness = 2.5F;
  data.info.seed = 77;
  data.info.data_hash = "00ff";
  data.info.training_problems = 12;
  data.calibration.margin = -0.02F;
  data.calibration.abstain_below = 0.25F;
  data.normaliser.mean[3] = 1.5F;
  BOOST_REQUIRE(write_model(data, folder.file("m.reformer")).ok());
  const auto read = read_model(folder.file("m.reformer"));
  BOOST_REQUIRE(read.ok());
  BOOST_TEST((encode_model(*read) == encode_model(data)));
  BOOST_TEST(read->info.name == "fixed");
  BOOST_TEST(read->info.target == "softmax");
  BOOST_TEST(read->info.seed == 77U);
  BOOST_TEST(read->info.abstain_below == 0.25F);
  BOOST_TEST(read->info.classes == 7U);
  BOOST_TEST((read->info.contexts == data.info.contexts));
  BOOST_TEST((read->info.metrics == data.info.metrics));
  BOOST_TEST((read->shape == data.shape));
  BOOST_TEST(read->normaliser.mean[3] == 1.5F);
  BOOST_TEST((read->rows == data.rows));
  BOOST_TEST((read->seen_shapes == data.seen_shapes));
  BOOST_TEST((read->classes.classes[6].entry.config == testing::config(6)));
}

BOOST_AUTO_TEST_CASE(a_truncated_file_is_refused_at_every_length) {
  const Bytes whole = sample_bytes();
  for (std::size_t length = 0; length < whole.size(); ++length) {
    const auto decoded = decode_model(std::span(whole).first(length));
    BOOST_REQUIRE_MESSAGE(!decoded.ok(), length);
    BOOST_REQUIRE((decoded.error().code == core::ErrorCode::kCorrupt));
    const char* why = length < kModelHeaderBytes ? "shorter than its header" : "truncated";
    BOOST_REQUIRE_MESSAGE(contains(decoded.error().message, why), decoded.error().message);
  }
  Bytes longer = whole;
  longer.push_back(std::byte{0});
  BOOST_TEST(contains(reason(longer), "truncated or overlong"));
}

BOOST_AUTO_TEST_CASE(an_altered_byte_anywhere_is_refused_with_the_reason) {
  const Bytes whole = sample_bytes();
  for (std::size_t at = 0; at < whole.size(); ++at) {
    for (const unsigned mask : {1U << (at % 8), 0xffU}) {
      Bytes altered = whole;
      altered[at] ^= static_cast<std::byte>(mask);
      const std::string why = reason(altered);
      const char* expected = at < kVersionAt                       ? "not a model file"
                             : at < kVersionAt + 4                 ? "model file format"
                             : at >= kLengthAt && at < kChecksumAt ? "truncated or overlong"
                                                                   : "was altered";
      BOOST_REQUIRE_MESSAGE(contains(why, expected), "byte " << at << ": " << why);
    }
  }
}

// The checksum is no secret. What decodes must still be safe to use.
BOOST_AUTO_TEST_CASE(an_altered_byte_under_a_good_checksum_is_refused_or_harmless) {
  const Bytes whole = sample_bytes();
  const std::vector<float> features(kNumericFeatures, 1.0F);
  std::size_t refused = 0;
  for (std::size_t at = kModelHeaderBytes; at < whole.size(); ++at) {
    // Weights fill most of the file; a sample of them will do.
    if (at > 4096 && at + 512 < whole.size() && at % 7 != 0) {
      continue;
    }
    Bytes altered = whole;
    altered[at] ^= static_cast<std::byte>(at % 3 == 0 ? 0xffU : 1U << (at % 8));
    seal(altered);
    const auto decoded = decode_model(altered);
    if (!decoded.ok()) {
      ++refused;
      BOOST_REQUIRE_MESSAGE(!decoded.error().message.empty(), at);
      continue;
    }
    const InferenceNetwork network(*decoded, best_kernels());
    std::vector<float> workspace(network.workspace_floats());
    std::vector<float> logits(network.logit_stride());
    for (std::uint32_t c = 0; c < decoded->classes.combinations.size(); ++c) {
      const std::array<std::uint32_t, 1> one{c};
      network.logits(c, network.embed(one, features.data(), workspace), 1, logits.data());
    }
  }
  BOOST_TEST(refused > 100U);
}

BOOST_AUTO_TEST_CASE(a_foreign_file_is_refused_with_the_reason) {
  const std::string text(1000, 'x');
  const auto* raw = reinterpret_cast<const std::byte*>(text.data());
  BOOST_TEST(contains(reason({raw, raw + text.size()}), "not a model file"));

  Bytes version = sample_bytes();
  version[kVersionAt] = std::byte{1};
  seal(version);
  BOOST_TEST(reason(version) == "model file format 1; this program reads 3");
  BOOST_TEST((code(version) == core::ErrorCode::kUnsupported));

  Bytes schema = sample_bytes();
  schema[kSchemaAt] ^= std::byte{1};
  seal(schema);
  BOOST_TEST(contains(reason(schema), "other input features"));
  BOOST_TEST((code(schema) == core::ErrorCode::kUnsupported));
}

// Counts that nothing stands behind.
BOOST_AUTO_TEST_CASE(a_small_file_cannot_ask_for_much_memory) {
  ModelData data;
  const Bytes none = encode_model(data);
  const auto allocated_for = [&none](const Bytes& one) {
    // Where one element more first shows is the count.
    const auto [differs, other] = std::mismatch(
        none.begin() + kModelHeaderBytes, none.end(), one.begin() + kModelHeaderBytes);
    Bytes bytes(none.begin(), differs);
    const std::uint32_t count = 1U << 20;
    const auto* raw = reinterpret_cast<const std::byte*>(&count);
    bytes.insert(bytes.end(), raw, raw + sizeof count);
    bytes.resize(bytes.size() + count);
    seal(bytes);
    const std::size_t before = testing::allocated_bytes();
    BOOST_TEST(!decode_model(bytes).ok());
    return static_cast<double>(testing::allocated_bytes() - before) /
           static_cast<double>(bytes.size());
  };
  data.classes.classes.resize(1);
  BOOST_TEST(allocated_for(encode_model(data)) < 8);
  data = {};
  data.classes.combinations.resize(1);
  BOOST_TEST(allocated_for(encode_model(data)) < 8);
  data = {};
  data.combination_rows.resize(1);
  BOOST_TEST(allocated_for(encode_model(data)) < 8);
  data = {};
  data.info.metrics.resize(1);
  BOOST_TEST(allocated_for(encode_model(data)) < 8);
}

// Every combination gets a packed copy of its rows, of which a file may have one: eight bytes, a
// class's and a row's index, would ask for 16 KiB.
BOOST_AUTO_TEST_CASE(classes_that_share_a_row_cannot_ask_for_much_memory) {
  ModelData data = testing::fixed_ranking_model(4200);
  data.shape.widths = {{4, 4096}};
  const std::size_t inputs = input_width(data.classes.combinations.size());
  data.trunk.assign(inputs * 4 + 4 + 4 * 4096 + inputs * 4096 + 4096, 0.0F);
  data.rows.assign(4097, 0.0F);
  for (std::vector<std::uint32_t>& rows : data.combination_rows) {
    std::ranges::fill(rows, 0U);
  }
  BOOST_TEST(reason(encode_model(data)) == "model: too many class rows");
}

BOOST_AUTO_TEST_CASE(impossible_values_are_refused_with_the_reason) {
  const auto refused = [](const auto& change, const char* why) {
    ModelData data = testing::fixed_ranking_model(5);
    change(data);
    const std::string said = reason(encode_model(data));
    BOOST_TEST(contains(said, why), said);
  };
  refused([](ModelData& d) { d.trunk.pop_back(); }, "parameters do not fit");
  refused([](ModelData& d) { d.trunk[3] = std::numeric_limits<float>::quiet_NaN(); }, "not finite");
  refused([](ModelData& d) { d.rows.pop_back(); }, "class rows do not fit");
  refused([](ModelData& d) { d.combination_rows[0][0] = 99; }, "row index out of range");
  refused([](ModelData& d) { d.classes.combinations[1].classes[0] = -1; }, "class index");
  refused([](ModelData& d) { d.classes.combinations[1].classes[4] = 5; }, "class index");
  refused([](ModelData& d) { d.classes.combinations[1].classes[1] = 0; },
          "classes of a combination out of order");
  refused(
      [](ModelData& d) {
        std::swap(d.classes.combinations[1].classes[1], d.classes.combinations[1].classes[2]);
      },
      "classes of a combination out of order");
  refused([](ModelData& d) { std::swap(d.classes.combinations[0], d.classes.combinations[1]); },
          "out of order");
  refused([](ModelData& d) { d.shape.widths.clear(); }, "number of blocks");
  refused([](ModelData& d) { d.shape.widths[0].hidden = 1 << 20; }, "width of a block");
  refused([](ModelData& d) { d.shape.block = static_cast<BlockKind>(9); }, "unknown block kind");
  const auto with_build = [](float build_us) {
    return [build_us](ModelData& d) { d.classes.classes[2].entry.build_us = build_us; };
  };
  refused(with_build(-1), "building time");
  refused(with_build(std::numeric_limits<float>::infinity()), "building time");
  refused([](ModelData& d) { d.classes.classes[2].entry.workspace_bytes = -2; }, "workspace");
  refused([](ModelData& d) { d.info.sharpness = -1; }, "sharpness");
  refused([](ModelData& d) { d.info.sharpness = std::numeric_limits<float>::quiet_NaN(); },
          "sharpness");
  refused([](ModelData& d) { d.info.contexts.clear(); }, "no GPU");
  refused([](ModelData& d) { d.calibration.output_bias.pop_back(); }, "calibration");
  refused([](ModelData& d) { d.calibration.margin = std::numeric_limits<float>::infinity(); },
          "calibration");
  refused([](ModelData& d) { d.times.hidden2_weights.pop_back(); }, "time network");
  refused([](ModelData& d) { d.times.output_weights.push_back(0); }, "time network");
  refused([](ModelData& d) { d.times.output_bias = std::numeric_limits<float>::quiet_NaN(); },
          "time network");
}

BOOST_AUTO_TEST_CASE(unknown_workspace_and_building_time_of_a_class_are_accepted) {
  ModelData data = testing::fixed_ranking_model(2);
  data.classes.classes[0].entry.build_us = std::numeric_limits<float>::quiet_NaN();
  data.classes.classes[0].entry.workspace_bytes = -1;
  BOOST_TEST(reason(encode_model(data)) == "accepted");
}

BOOST_AUTO_TEST_CASE(a_file_that_cannot_be_read_names_itself) {
  const testing::TemporaryFolder folder;
  const auto absent = Predictor::load(folder.file("absent"));
  BOOST_REQUIRE(!absent.ok());
  BOOST_TEST((absent.error().code == core::ErrorCode::kUnavailable));
  BOOST_TEST(contains(absent.error().message, "absent"));
  const auto directory = Predictor::load(folder.file("."));
  BOOST_TEST(!directory.ok());
  std::ofstream(folder.file("empty")).flush();
  const auto empty = Predictor::load(folder.file("empty"));
  BOOST_REQUIRE(!empty.ok());
  BOOST_TEST((empty.error().code == core::ErrorCode::kCorrupt));
  BOOST_TEST(contains(empty.error().message, "empty: not a model file"));
}

BOOST_AUTO_TEST_CASE(writing_replaces_the_whole_file_or_nothing) {
  const testing::TemporaryFolder folder;
  BOOST_REQUIRE(write_model(testing::fixed_ranking_model(5), folder.file("m")).ok());
  BOOST_REQUIRE(write_model(testing::fixed_ranking_model(6), folder.file("m")).ok());
  BOOST_TEST(read_model(folder.file("m"))->info.classes == 6U);
  const auto failed = write_model(testing::fixed_ranking_model(5), folder.file("none/m"));
  BOOST_REQUIRE(!failed.ok());
  BOOST_TEST((failed.error().code == core::ErrorCode::kUnavailable));
  std::size_t files = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(folder.file("."))) {
    ++files;
  }
  BOOST_TEST(files == 1U);  // no temporary one stays
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace reformer::model
