#pragma once

#include "core/problem.h"
#include "libclient/client.h"

#include <cudnn.h>

#include <array>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

// What the application said to cuDNN's descriptors, recorded because a finalised graph cannot be
// read back.
namespace reformer::shim {

inline constexpr std::size_t kMaxTensorDims = 8;

// `strange` anywhere: an attribute that changes the problem in a way that a core::Problem cannot
// say. The graph then passes through untouched.
struct TensorRecord {
  std::int64_t type = -1;
  std::int64_t alignment = 1;
  std::size_t dim_count = 0;
  std::size_t stride_count = 0;
  std::array<std::int64_t, kMaxTensorDims> dims{};
  std::array<std::int64_t, kMaxTensorDims> strides{};
  bool strange = false;
};
struct ConvolutionRecord {
  std::int64_t compute_type = -1;
  std::int64_t mode = -1;
  std::int64_t rank = 0;
  std::array<std::int64_t, 3> dilation{1, 1, 1};
  std::array<std::int64_t, 3> stride{1, 1, 1};
  std::array<std::int64_t, 3> pad_before{};
  std::array<std::int64_t, 3> pad_after{};
  bool strange = false;
};
struct OperationRecord {
  core::Operation operation = core::Operation::kForward;
  std::optional<ConvolutionRecord> convolution;
  std::optional<TensorRecord> x, w, y;
  bool strange = false;
};
// A descriptor of the application that answers still need: its destruction is put off until nobody
// does.
class Kept {
 public:
  using Destroy = cudnnStatus_t (*)(cudnnBackendDescriptor_t);
  explicit Kept(cudnnBackendDescriptor_t descriptor) : descriptor_(descriptor) {}
  ~Kept() {
    if (destroy_ != nullptr) {
      destroy_(descriptor_);
    }
  }
  Kept(const Kept&) = delete;
  Kept& operator=(const Kept&) = delete;
  [[nodiscard]] const cudnnBackendDescriptor_t& get() const { return descriptor_; }
  // The application has let go of it. Before the caller drops its own reference.
  void destroy_at_last(Destroy destroy) { destroy_ = destroy; }

 private:
  const cudnnBackendDescriptor_t descriptor_;
  Destroy destroy_ = nullptr;
};

struct GraphRecord {
  std::shared_ptr<Kept> kept;
  std::optional<core::Problem> problem;  // of a graph with one convolution that is understood
};
struct DevicePropertiesRecord {
  std::shared_ptr<Kept> kept;
  std::string json;
};
// What one answered heuristics query has built; shared by the query and by those of its
// configurations that are not built yet.
struct Served {
  const client::Answer* answer = nullptr;
  std::size_t context = 0;
  std::vector<std::size_t>
      entries;  // of the answer, those on offer; under `building` after the start
  std::shared_ptr<Kept> graph;
  std::shared_ptr<Kept> device_properties;                              // may be null
  std::vector<std::pair<std::int32_t, std::unique_ptr<Kept>>> engines;  // by global index
  // Where no entry passes a filter that the application may apply, cuDNN's own list follows behind:
  // at most so many entries of it.
  std::int64_t following = 0;
  std::mutex building;  // two threads may use two configurations of one list
};
struct HeuristicsRecord {
  std::int64_t mode = -1;
  cudnnBackendDescriptor_t graph = nullptr;
  cudnnBackendDescriptor_t device_properties = nullptr;
  bool strange = false;
  std::shared_ptr<Served> served;  // set while the real Finalize is being skipped
};
struct ConfigurationRecord {
  // Set in a configuration that the application has been given and nobody has looked at yet: it is
  // built when it is first used.
  std::shared_ptr<Served> pending;
  std::size_t entry = 0;  // of the answer
  bool filled = false;    // by an answer
  client::UseCounter* counter = nullptr;
};
struct PlanRecord {
  client::UseCounter* counter = nullptr;
};

using Record = std::variant<std::monostate,
                            TensorRecord,
                            ConvolutionRecord,
                            OperationRecord,
                            GraphRecord,
                            DevicePropertiesRecord,
                            HeuristicsRecord,
                            ConfigurationRecord,
                            PlanRecord>;

// Records by descriptor address. Threads: any; `visit` runs under the lock of one shard, and must
// not call cuDNN or this class. Addresses are reused by cuDNN, so put() replaces.
class Descriptors {
 public:
  void put(cudnnBackendDescriptor_t descriptor, Record record);
  // The record that stood there, if any.
  Record take(cudnnBackendDescriptor_t descriptor);

  // Runs visit(record) if there is a record of that kind; false if not.
  template <typename Kind, typename Visit>
  bool with(cudnnBackendDescriptor_t descriptor, Visit visit) {
    Shard& shard = shard_of(descriptor);
    const std::lock_guard lock(shard.mutex);
    const auto found = shard.records.find(descriptor);
    Kind* record = found == shard.records.end() ? nullptr : std::get_if<Kind>(&found->second);
    if (record == nullptr) {
      return false;
    }
    visit(*record);
    return true;
  }
  template <typename Kind>
  std::optional<Kind> copy(cudnnBackendDescriptor_t descriptor) {
    std::optional<Kind> copied;
    with<Kind>(descriptor, [&copied](const Kind& record) { copied = record; });
    return copied;
  }
  // Runs visit(record) for a record of any kind.
  template <typename Visit>
  void with_any(cudnnBackendDescriptor_t descriptor, Visit visit) {
    Shard& shard = shard_of(descriptor);
    const std::lock_guard lock(shard.mutex);
    const auto found = shard.records.find(descriptor);
    if (found != shard.records.end()) {
      visit(found->second);
    }
  }

 private:
  static constexpr std::size_t kShards = 64;
  struct alignas(64) Shard {
    std::mutex mutex;
    std::unordered_map<void*, Record> records;
  };
  Shard& shard_of(void* descriptor) {
    return shards_[(reinterpret_cast<std::uintptr_t>(descriptor) >> 6) % kShards];
  }
  std::array<Shard, kShards> shards_;
};

// The record to begin a new descriptor with; monostate for kinds that do not matter.
[[nodiscard]] Record record_for(cudnnBackendDescriptorType_t type,
                                cudnnBackendDescriptor_t descriptor);

// Notes an attribute that cuDNN has accepted.
void note_attribute(Descriptors& descriptors,
                    cudnnBackendDescriptor_t descriptor,
                    cudnnBackendAttributeName_t name,
                    cudnnBackendAttributeType_t type,
                    std::int64_t count,
                    const void* values);

// The canonical problem of an operation; empty if it is not understood.
[[nodiscard]] std::optional<core::Problem> problem_of(const OperationRecord& operation);

}  // namespace reformer::shim
