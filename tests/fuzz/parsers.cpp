#include "tests/fuzz/parsers.h"

#include "core/codec.h"
#include "core/problem_text.h"
#include "core/shared_table.h"
#include "core/wire.h"
#include "daemon/config.h"
#include "interchange/measurements.h"
#include "model/features.h"
#include "model/model_file.h"
#include "storage/crc32c.h"
#include "storage/log_file.h"
#include "storage/record_codec.h"
#include "storage/table_file.h"
#include "tests/model/sample_model.h"

#include <xxhash.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>

namespace reformer::fuzz {
namespace {

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
// Sums keep out accidents, not attackers, who can compute them: so inputs are parsed as they are,
// and once more with all sums right.
void put_number(std::span<std::byte> bytes, std::size_t at, std::uint64_t value, std::size_t size) {
  if (at + size <= bytes.size()) {
    std::memcpy(&bytes[at], &value, size);
  }
}

void open_table(std::span<const std::byte> bytes, std::span<const core::KeyHash> keys) {
  const auto view = core::shared_table::View::open(bytes);
  for (std::size_t i = 0; view && i < keys.size(); ++i) {
    (void)view->find(keys[i]);
  }
}
void shared_table(std::span<const std::byte> bytes) {
  std::vector<std::uint64_t> words(bytes.size() / 8 + 1);
  const auto aligned = std::as_writable_bytes(std::span(words)).first(bytes.size());
  std::copy(bytes.begin(), bytes.end(), aligned.begin());
  std::vector<core::KeyHash> keys(1, core::KeyHash{{1}});
  open_table(aligned, keys);
  core::shared_table::TableHeader header{};
  if (bytes.size() < core::shared_table::kHeaderBytes) {
    return;
  }
  std::memcpy(&header, bytes.data(), sizeof header);
  const std::size_t heap = core::shared_table::kHeaderBytes +
                           std::size_t{header.slot_count} * core::shared_table::kSlotBytes;
  for (std::size_t i = 0; i < std::min<std::size_t>(header.slot_count, 64); ++i) {
    const std::size_t at = core::shared_table::kHeaderBytes + i * core::shared_table::kSlotBytes;
    core::shared_table::Slot slot{};
    if (at + sizeof slot > bytes.size()) {
      break;
    }
    std::memcpy(&slot, &bytes[at], sizeof slot);
    std::memcpy(keys.emplace_back().bytes.data(), slot.key, sizeof slot.key);
    if (heap <= bytes.size() && slot.offset <= bytes.size() - heap && slot.length >= 24 &&
        slot.length <= bytes.size() - heap - slot.offset) {
      const auto entry = aligned.subspan(heap + slot.offset, slot.length);
      std::memcpy(&entry[8], slot.key, sizeof slot.key);
      put_number(entry, 0, XXH3_64bits(&entry[8], entry.size() - 8), 8);
    }
  }
  open_table(aligned, keys);
}

// Of at least a header.
Bytes sealed_model(std::span<const std::byte> bytes) {
  Bytes whole(bytes.begin(), bytes.end());
  const std::uint64_t magic_and_version[] = {0x1a4c45444f4d4652, model::kModelFormatVersion};
  std::memcpy(whole.data(), magic_and_version, 16);
  put_number(whole, 16, model::feature_schema_hash(), 8);
  put_number(whole, 24, whole.size() - model::kModelHeaderBytes, 8);
  Bytes covered(whole.begin(), whole.begin() + 32);
  covered.insert(covered.end(), whole.begin() + model::kModelHeaderBytes, whole.end());
  put_number(whole, 32, XXH3_64bits(covered.data(), covered.size()), 8);
  return whole;
}

void model_file(std::span<const std::byte> bytes) {
  (void)model::decode_model(bytes);
  if (bytes.size() < model::kModelHeaderBytes) {
    return;
  }
  const auto decoded = model::decode_model(sealed_model(bytes));
  if (decoded && !model::decode_model(model::encode_model(*decoded))) {
    std::abort();
  }
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
constexpr std::size_t kLogHeaderBytes = 7;

void log_file(std::span<const std::byte> bytes) {
  std::size_t entries = 0;
  const auto count = [&entries](std::string&&) { ++entries; };
  (void)storage::read_log(bytes, count);
  Bytes whole(bytes.begin(), bytes.end());
  for (std::size_t at = 0; at + kLogHeaderBytes <= whole.size();) {
    const std::size_t length =
        static_cast<std::size_t>(whole[at + 4]) | (static_cast<std::size_t>(whole[at + 5]) << 8);
    if (length > whole.size() - at - kLogHeaderBytes) {
      break;
    }
    const auto covered = std::span(whole).subspan(at + 6, 1 + length);
    put_number(whole, at, storage::masked(storage::crc32c(covered)), 4);
    at += kLogHeaderBytes + length;
  }
  (void)storage::read_log(whole, count);
}

void table_file(std::span<const std::byte> bytes) {
  std::size_t sum = storage::family_of_table(bytes).size();
  const auto touch = [&sum](const storage::TableEntry& entry) {
    for (const char c : entry.key) {
      sum += static_cast<unsigned char>(c);
    }
    for (const char c : entry.value) {
      sum += static_cast<unsigned char>(c);
    }
  };
  storage::read_table(bytes, touch);
  Bytes whole(bytes.begin(), bytes.end());  // one block, whose last byte says how it is compressed
  const std::uint32_t crc = storage::masked(storage::crc32c(whole));
  whole.resize(whole.size() + sizeof crc);
  put_number(whole, bytes.size(), crc, sizeof crc);
  storage::read_table(whole, touch);
}
// What the dictionary of a record holds; numbers beyond it stand for nothing.
storage::Dictionary sample_dictionary() {
  storage::Dictionary dictionary;
  (void)dictionary.number_of(core::Context{{"NVIDIA H200", 90, 132}, 91900});
  (void)dictionary.number_of(std::string("worker"));
  for (std::int32_t engine = 0; engine < 40; ++engine) {
    (void)dictionary.number_of(storage::Dictionary::Config{core::EngineConfig(engine), 0, 0});
  }
  return dictionary;
}
// A record that decodes must encode, and decode again.
void stored_record(std::span<const std::byte> bytes) {
  static const storage::Dictionary dictionary = sample_dictionary();
  const auto record = storage::decode_record(text_of(bytes), dictionary);
  if (record) {
    storage::Dictionary copy = dictionary;
    const auto again = storage::encode_record(*record, copy);
    if (!again || !storage::decode_record(*again, copy)) {
      std::abort();
    }
  }
}

constexpr Parser kParsers[] = {{"wire", wire_frames},
                               {"shared_table", shared_table},
                               {"model_file", model_file},
                               {"json_line", json_line},
                               {"toml", toml},
                               {"problem_text", problem_text},
                               {"record", record},
                               {"log_file", log_file},
                               {"table_file", table_file},
                               {"stored_record", stored_record}};

Bytes file(const char* path) {
  std::ifstream in(path, std::ios::binary);
  return bytes_of(std::string{std::istreambuf_iterator<char>(in), {}});
}

}  // namespace

std::span<const Parser> parsers() {
  return kParsers;
}

bool sealed_model_decodes() {
  Bytes model = model::encode_model(model::testing::fixed_ranking_model(3));
  std::fill_n(model.begin(), model::kModelHeaderBytes, std::byte{0});
  return model::decode_model(sealed_model(model)).ok();
}

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
  Bytes log;
  for (const std::byte kind : {std::byte{1}, std::byte{2}, std::byte{4}}) {
    Bytes piece(kLogHeaderBytes + 20, std::byte{'x'});
    piece[4] = std::byte{20};
    piece[5] = std::byte{0};
    piece[6] = kind;
    put_number(piece, 0, storage::masked(storage::crc32c(std::span(piece).subspan(6))), 4);
    log.insert(log.end(), piece.begin(), piece.end());
  }
  // Two entries, of which the second shares four bytes of its key; one restart; uncompressed.
  static constexpr char kBlock[] =
      "\0\x0c\3abcd\1\0\0\0\0\0\0\0xyz\4\x0a\1fg\1\1\0\0\0\0\0\0q\0\0\0\0\1\0\0\0\0";
  const Bytes block = bytes_of(std::string_view(kBlock, sizeof kBlock - 1));
  storage::Dictionary dictionary = sample_dictionary();
  const auto stored = storage::encode_record(measured, dictionary);
  return {frames,
          {table},
          {model::encode_model(model::testing::fixed_ranking_model(3))},
          {bytes_of(interchange::record_to_json(measured))},
          {file(REFORMER_SOURCE_DIR "/daemon/reformerd.toml"), bytes_of("max_clients = 3\n")},
          {bytes_of(text), bytes_of(core::format_problem(problem))},
          {encoded},
          {log},
          {block},
          {bytes_of(*stored)}};
}

}  // namespace reformer::fuzz
