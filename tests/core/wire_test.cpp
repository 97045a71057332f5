#include "core/wire.h"

#include "core/problem_text.h"

#include <boost/test/data/test_case.hpp>
#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>

namespace {

using namespace reformer::core;

using Bytes = std::vector<std::byte>;

EngineConfig engine_config(std::string_view text) {
  return parse_engine_config(text).value();
}

Problem problem(std::string_view text) {
  return parse_problem(text).value();
}

Decision measured_decision() {
  Decision decision{.source = Source::kMeasured, .confidence = 1, .model = "", .entries = {}};
  for (const char* text : {"57:2=1,5=3,14=5", "25", "0:0=7"}) {
    DecisionEntry entry;
    entry.config = engine_config(text);
    entry.numerical_notes = numerical_note::kTensorCore;
    entry.workspace_bytes = 1 << 20;
    entry.time_us = 12.5F;
    entry.build_us = 900;
    decision.entries.push_back(entry);
  }
  return decision;
}

wire::Query query() {
  wire::Query message;
  message.context_id = 3;
  message.constraints.max_workspace_bytes = 1 << 28;
  message.max_entries = 4;
  message.verify_miss = false;
  message.problems = {problem("fwd f16 nhwc n32 c64 h56 w56 k64 r3 s3 pad1"),
                      problem("wgrad f32 nchw n1 c8 h9 w7 k16 r1 s1")};
  return message;
}

wire::Report report() {
  wire::Report message;
  message.context_id = 1;
  message.passed_through = 7;
  message.failures = 1;
  message.last_failure = "a surprise";
  message.uses.push_back(
      {.key = {{1, 2, 3}}, .count = 9, .gpu_us = 4.5F, .config = engine_config("57:2=1")});
  message.uses.push_back({.key = {{9}}, .count = 1, .gpu_us = kNoTime, .config = EngineConfig(3)});
  return message;
}

std::vector<wire::Message> one_of_each() {
  wire::ContextMessage context;
  context.context = {.device = {"NVIDIA H200", 90, 132}, .cudnn_version = 91900};
  context.library = "/usr/lib/libcudnn.so.9";
  context.gpu = -1;
  return {wire::Hello{.pid = 42, .client = "libreformer 0.1.0", .program = "python3"},
          wire::Welcome{.server = "reformerd 0.1.0", .table_path = "/run/reformerd/table"},
          context,
          wire::ContextId{.id = 5},
          query(),
          wire::Answer{.decisions = {measured_decision(), Decision{}}},
          report(),
          wire::AdminRequest{.json = R"({"request":"status"})"},
          wire::AdminReply{.more = true, .json = "{}"},
          wire::ErrorMessage{.code = ErrorCode::kUnsupported, .message = "version 1 only"},
          wire::Ping{},
          wire::Pong{}};
}

Bytes encoded(const wire::Message& message, std::uint32_t request_id = 77) {
  Bytes bytes;
  wire::encode(message, request_id, bytes);
  return bytes;
}

std::span<const std::byte> payload_of(const Bytes& frame) {
  return std::span(frame).subspan(wire::kHeaderBytes);
}

wire::Header header_of(const Bytes& frame) {
  return wire::decode_header(frame).value().value();
}

// Decodes a frame, or says that it is none.
std::optional<wire::Message> decoded(const Bytes& frame) {
  const auto header = wire::decode_header(frame);
  if (!header.ok() || !header->has_value() ||
      (*header)->payload_bytes != frame.size() - wire::kHeaderBytes) {
    return std::nullopt;
  }
  auto message = wire::decode(**header, payload_of(frame));
  return message.ok() ? std::optional(std::move(message).value()) : std::nullopt;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(wire_test)

BOOST_AUTO_TEST_CASE(every_message_comes_back_as_the_same_bytes) {
  for (const wire::Message& message : one_of_each()) {
    const Bytes frame = encoded(message);
    const auto back = decoded(frame);
    BOOST_REQUIRE(back.has_value());
    BOOST_TEST(back->index() == message.index());
    BOOST_TEST((encoded(*back) == frame));
  }
}

BOOST_AUTO_TEST_CASE(the_header_says_type_request_and_length) {
  const Bytes frame = encoded(wire::ContextId{.id = 5}, 123);
  BOOST_TEST(std::memcmp(frame.data(), "REFM", 4) == 0);
  const wire::Header header = header_of(frame);
  BOOST_TEST(header.version == wire::kProtocolVersion);
  BOOST_TEST((header.type == wire::MessageType::kContextId));
  BOOST_TEST(header.request_id == 123U);
  BOOST_TEST(header.payload_bytes == 4U);
}

BOOST_AUTO_TEST_CASE(fields_survive) {
  const auto back = decoded(encoded(query()));
  const auto& message = std::get<wire::Query>(*back);
  BOOST_TEST(message.context_id == 3U);
  BOOST_TEST((message.constraints == query().constraints));
  BOOST_TEST(message.max_entries == 4);
  BOOST_TEST(!message.verify_miss);
  BOOST_TEST((message.problems == query().problems));

  const auto uses = std::get<wire::Report>(*decoded(encoded(report()))).uses;
  BOOST_TEST(uses.size() == 2U);
  BOOST_TEST((uses[0].config == engine_config("57:2=1")));
  BOOST_TEST(std::isnan(uses[1].gpu_us));

  const auto answer = std::get<wire::Answer>(*decoded(encoded(one_of_each()[5])));
  BOOST_TEST((answer.decisions[0].entries == measured_decision().entries));
  BOOST_TEST((answer.decisions[1].source == Source::kAbstain));
}

BOOST_AUTO_TEST_CASE(a_header_needs_all_its_bytes) {
  const Bytes frame = encoded(wire::Ping{});
  for (std::size_t size = 0; size < wire::kHeaderBytes; ++size) {
    const auto header = wire::decode_header(std::span(frame).first(size));
    BOOST_TEST(header.ok());
    BOOST_TEST(!header->has_value());
  }
}

BOOST_AUTO_TEST_CASE(another_protocol_is_corrupt_another_version_is_not) {
  Bytes frame = encoded(wire::Ping{});
  frame[4] = std::byte{9};
  BOOST_TEST(header_of(frame).version == 9);
  frame[0] = std::byte{'G'};
  BOOST_TEST((wire::decode_header(frame).error().code == ErrorCode::kCorrupt));
}

BOOST_AUTO_TEST_CASE(a_payload_over_the_bound_is_refused_by_its_header) {
  Bytes frame = encoded(wire::Ping{});
  const std::uint32_t length = wire::kMaxPayloadBytes + 1;
  std::memcpy(frame.data() + 12, &length, sizeof length);
  BOOST_TEST((wire::decode_header(frame).error().code == ErrorCode::kExhausted));
}

BOOST_AUTO_TEST_CASE(what_would_be_too_long_to_send_becomes_an_error_message) {
  const Bytes frame = encoded(wire::AdminReply{.json = std::string(wire::kMaxPayloadBytes, 'x')});
  const auto error = std::get<wire::ErrorMessage>(*decoded(frame));
  BOOST_TEST((error.code == ErrorCode::kExhausted));
  BOOST_TEST(header_of(frame).request_id == 77U);
}

BOOST_AUTO_TEST_CASE(encode_appends_and_frames_stream) {
  Bytes stream;
  for (const wire::Message& message : one_of_each()) {
    wire::encode(message, 1, stream);
  }
  std::size_t count = 0;
  for (std::span<const std::byte> rest = stream; !rest.empty(); ++count) {
    const auto header = wire::decode_header(rest);
    BOOST_REQUIRE(header->has_value());
    const std::uint32_t length = (*header)->payload_bytes;
    BOOST_TEST(wire::decode(**header, rest.subspan(wire::kHeaderBytes, length)).ok());
    rest = rest.subspan(wire::kHeaderBytes + length);
  }
  BOOST_TEST(count == one_of_each().size());
}

BOOST_AUTO_TEST_CASE(unknown_types_are_unsupported) {
  for (const int type : {0, 13, 65535}) {
    wire::Header header;
    header.type = static_cast<wire::MessageType>(type);
    BOOST_TEST((wire::decode(header, {}).error().code == ErrorCode::kUnsupported));
  }
}

BOOST_AUTO_TEST_CASE(long_texts_are_cut_by_the_sender) {
  const auto back =
      decoded(encoded(wire::Hello{.pid = 1, .client = "", .program = std::string(70'000, 'x')}));
  BOOST_TEST(std::get<wire::Hello>(*back).program.size() == 255U);
}

BOOST_AUTO_TEST_CASE(a_truncated_payload_is_refused_at_every_length) {
  for (const wire::Message& message : one_of_each()) {
    const Bytes frame = encoded(message);
    const wire::Header header = header_of(frame);
    const bool free_text =
        header.type == wire::MessageType::kAdmin || header.type == wire::MessageType::kAdminReply;
    for (std::size_t size = 0; size + 1 <= payload_of(frame).size(); ++size) {
      const bool accepted = wire::decode(header, payload_of(frame).first(size)).ok();
      BOOST_TEST((free_text || !accepted));
    }
  }
}

BOOST_AUTO_TEST_CASE(trailing_bytes_are_refused) {
  for (const wire::Message& message : one_of_each()) {
    Bytes frame = encoded(message);
    const wire::Header header = header_of(frame);
    if (header.type == wire::MessageType::kAdmin || header.type == wire::MessageType::kAdminReply) {
      continue;  // text up to the end
    }
    frame.push_back(std::byte{0});
    BOOST_TEST(!wire::decode(header, payload_of(frame)).ok());
  }
}

// What decodes after damage must be sane: encoding it again gives something that decodes to the
// same.
BOOST_AUTO_TEST_CASE(flipped_bits_never_crash_and_never_give_what_cannot_be_encoded) {
  for (const wire::Message& message : one_of_each()) {
    const Bytes frame = encoded(message);
    for (std::size_t bit = 0; bit < frame.size() * 8; ++bit) {
      Bytes damaged = frame;
      damaged[bit / 8] ^= std::byte(1U << (bit % 8));
      if (const auto back = decoded(damaged)) {
        const Bytes again = encoded(*back);
        const auto twice = decoded(again);
        BOOST_REQUIRE(twice.has_value());
        BOOST_TEST((encoded(*twice) == again));
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(random_bytes_never_crash) {
  std::mt19937 random(1);
  std::uniform_int_distribution<int> byte(0, 255);
  std::uniform_int_distribution<std::size_t> length(0, 700);
  for (int round = 0; round < 20'000; ++round) {
    Bytes payload(length(random));
    std::ranges::generate(payload, [&] { return std::byte(byte(random)); });
    wire::Header header;
    header.type = static_cast<wire::MessageType>(round % 14);
    (void)wire::decode(header, payload);
    (void)wire::decode_header(payload);
  }
}

BOOST_AUTO_TEST_CASE(counts_beyond_the_payload_reserve_nothing) {
  wire::Header header;
  header.type = wire::MessageType::kAnswer;
  const Bytes payload = {std::byte{0xff}, std::byte{0x03}};  // 1023 decisions, no bytes for any
  BOOST_TEST((wire::decode(header, payload).error().code == ErrorCode::kCorrupt));
}

BOOST_AUTO_TEST_CASE(problems_are_canonical_after_decoding_and_impossible_ones_are_refused) {
  wire::Query message = query();
  message.problems.resize(1);
  message.problems[0].x.alignment = 256;  // counts as kMaxAlignment
  const auto back = decoded(encoded(message));
  BOOST_REQUIRE(back.has_value());
  BOOST_TEST((std::get<wire::Query>(*back).problems[0] == query().problems[0]));

  message.problems[0].x.dims[0] = -1;
  BOOST_TEST(!decoded(encoded(message)).has_value());
}

BOOST_AUTO_TEST_CASE(impossible_constraints_are_refused) {
  wire::Query message = query();
  message.constraints.max_build_us = kNoTime;
  BOOST_TEST(!decoded(encoded(message)).has_value());
  message = query();
  message.constraints.max_workspace_bytes = -1;
  BOOST_TEST(!decoded(encoded(message)).has_value());
  message = query();
  message.max_entries = 0;
  BOOST_TEST(!decoded(encoded(message)).has_value());
  message.max_entries = kMaxDecisionEntries + 1;
  BOOST_TEST(!decoded(encoded(message)).has_value());
}

BOOST_AUTO_TEST_CASE(the_largest_query_fits) {
  wire::Query message = query();
  message.problems.resize(wire::kMaxProblemsPerQuery, message.problems[0]);
  const auto back = decoded(encoded(message));
  BOOST_REQUIRE(back.has_value());
  BOOST_TEST(std::get<wire::Query>(*back).problems.size() == wire::kMaxProblemsPerQuery);
  message.problems.push_back(message.problems[0]);
  BOOST_TEST(!decoded(encoded(message)).has_value());
}

BOOST_AUTO_TEST_SUITE_END()
