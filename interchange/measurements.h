#pragma once

#include "core/record.h"
#include "core/result.h"

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

// Reading and writing `reformer-measurements/1`: one JSON object a line, one problem a line, plain
// or zstd. docs/measurements.md has the schema. What is exported can be imported without loss.
namespace reformer::interchange {

// One line. The input is hostile: anything but a complete, sane record is kCorrupt (not JSON, a
// missing field, a number out of range, more than core::kMaxCandidates candidates, nested more than
// kMostNested deep: json_depth.h) or kUnsupported (another schema), naming the field. A file that
// does not say the SM count gets core::known_sm_count; kInvalidArgument if the GPU is not known.
// Unknown fields are ignored.
[[nodiscard]] core::Result<core::Record> record_from_json(std::string_view line);
// Without the trailing newline.
[[nodiscard]] std::string record_to_json(const core::Record& record);

// Streams records out of a file; memory use does not depend on its size. zstd is recognised by its
// magic number, not by the file's name. Threads: one reader, one thread.
class MeasurementReader {
 public:
  // Errors: kUnavailable if the file cannot be opened, kExhausted without the memory for it.
  static core::Result<std::unique_ptr<MeasurementReader>> open(const std::filesystem::path& path);
  ~MeasurementReader();
  MeasurementReader(const MeasurementReader&) = delete;
  MeasurementReader& operator=(const MeasurementReader&) = delete;

  // The next record; empty at the end. After a bad line (its error names the line number) the next
  // call goes on behind it; after an unreadable or truncated file every call fails: see broken().
  core::Lookup<core::Record> next();
  [[nodiscard]] bool broken() const;

  // For progress: bytes of the file consumed so far, and its size.
  [[nodiscard]] std::uint64_t bytes_consumed() const;
  [[nodiscard]] std::uint64_t bytes_total() const;
  [[nodiscard]] std::uint64_t line() const;

 private:
  struct Impl;
  explicit MeasurementReader(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

enum class Compression { kNone, kZstd };
// kZstd for names that end in ".zst".
[[nodiscard]] Compression compression_for(const std::filesystem::path& path);

// Writes records to `path` through a temporary file beside it, renamed by finish(): a reader never
// sees half a file. Threads: one.
class MeasurementWriter {
 public:
  static core::Result<std::unique_ptr<MeasurementWriter>> create(const std::filesystem::path& path,
                                                                 Compression compression);
  // Removes the temporary file if finish() was not called.
  ~MeasurementWriter();
  MeasurementWriter(const MeasurementWriter&) = delete;
  MeasurementWriter& operator=(const MeasurementWriter&) = delete;

  core::Status write(const core::Record& record);
  core::Status write_line(std::string_view json);  // a line that record_to_json made
  core::Status finish();

 private:
  struct Impl;
  explicit MeasurementWriter(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace reformer::interchange
