#include "core/codec.h"

#include "core/engine_config.h"
#include "core/problem_text.h"

#include <boost/test/unit_test.hpp>

namespace {

using namespace reformer::core;

EngineConfig config(std::string_view text) {
  return *parse_engine_config(text);
}

Record sample_record() {
  Record record;
  record.key.context = Context{{"NVIDIA H200", 90, 132}, 91900};
  record.key.problem = *parse_problem("wgrad bf16 ndhwc n2 c8 d4 h9 w9 k8 t3 r3 s3 pad1");
  record.heuristic_a_us = 2500;
  record.provenance = {1700000000, "/usr/lib/libcudnn.so.9", "worker", 1980, 41, 0, true};
  Candidate candidate;
  candidate.config = config("57:2=1,5=3,14=5");
  candidate.rank_a = 0;
  candidate.rank_fallback = 3;
  candidate.timing = Timing::kGraphMedian;
  candidate.samples = 7;
  candidate.numerical_notes = numerical_note::kTensorCore;
  candidate.workspace_bytes = 712720;
  candidate.build_us = 4.3f;
  candidate.time_us = 18.073f;
  candidate.spread = 0.0142f;
  record.candidates.push_back(candidate);
  Candidate failed;
  failed.config = config("25");
  failed.status = "workspace_over_4GiB";
  record.candidates.push_back(failed);
  return record;
}

std::vector<std::byte> encoded(const Record& record) {
  std::vector<std::byte> bytes;
  ByteWriter writer(bytes);
  encode(writer, record);
  return bytes;
}

bool decodes(std::span<const std::byte> bytes, Record& record) {
  ByteReader reader(bytes);
  return decode(reader, record) && reader.at_end();
}

}  // namespace

BOOST_AUTO_TEST_SUITE(codec)

BOOST_AUTO_TEST_CASE(a_record_survives) {
  const Record record = sample_record();
  Record back;
  BOOST_REQUIRE(decodes(encoded(record), back));
  BOOST_TEST((back.key == record.key));
  BOOST_TEST((back.provenance == record.provenance));
  BOOST_REQUIRE(back.candidates.size() == 2u);
  BOOST_TEST((back.candidates[0] == record.candidates[0]));
  BOOST_TEST(back.candidates[1].status == "workspace_over_4GiB");
  BOOST_TEST(!back.candidates[1].timed());
  BOOST_TEST(back.heuristic_a_us == 2500);
}

BOOST_AUTO_TEST_CASE(no_truncation_decodes) {
  const std::vector<std::byte> bytes = encoded(sample_record());
  for (std::size_t length = 0; length < bytes.size(); ++length) {
    Record record;
    BOOST_TEST(!decodes(std::span(bytes).first(length), record), length);
  }
}

BOOST_AUTO_TEST_CASE(no_altered_byte_makes_an_insane_record) {
  std::vector<std::byte> bytes = encoded(sample_record());
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    for (const int flip : {1, 16, 128, 255}) {
      bytes[i] ^= static_cast<std::byte>(flip);
      Record record;
      if (decodes(bytes, record)) {
        BOOST_TEST(canonicalise(record.key.problem).ok());
        BOOST_TEST(record.candidates.size() <= kMaxCandidates);
      }
      bytes[i] ^= static_cast<std::byte>(flip);
    }
  }
}

BOOST_AUTO_TEST_CASE(a_decision_survives) {
  Decision decision;
  decision.source = Source::kPredicted;
  decision.confidence = 0.7f;
  decision.model = "gamma3";
  decision.entries.push_back({.config = config("57:2=1,5=3"), .workspace_bytes = -1});
  std::vector<std::byte> bytes;
  ByteWriter writer(bytes);
  encode(writer, decision);
  Decision back;
  ByteReader reader(bytes);
  BOOST_REQUIRE(decode(reader, back));
  BOOST_TEST(reader.at_end());
  BOOST_TEST(back.model == "gamma3");
  BOOST_TEST((back.entries[0].config == decision.entries[0].config));
}

BOOST_AUTO_TEST_CASE(varints_of_every_size_survive_and_over_long_ones_do_not) {
  for (int shift = 0; shift < 64; ++shift) {
    for (const std::int64_t sign : {1, -1}) {
      const std::int64_t value = sign * static_cast<std::int64_t>((std::uint64_t{1} << shift) - 1);
      std::vector<std::byte> bytes;
      ByteWriter writer(bytes);
      writer.zigzag(value);
      ByteReader reader(bytes);
      BOOST_TEST(reader.zigzag() == value);
      BOOST_TEST(reader.at_end());
    }
  }
  const std::vector<std::byte> endless(11, std::byte{0xff});
  ByteReader reader(endless);
  (void)reader.varint();
  BOOST_TEST(!reader.ok());
}

BOOST_AUTO_TEST_CASE(knobs_out_of_order_twice_or_too_many_do_not_decode) {
  const auto decodes = [](const std::vector<int>& types) {
    std::vector<std::byte> bytes;
    ByteWriter out(bytes);
    out.zigzag(57);
    out.u8(static_cast<std::uint8_t>(types.size()));
    for (const int type : types) {
      out.zigzag(type);
      out.zigzag(1);
    }
    ByteReader in(bytes);
    EngineConfig made(3);  // what was there before leaves nothing behind
    (void)made.add_knob({40, 4});
    return decode(in, made) && in.at_end() && made.knobs().size() == types.size() &&
           made.engine() == 57;
  };
  BOOST_TEST(decodes({}));
  BOOST_TEST(decodes({0, 2, 5}));
  BOOST_TEST(!decodes({2, 0}));
  BOOST_TEST(!decodes({2, 2}));
  BOOST_TEST(!decodes({-1}));
  BOOST_TEST(decodes({0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}));
  BOOST_TEST(!decodes({0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}));
}

BOOST_AUTO_TEST_CASE(configurations_parse_back_and_wrong_ones_are_refused) {
  for (const std::string text : {"25", "57:2=1,5=3,14=5", "0:0=0"}) {
    BOOST_TEST(format_engine_config(config(text)) == text);
  }
  for (const std::string_view text : {"",
                                      "x",
                                      "-1",
                                      "57:",
                                      "57:2",
                                      "57:2=1,",
                                      "57:5=1,2=3",
                                      "57:2=1,2=1",
                                      "57:-2=1",
                                      "57 ",
                                      "99999999999"}) {
    BOOST_TEST(!parse_engine_config(text).ok(), text);
  }
}

BOOST_AUTO_TEST_CASE(device_properties_of_an_h200_make_its_fingerprint) {
  const auto device = device_from_properties_json(
      R"({"multiProcessorCount":132,"deviceVer":900,"deviceName":"NVIDIA H200"})");
  BOOST_REQUIRE(device.ok());
  BOOST_TEST(format_device(*device) == "NVIDIA H200/sm90/132");
  BOOST_TEST((*parse_device("NVIDIA H200/sm90/132") == *device));
  for (const std::string_view text :
       {"",
        "{}",
        R"({"deviceName":"x"})",
        R"({"deviceName":)",
        R"({"multiProcessorCount":-1,"deviceVer":900,"deviceName":"x"})"}) {
    BOOST_TEST(!device_from_properties_json(text).ok(), text);
  }
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_AUTO_TEST_SUITE(engine_config_text)

BOOST_AUTO_TEST_CASE(a_negative_knob_value_comes_back) {
  const std::string text = "40:2=14,6=1,12=-1,13=1";
  const auto config = reformer::core::parse_engine_config(text);
  BOOST_TEST_REQUIRE(static_cast<bool>(config));
  BOOST_TEST(config->knobs()[2].value == -1);
  BOOST_TEST(reformer::core::format_engine_config(*config) == text);
}

BOOST_AUTO_TEST_CASE(negative_engines_and_knob_types_and_minus_zero_are_refused) {
  for (const char* text : {"-1:2=1", "1:-2=1", "1:2=-0", "1:2=-", "1:2=--1"}) {
    BOOST_TEST(!reformer::core::parse_engine_config(text), text);
  }
}

BOOST_AUTO_TEST_SUITE_END()
