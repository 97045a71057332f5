#pragma once

#include "core/result.h"
#include "model/model_data.h"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

// The model file, `*.reformer`. Little-endian:
//
//   bytes 0-7    magic "RFMODEL\x1a"
//   bytes 8-11   kModelFormatVersion
//   bytes 12-15  0
//   bytes 16-23  feature schema hash: what the network's inputs mean
//   bytes 24-31  bytes that follow the header
//   bytes 32-39  xxh3-64 of bytes 0-31 and of what follows the header
//   then the sections in the order of ModelData: information, shape, normaliser, classes with their
//   combinations, class rows, trunk, calibration, time network, seen shapes. Strings and arrays
//   carry a 32-bit count in front.
namespace reformer::model {

inline constexpr std::size_t kModelHeaderBytes = 40;
// 1 had no views, 2 no time network.
inline constexpr std::uint32_t kModelFormatVersion = 3;

[[nodiscard]] std::vector<std::byte> encode_model(const ModelData& data);
// The input is hostile: length, checksum, every count and every index are checked.
// Errors: kCorrupt (not a model file, truncated, altered, impossible values), kUnsupported (another
// format version or feature schema).
[[nodiscard]] core::Result<ModelData> decode_model(std::span<const std::byte> bytes);

// Through a temporary file beside `path` that is flushed and renamed: a reader sees the old file or
// the whole new one. Errors: kUnavailable with the system's reason.
[[nodiscard]] core::Status write_model(const ModelData& data, const std::filesystem::path& path);
// Errors: kUnavailable, and those of decode_model, with the path.
[[nodiscard]] core::Result<ModelData> read_model(const std::filesystem::path& path);

}  // namespace reformer::model
