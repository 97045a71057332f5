#pragma once

#include "core/decision.h"
#include "core/key.h"
#include "core/problem.h"
#include "core/result.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

// The messages between clients and reformerd, over a Unix stream socket. docs/protocol.md is the
// specification; this is its implementation, shared by both sides. All integers are little-endian.
namespace reformer::core::wire {

inline constexpr std::uint32_t kMagic = 0x4d464552;  // "REFM" as bytes
inline constexpr std::uint16_t kProtocolVersion = 1;
inline constexpr std::size_t kHeaderBytes = 16;
// The largest payload a peer may send; a longer one ends the connection.
inline constexpr std::uint32_t kMaxPayloadBytes = 1u << 20;
inline constexpr std::size_t kMaxProblemsPerQuery = 1024;
inline constexpr std::size_t kMaxUsesPerReport = 4096;

enum class MessageType : std::uint16_t {
  kHello = 1,    // client: who am I
  kWelcome = 2,  // daemon: who is there, where the shared table is
  kContext = 3,  // client: GPU, cuDNN version and library from now on
  kContextId = 4,
  kQuery = 5,
  kAnswer = 6,
  kReport = 7,  // client: uses and in-application times; not answered
  kAdmin = 8,   // one JSON request; docs/protocol.md lists them
  kAdminReply = 9,
  kError = 10,
  kPing = 11,
  kPong = 12,
};

struct Header {
  std::uint32_t magic = kMagic;
  std::uint16_t version = kProtocolVersion;
  MessageType type = MessageType::kError;
  std::uint32_t request_id = 0;  // chosen by the client, repeated in the reply
  std::uint32_t payload_bytes = 0;
};

struct Hello {
  std::uint32_t pid = 0;
  std::string client;   // "libreformer 0.1.0"
  std::string program;  // what runs: "python3"
};
struct Welcome {
  std::string server;      // "reformerd 0.1.0"
  std::string table_path;  // shared-memory table; empty: none
};
struct ContextMessage {
  Context context;
  std::string library;   // path of the cuDNN library that the client uses; empty unknown
  std::int32_t gpu = 0;  // ordinal of the GPU on the host; -1 none (device properties only)
};
struct ContextId {
  std::uint32_t id = 0;  // valid on this connection
};
struct Query {
  std::uint32_t context_id = 0;
  Constraints constraints;
  std::uint16_t max_entries = 8;
  // Whether a miss is to be verified later; "replay" clients ask without leaving work behind.
  bool verify_miss = true;
  std::vector<Problem> problems;  // canonical
};
struct Answer {
  std::vector<Decision> decisions;  // one a problem, same order
};
struct Use {
  KeyHash key;
  std::uint32_t count = 0;  // executions since the last report
  float gpu_us = kNoTime;   // median in-application GPU time of the served plan; NaN not sampled
  EngineConfig config;      // what ran
};
struct Report {
  std::uint32_t context_id = 0;
  std::uint64_t passed_through = 0;  // decisions left to cuDNN since the last report
  std::uint64_t failures = 0;        // surprises: the shim stepped aside
  std::string last_failure;
  std::vector<Use> uses;
};
struct AdminRequest {
  std::string json;
};
// A long reply comes in pieces with the same request_id; the last has more == false.
struct AdminReply {
  bool more = false;
  std::string json;
};
struct ErrorMessage {
  ErrorCode code = ErrorCode::kInternal;
  std::string message;
};
struct Ping {};
struct Pong {};

using Message = std::variant<Hello,
                             Welcome,
                             ContextMessage,
                             ContextId,
                             Query,
                             Answer,
                             Report,
                             AdminRequest,
                             AdminReply,
                             ErrorMessage,
                             Ping,
                             Pong>;

// A whole frame, header included, appended to `out`.
void encode(const Message& message, std::uint32_t request_id, std::vector<std::byte>& out);

// Reads a header. Empty: fewer than kHeaderBytes bytes so far. Errors: kCorrupt (not this
// protocol), kExhausted (payload too long). A foreign version is not an error here: the caller
// answers it with an Error message in its own version and closes.
[[nodiscard]] Lookup<Header> decode_header(std::span<const std::byte> bytes);

// The payload of a Query into `query`, whose memory is used again. False: does not decode.
[[nodiscard]] bool decode_query(std::span<const std::byte> payload, Query& query);

// A query that wants whatever is best, with the bytes of its problems as they came: enough to look
// them up, because what is not canonical has a hash that nothing stands under. Absent: any other
// query, or none.
struct PlainQuery {
  std::uint32_t context_id = 0;
  std::span<const std::byte> problems;  // each sizeof(Problem) bytes
};
[[nodiscard]] std::optional<PlainQuery> plain_query(std::span<const std::byte> payload);

// Begins the frame of an Answer at the end of `out`, to which as many encoded decisions are then
// appended; end_answer() makes it whole. `start` is where it began.
void begin_answer(std::uint32_t request_id, std::uint16_t decisions, std::vector<std::byte>& out);
void end_answer(std::size_t start, std::vector<std::byte>& out);

// Decodes the payload that follows `header`. Every length, count and enumeration is checked,
// problems are canonicalised, trailing bytes are refused. Errors: kCorrupt, kUnsupported (unknown
// type).
[[nodiscard]] Result<Message> decode(const Header& header, std::span<const std::byte> payload);

}  // namespace reformer::core::wire
