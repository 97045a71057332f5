#pragma once

#include "core/engine_config.h"
#include "core/key.h"
#include "core/result.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

// Execution plans whose engines are compiled at run time, kept as files so that no other process
// has to compile them again (docs/shim.md). reformerd writes them, the shim reads them.
namespace reformer::core {

// What the tensors of a stored plan are called: image, filter, output.
inline constexpr std::array<std::int64_t, 3> kPlanTensorIds{'x', 'w', 'y'};

// A plan as cuDNN serialises it (CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION), for one problem
// and one configuration.
struct StoredPlan {
  KeyHash key;
  EngineConfig config;
  // cudnnGetCudartVersion() of the cuDNN that serialised it: builds for several versions of CUDA
  // have the same cuDNN version, and so the same key.
  std::uint64_t cuda_version = 0;
  std::string json;
};

inline constexpr std::size_t kMaxPlanBytes = std::size_t{1} << 20;  // of the JSON

// "<key>-<16 digits, of the configuration>.plan", in a folder.
[[nodiscard]] std::string plan_file_name(const KeyHash& key, const EngineConfig& config);

// The folder of stored plans, beside a daemon's socket or a snapshot (`reformerctl freeze`):
// "<path>.plans".
[[nodiscard]] std::string plans_path(std::string_view path);

// A whole file: docs/protocol.md.
[[nodiscard]] std::vector<std::byte> encode_plan_file(const StoredPlan& plan);
// Errors: kCorrupt.
[[nodiscard]] Result<StoredPlan> decode_plan_file(std::span<const std::byte> bytes);

}  // namespace reformer::core
