// Every parser of bytes from outside, under mutations of valid inputs, for as many seconds as it is
// told. It finds what crashes, hangs or, built with a sanitizer, goes out of bounds.
//
//   fuzz_parsers [SECONDS [SEED]]
#include "core/codec.h"
#include "core/problem_text.h"
#include "core/shared_table.h"
#include "core/wire.h"
#include "daemon/config.h"
#include "interchange/measurements.h"
#include "model/model_file.h"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace {

using namespace reformer;
using Bytes = std::vector<std::byte>;

std::string_view text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}
Bytes bytes_of(std::string_view text) {
  const auto span = std::as_bytes(std::span(text));
  return {span.begin(), span.end()};
}

void wire_frames(std::span<const std::byte> bytes) {
  const auto header = core::wire::decode_header(bytes);
  if (header && *header && bytes.size() >= core::wire::kHeaderBytes) {
    const auto payload = bytes.subspan(core::wire::kHeaderBytes);
    (void)core::wire::decode(**header, payload);
    (void)core::wire::plain_query(payload);
  }
}
void shared_table(std::span<const std::byte> bytes) {
  std::vector<std::uint64_t> aligned(bytes.size() / 8 + 1);
  std::memcpy(aligned.data(), bytes.data(), bytes.size());
  const auto view =
      core::shared_table::View::open(std::as_bytes(std::span(aligned)).first(bytes.size()));
  for (std::uint8_t key = 1; view && key < 16; ++key) {
    (void)view->find(core::KeyHash{{key}});
  }
}
void model_file(std::span<const std::byte> bytes) {
  (void)model::decode_model(bytes);
}
void json_line(std::span<const std::byte> bytes) {
  (void)interchange::record_from_json(std::string(text_of(bytes)));
}
void toml(std::span<const std::byte> bytes) {
  daemon::Config config;
  if (daemon::apply_toml(text_of(bytes), "fuzz", config)) {
    (void)daemon::check(config);
  }
}
// What is accepted must come out again as the same problem.
void problem_text(std::span<const std::byte> bytes) {
  const auto problem = core::parse_problem(text_of(bytes));
  if (problem) {
    const auto again = core::parse_problem(core::format_problem(*problem));
    if (!again || !(*again == *problem)) {
      std::abort();
    }
  }
}
void record(std::span<const std::byte> bytes) {
  core::ByteReader in(bytes);
  core::Record decoded;
  (void)core::decode(in, decoded);
}

struct Parser {
  const char* name;
  void (*parse)(std::span<const std::byte>);
};
constexpr Parser kParsers[] = {{"wire", wire_frames},
                               {"shared_table", shared_table},
                               {"model_file", model_file},
                               {"json_line", json_line},
                               {"toml", toml},
                               {"problem_text", problem_text},
                               {"record", record}};

Bytes file(const char* path) {
  std::ifstream in(path, std::ios::binary);
  return bytes_of(std::string{std::istreambuf_iterator<char>(in), {}});
}

// Valid inputs of each parser, in the order of kParsers.
std::vector<std::vector<Bytes>> seeds() {
  const std::string text = "fwd f16 nhwc n32 c64 h56 w56 k64 r3 s3 pad1";
  const core::Problem problem = core::parse_problem(text).value();
  core::Decision decision;
  decision.source = core::Source::kMeasured;
  decision.entries.resize(3);
  std::vector<Bytes> frames;
  core::wire::Query query;
  query.max_entries = 16;
  query.problems = {problem, problem};
  const auto add = [&frames](const core::wire::Message& message) {
    core::wire::encode(message, 7, frames.emplace_back());
  };
  add(core::wire::Hello{1, "client", "program"});
  add(query);
  add(core::wire::Answer{{decision}});
  core::wire::ContextMessage context;
  context.context.device = {"NVIDIA H200", 90, 132};
  context.context.cudnn_version = 91900;
  context.library = "/lib";
  add(context);
  add(core::wire::Report{0, 1, 2, "why", {{core::KeyHash{{1}}, 3, 1.5F, {}}}});
  add(core::wire::ErrorMessage{core::ErrorCode::kDenied, "no"});
  Bytes table(core::shared_table::table_bytes(16, 4096));
  core::shared_table::Writer writer(table, 16, 4096, 1);
  for (std::uint8_t key = 1; key < 8; ++key) {
    (void)writer.put(core::KeyHash{{key}}, decision);
  }
  core::Record measured;
  measured.key = {context.context, problem};
  measured.candidates.resize(4);
  Bytes encoded;
  core::ByteWriter out(encoded);
  core::encode(out, measured);
  return {frames,
          {table},
          {file(REFORMER_SOURCE_DIR "/data/h200.reformer")},
          {bytes_of(interchange::record_to_json(measured))},
          {file(REFORMER_SOURCE_DIR "/daemon/reformerd.toml"), bytes_of("max_clients = 3\n")},
          {bytes_of(text), bytes_of(core::format_problem(problem))},
          {encoded}};
}

void mutate(Bytes& bytes, std::mt19937_64& random) {
  for (auto changes = 1 + random() % 4; changes > 0 && !bytes.empty(); --changes) {
    const std::size_t at = random() % bytes.size();
    switch (random() % 5) {
      case 0:
        bytes[at] ^= static_cast<std::byte>(1U << (random() % 8));
        break;
      case 1:
        bytes[at] = static_cast<std::byte>(random());
        break;
      case 2:
        bytes.resize(at);
        break;
      case 3:
        bytes.insert(bytes.begin() + static_cast<std::ptrdiff_t>(at),
                     bytes[random() % bytes.size()]);
        break;
      default:
        bytes[at] = random() % 2 == 0 ? std::byte{0xff} : std::byte{0};
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  const double seconds = argc > 1 ? std::atof(argv[1]) : 3;
  std::mt19937_64 random(argc > 2 ? static_cast<unsigned>(std::atoi(argv[2])) : 1);
  const auto valid = seeds();
  std::size_t which = 0;
  for (const Parser& parser : kParsers) {
    using Clock = std::chrono::steady_clock;
    const auto end = Clock::now() + std::chrono::duration<double>(seconds / std::size(kParsers));
    std::uint64_t inputs = 0;
    for (const Bytes& seed : valid[which]) {
      parser.parse(seed);
    }
    for (; Clock::now() < end; ++inputs) {
      Bytes bytes = valid[which][random() % valid[which].size()];
      mutate(bytes, random);
      parser.parse(bytes);
    }
    std::printf("%s: %llu inputs\n", parser.name, static_cast<unsigned long long>(inputs));
    ++which;
  }
}
