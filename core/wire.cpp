#include "core/wire.h"

#include "core/byte_io.h"
#include "core/codec.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <type_traits>
#include <utility>

namespace reformer::core::wire {
namespace {

// Longest texts of each kind. A sender cuts what is longer, a receiver refuses it.
constexpr std::size_t kMaxNameBytes = 255;
constexpr std::size_t kMaxPathBytes = 4096;
constexpr std::size_t kMaxReasonBytes = 1024;

void put_text(ByteWriter& out, std::string_view text, std::size_t limit) {
  out.text(text.substr(0, limit));
}

void put(ByteWriter& out, const Hello& hello) {
  out.u32(hello.pid);
  put_text(out, hello.client, kMaxNameBytes);
  put_text(out, hello.program, kMaxNameBytes);
}

void put(ByteWriter& out, const Welcome& welcome) {
  put_text(out, welcome.server, kMaxNameBytes);
  put_text(out, welcome.table_path, kMaxPathBytes);
}

void put(ByteWriter& out, const ContextMessage& message) {
  encode(out, message.context);
  put_text(out, message.library, kMaxPathBytes);
  out.i32(message.gpu);
}

void put(ByteWriter& out, const ContextId& message) {
  out.u32(message.id);
}

void put(ByteWriter& out, const Constraints& constraints) {
  out.u32(constraints.forbidden_numerical_notes);
  out.u32(constraints.forbidden_behavior_notes);
  out.i64(constraints.max_workspace_bytes);
  out.f32(constraints.max_build_us);
}

void put(ByteWriter& out, const Query& query) {
  out.u32(query.context_id);
  put(out, query.constraints);
  out.u16(query.max_entries);
  out.u8(query.verify_miss ? 1 : 0);
  out.u16(static_cast<std::uint16_t>(query.problems.size()));
  for (const Problem& problem : query.problems) {
    encode(out, problem);
  }
}

void put(ByteWriter& out, const Answer& answer) {
  out.u16(static_cast<std::uint16_t>(answer.decisions.size()));
  for (const Decision& decision : answer.decisions) {
    encode(out, decision);
  }
}

void put(ByteWriter& out, const Report& report) {
  out.u32(report.context_id);
  out.u64(report.passed_through);
  out.u64(report.failures);
  put_text(out, report.last_failure, kMaxReasonBytes);
  out.u16(static_cast<std::uint16_t>(report.uses.size()));
  for (const Use& use : report.uses) {
    out.bytes(std::as_bytes(std::span(use.key.bytes)));
    out.u32(use.count);
    out.f32(use.gpu_us);
    encode(out, use.config);
  }
}

void put(ByteWriter& out, const AdminRequest& request) {
  out.bytes(std::as_bytes(std::span(request.json)));
}

void put(ByteWriter& out, const AdminReply& reply) {
  out.u8(reply.more ? 1 : 0);
  out.bytes(std::as_bytes(std::span(reply.json)));
}

void put(ByteWriter& out, const ErrorMessage& error) {
  out.u8(static_cast<std::uint8_t>(error.code));
  put_text(out, error.message, kMaxReasonBytes);
}

void put(ByteWriter&, const Ping&) {}
void put(ByteWriter&, const Pong&) {}

bool get_bool(ByteReader& in, bool& value) {
  const std::uint8_t byte = in.u8();
  value = byte == 1;
  return in.ok() && byte <= 1;
}

bool get(ByteReader& in, Hello& hello) {
  hello.pid = in.u32();
  return in.text(kMaxNameBytes, hello.client) && in.text(kMaxNameBytes, hello.program);
}

bool get(ByteReader& in, Welcome& welcome) {
  return in.text(kMaxNameBytes, welcome.server) && in.text(kMaxPathBytes, welcome.table_path);
}

bool get(ByteReader& in, ContextMessage& message) {
  if (!decode(in, message.context) || !in.text(kMaxPathBytes, message.library)) {
    return false;
  }
  message.gpu = in.i32();
  return in.ok() && message.gpu >= -1;
}

bool get(ByteReader& in, ContextId& message) {
  message.id = in.u32();
  return in.ok();
}

bool get(ByteReader& in, Constraints& constraints) {
  constraints.forbidden_numerical_notes = in.u32();
  constraints.forbidden_behavior_notes = in.u32();
  constraints.max_workspace_bytes = in.i64();
  constraints.max_build_us = in.f32();
  return in.ok() && constraints.max_workspace_bytes >= 0 && constraints.max_build_us >= 0;
}

bool get(ByteReader& in, Query& query) {
  query.context_id = in.u32();
  if (!get(in, query.constraints)) {
    return false;
  }
  query.max_entries = in.u16();
  if (!get_bool(in, query.verify_miss)) {
    return false;
  }
  const std::size_t count = in.u16();
  if (!in.ok() || query.max_entries == 0 || query.max_entries > kMaxDecisionEntries ||
      count > kMaxProblemsPerQuery || in.remaining() != count * sizeof(Problem)) {
    return false;
  }
  query.problems.resize(count);
  return std::ranges::all_of(query.problems, [&](Problem& problem) { return decode(in, problem); });
}

bool get(ByteReader& in, Answer& answer) {
  const std::size_t count = in.u16();
  if (!in.ok() || count > kMaxProblemsPerQuery || count > in.remaining()) {
    return false;
  }
  answer.decisions.resize(count);
  return std::ranges::all_of(answer.decisions,
                             [&](Decision& decision) { return decode(in, decision); });
}

bool get(ByteReader& in, Use& use) {
  in.bytes(std::as_writable_bytes(std::span(use.key.bytes)));
  use.count = in.u32();
  use.gpu_us = in.f32();
  const bool sane_time = std::isnan(use.gpu_us) || (std::isfinite(use.gpu_us) && use.gpu_us > 0);
  return in.ok() && sane_time && decode(in, use.config);
}

bool get(ByteReader& in, Report& report) {
  report.context_id = in.u32();
  report.passed_through = in.u64();
  report.failures = in.u64();
  if (!in.text(kMaxReasonBytes, report.last_failure)) {
    return false;
  }
  const std::size_t count = in.u16();
  if (!in.ok() || count > kMaxUsesPerReport || count > in.remaining() / sizeof(KeyHash)) {
    return false;
  }
  report.uses.resize(count);
  return std::ranges::all_of(report.uses, [&](Use& use) { return get(in, use); });
}

bool get_rest(ByteReader& in, std::string& text) {
  text.resize(in.remaining());
  in.bytes(std::as_writable_bytes(std::span(text)));
  return in.ok();
}

bool get(ByteReader& in, AdminRequest& request) {
  return get_rest(in, request.json);
}

bool get(ByteReader& in, AdminReply& reply) {
  return get_bool(in, reply.more) && get_rest(in, reply.json);
}

bool get(ByteReader& in, ErrorMessage& error) {
  const std::uint8_t code = in.u8();
  error.code = static_cast<ErrorCode>(code);
  return in.ok() && code <= static_cast<std::uint8_t>(ErrorCode::kNotFound) &&
         in.text(kMaxReasonBytes, error.message);
}

bool get(ByteReader&, Ping&) {
  return true;
}
bool get(ByteReader&, Pong&) {
  return true;
}

template <typename T>
Result<Message> decode_as(std::span<const std::byte> payload) {
  ByteReader in(payload);
  T message;
  if (!get(in, message) || in.remaining() != 0) {
    return make_error(ErrorCode::kCorrupt, "message does not decode");
  }
  return Message(std::move(message));
}

// The enumeration lists the messages in the variant's order, from 1.
MessageType type_of(const Message& message) {
  return static_cast<MessageType>(message.index() + 1);
}
static_assert(std::is_same_v<std::variant_alternative_t<0, Message>, Hello>);
static_assert(std::variant_size_v<Message> == static_cast<std::size_t>(MessageType::kPong));

void put_header(ByteWriter& out, MessageType type, std::uint32_t request_id, std::size_t payload) {
  struct {
    std::uint32_t magic = kMagic;
    std::uint16_t version = kProtocolVersion;
    std::uint16_t type = 0;
    std::uint32_t request_id = 0;
    std::uint32_t payload_bytes = 0;
  } const header{.type = static_cast<std::uint16_t>(type),
                 .request_id = request_id,
                 .payload_bytes = static_cast<std::uint32_t>(payload)};
  static_assert(sizeof header == kHeaderBytes);
  out.bytes(std::as_bytes(std::span(&header, 1)));
}

const ErrorMessage kTooLong{ErrorCode::kExhausted,
                            "the message would be longer than a peer accepts"};

}  // namespace

void encode(const Message& message, std::uint32_t request_id, std::vector<std::byte>& out) {
  const std::size_t start = out.size();
  ByteWriter writer(out);
  put_header(writer, type_of(message), request_id, 0);
  std::visit([&writer](const auto& alternative) { put(writer, alternative); }, message);
  const std::size_t payload = out.size() - start - kHeaderBytes;
  if (payload > kMaxPayloadBytes) {
    out.resize(start);
    encode(kTooLong, request_id, out);
    return;
  }
  const auto length = static_cast<std::uint32_t>(payload);
  std::memcpy(out.data() + start + kHeaderBytes - sizeof length, &length, sizeof length);
}

bool decode_query(std::span<const std::byte> payload, Query& query) {
  ByteReader in(payload);
  return get(in, query) && in.remaining() == 0;
}

std::optional<PlainQuery> plain_query(std::span<const std::byte> payload) {
  // Context, constraints, entries, whether to measure misses, count: see put().
  constexpr std::size_t kFixedBytes = 4 + 20 + 2 + 1 + 2;
  static const std::vector<std::byte> plain = [] {
    std::vector<std::byte> bytes;
    ByteWriter out(bytes);
    put(out, Constraints{});
    out.u16(kMaxDecisionEntries);
    return bytes;
  }();
  if (payload.size() < kFixedBytes ||
      std::memcmp(payload.data() + 4, plain.data(), plain.size()) != 0) {
    return std::nullopt;
  }
  ByteReader in(payload);
  PlainQuery query;
  query.context_id = in.u32();
  ByteReader rest(payload.subspan(4 + plain.size()));
  const std::uint8_t verify = rest.u8();
  const std::size_t count = rest.u16();
  if (verify > 1 || count > kMaxProblemsPerQuery || rest.remaining() != count * sizeof(Problem)) {
    return std::nullopt;
  }
  query.problems = payload.subspan(kFixedBytes);
  return query;
}

void begin_answer(std::uint32_t request_id, std::uint16_t decisions, std::vector<std::byte>& out) {
  ByteWriter writer(out);
  put_header(writer, MessageType::kAnswer, request_id, 0);
  writer.u16(decisions);
}

void end_answer(std::size_t start, std::vector<std::byte>& out) {
  const auto length = static_cast<std::uint32_t>(out.size() - start - kHeaderBytes);
  std::memcpy(out.data() + start + kHeaderBytes - sizeof length, &length, sizeof length);
}

Lookup<Header> decode_header(std::span<const std::byte> bytes) {
  if (bytes.size() < kHeaderBytes) {
    return std::optional<Header>();
  }
  ByteReader in(bytes.first(kHeaderBytes));
  Header header;
  header.magic = in.u32();
  header.version = in.u16();
  header.type = static_cast<MessageType>(in.u16());
  header.request_id = in.u32();
  header.payload_bytes = in.u32();
  if (header.magic != kMagic) {
    return make_error(ErrorCode::kCorrupt, "not the reformer protocol");
  }
  if (header.payload_bytes > kMaxPayloadBytes) {
    return make_error(ErrorCode::kExhausted, "message longer than 1 MiB");
  }
  return std::optional(header);
}

Result<Message> decode(const Header& header, std::span<const std::byte> payload) {
  switch (header.type) {
    case MessageType::kHello:
      return decode_as<Hello>(payload);
    case MessageType::kWelcome:
      return decode_as<Welcome>(payload);
    case MessageType::kContext:
      return decode_as<ContextMessage>(payload);
    case MessageType::kContextId:
      return decode_as<ContextId>(payload);
    case MessageType::kQuery:
      return decode_as<Query>(payload);
    case MessageType::kAnswer:
      return decode_as<Answer>(payload);
    case MessageType::kReport:
      return decode_as<Report>(payload);
    case MessageType::kAdmin:
      return decode_as<AdminRequest>(payload);
    case MessageType::kAdminReply:
      return decode_as<AdminReply>(payload);
    case MessageType::kError:
      return decode_as<ErrorMessage>(payload);
    case MessageType::kPing:
      return decode_as<Ping>(payload);
    case MessageType::kPong:
      return decode_as<Pong>(payload);
  }
  return make_error(ErrorCode::kUnsupported,
                    "unknown message type " + std::to_string(static_cast<int>(header.type)));
}

}  // namespace reformer::core::wire
