#include "storage/row_codec.h"

#include "core/codec.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <span>
#include <vector>

namespace reformer::storage {
namespace {

using core::ByteReader;
using core::ByteWriter;

constexpr std::uint8_t kForm = 1;
// 1 had slowdowns instead of times, and no pool; 2 no view.
constexpr std::uint8_t kAccuracyForm = 3;
constexpr std::size_t kMaxTextBytes = 4096;

// Collects the bytes of a row.
class Row {
 public:
  explicit Row(std::uint8_t form = kForm) { out_.u8(form); }
  [[nodiscard]] ByteWriter& out() { return out_; }
  void text(std::string_view text) { out_.text(text.substr(0, kMaxTextBytes)); }
  void hash(const core::KeyHash& hash) { out_.bytes(std::as_bytes(std::span(hash.bytes))); }
  void flag(bool value) { out_.u8(value ? 1 : 0); }
  [[nodiscard]] std::string bytes() const {
    return {reinterpret_cast<const char*>(bytes_.data()), bytes_.size()};
  }

 private:
  std::vector<std::byte> bytes_;
  ByteWriter out_{bytes_};
};

class RowReader {
 public:
  explicit RowReader(std::string_view bytes, std::uint8_t newest = kForm)
      : in_(std::as_bytes(std::span(bytes))), form_(in_.u8()) {
    good_ = form_ >= kForm && form_ <= newest;
  }
  [[nodiscard]] std::uint8_t form() const { return form_; }
  [[nodiscard]] ByteReader& in() { return in_; }
  void text(std::string& text) { good_ = in_.text(kMaxTextBytes, text) && good_; }
  void hash(core::KeyHash& hash) { in_.bytes(std::as_writable_bytes(std::span(hash.bytes))); }
  bool flag() {
    const std::uint8_t byte = in_.u8();
    good_ = good_ && byte <= 1;
    return byte == 1;
  }
  template <typename T>
  void value(T& value) {
    good_ = decode(in_, value) && good_;
  }
  // A byte that counts an enumeration's values from 0 to `last`.
  template <typename Enum>
  void enumeration(Enum& value, Enum last) {
    value = static_cast<Enum>(in_.u8());
    good_ = good_ && value <= last;
  }
  // A byte below `count`.
  void index(std::uint8_t& value, std::size_t count) {
    value = in_.u8();
    good_ = good_ && value < count;
  }
  template <typename T>
  core::Result<T> finish(T row, std::string_view what) const {
    if (!good_ || !in_.at_end()) {
      return core::make_error(core::ErrorCode::kCorrupt, std::string(what) + " does not decode");
    }
    return row;
  }

 private:
  ByteReader in_;
  std::uint8_t form_;
  bool good_ = false;
};

std::uint64_t big_endian(std::uint64_t value) {
  return __builtin_bswap64(value);
}

// Order-preserving: the sign bit turned round.
constexpr std::uint64_t kSign = std::uint64_t{1} << 63;

}  // namespace

std::string encode_row(const UseStatistics& uses) {
  Row row;
  row.out().varint(uses.executions);
  row.out().zigzag(uses.last_used_s);
  row.out().f32(uses.in_application_us);
  return row.bytes();
}

core::Result<UseStatistics> decode_uses(std::string_view bytes) {
  RowReader row(bytes);
  UseStatistics uses;
  uses.executions = row.in().varint();
  uses.last_used_s = row.in().zigzag();
  uses.in_application_us = row.in().f32();
  return row.finish(uses, "a use statistic");
}

std::string encode_row(const QueuedJob& job) {
  Row row;
  encode(row.out(), job.key.context);
  encode(row.out(), job.key.problem);
  row.text(job.library);
  row.out().i32(job.gpu);
  row.out().u32(job.uid);
  row.out().i64(job.queued_at_s);
  row.out().u32(job.attempts);
  row.out().f32(job.predicted_gain_us);
  row.flag(job.quarantined);
  row.text(job.last_error);
  return row.bytes();
}

core::Result<QueuedJob> decode_job(std::string_view bytes) {
  RowReader row(bytes);
  QueuedJob job;
  row.value(job.key.context);
  row.value(job.key.problem);
  row.text(job.library);
  job.gpu = row.in().i32();
  job.uid = row.in().u32();
  job.queued_at_s = row.in().i64();
  job.attempts = row.in().u32();
  job.predicted_gain_us = row.in().f32();
  job.quarantined = row.flag();
  row.text(job.last_error);
  return row.finish(std::move(job), "a queued job");
}

std::string encode_row(const AccuracyRow& accuracy) {
  Row row(kAccuracyForm);
  row.out().i64(accuracy.time_s);
  row.hash(accuracy.key);
  row.text(accuracy.variant);
  encode(row.out(), accuracy.predicted);
  row.out().u16(accuracy.rank_of_best);
  for (const bool flag :
       {accuracy.top1, accuracy.top3, accuracy.within_5pct, accuracy.abstained, accuracy.covered}) {
    row.flag(flag);
  }
  for (const float value : {accuracy.time_us,
                            accuracy.served_time_us,
                            accuracy.best_us,
                            accuracy.confidence,
                            accuracy.inference_ns,
                            accuracy.selection_probability}) {
    row.out().f32(value);
  }
  row.out().u8(static_cast<std::uint8_t>(accuracy.operation));
  row.out().u8(static_cast<std::uint8_t>(accuracy.type));
  row.out().u8(static_cast<std::uint8_t>(accuracy.layout));
  row.out().varint(accuracy.uses);
  row.text(accuracy.device);
  row.out().u32(accuracy.pool);
  row.out().u8(accuracy.view);
  return row.bytes();
}

core::Result<AccuracyRow> decode_accuracy(std::string_view bytes) {
  RowReader row(bytes, kAccuracyForm);
  AccuracyRow accuracy;
  accuracy.time_s = row.in().i64();
  row.hash(accuracy.key);
  row.text(accuracy.variant);
  row.value(accuracy.predicted);
  accuracy.rank_of_best = row.in().u16();
  for (bool* flag : {&accuracy.top1,
                     &accuracy.top3,
                     &accuracy.within_5pct,
                     &accuracy.abstained,
                     &accuracy.covered}) {
    *flag = row.flag();
  }
  for (float* value : {&accuracy.time_us,
                       &accuracy.served_time_us,
                       &accuracy.best_us,
                       &accuracy.confidence,
                       &accuracy.inference_ns,
                       &accuracy.selection_probability}) {
    *value = row.in().f32();
  }
  row.enumeration(accuracy.operation, core::Operation::kFilterGradient);
  row.enumeration(accuracy.type, core::DataType::kFastFloatForFp8);
  row.enumeration(accuracy.layout, core::Layout::kStrided);
  accuracy.uses = row.in().varint();
  row.text(accuracy.device);
  if (row.form() >= 2) {
    accuracy.pool = row.in().u32();
  } else {
    accuracy.time_us *= accuracy.best_us;
    accuracy.served_time_us *= accuracy.best_us;
  }
  if (row.form() >= 3) {
    row.index(accuracy.view, core::kF32Refusals.size());
  }
  return row.finish(std::move(accuracy), "a row of the accuracy log");
}

std::string encode_row(std::uint64_t number) {
  Row row;
  row.out().u64(number);
  return row.bytes();
}

core::Result<std::uint64_t> decode_number(std::string_view bytes) {
  RowReader row(bytes);
  const std::uint64_t number = row.in().u64();
  return row.finish(number, "a number");
}

core::KeyHash hash_of_key(std::string_view key) {
  core::KeyHash hash;
  if (key.size() == hash.bytes.size()) {
    std::memcpy(hash.bytes.data(), key.data(), key.size());
  }
  return hash;
}

std::string accuracy_key(std::int64_t time_s, std::uint64_t sequence) {
  const std::uint64_t words[] = {big_endian(static_cast<std::uint64_t>(time_s) ^ kSign),
                                 big_endian(sequence)};
  return {reinterpret_cast<const char*>(words), sizeof words};
}

std::int64_t time_of_accuracy_key(std::string_view key) {
  if (key.size() != 2 * sizeof(std::uint64_t)) {
    return std::numeric_limits<std::int64_t>::min();
  }
  std::uint64_t word = 0;
  std::memcpy(&word, key.data(), sizeof word);
  return static_cast<std::int64_t>(big_endian(word) ^ kSign);
}

}  // namespace reformer::storage
