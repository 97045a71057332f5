#pragma once

#include "core/plan_file.h"
#include "core/problem.h"
#include "libclient/client.h"

#include <cudnn.h>

#include <array>
#include <bitset>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

// What the application said to cuDNN's descriptors, recorded because a finalised graph cannot be
// read back.
namespace reformer::shim {

inline constexpr std::size_t kMaxTensorDims = 8;
// Names of an application's tensors: image, filter and output.
using TensorIds = std::array<std::int64_t, 3>;

// `strange` anywhere: an attribute that changes the problem in a way that a core::Problem cannot
// say. The graph then passes through untouched.
struct TensorRecord {
  std::int64_t type = -1;
  std::int64_t alignment = 1;
  std::size_t dim_count = 0;
  std::size_t stride_count = 0;
  std::array<std::int64_t, kMaxTensorDims> dims{};
  std::array<std::int64_t, kMaxTensorDims> strides{};
  std::int64_t id = 0;      // what operations of one graph know it by
  bool is_virtual = false;  // between two operations of a graph, never in memory
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
// What happens to single values: bias, addition, activation. `settings` is a sum of hashes, so that
// the order in which attributes are set makes no difference.
struct PointwiseRecord {
  std::uint64_t settings = 0;
};
struct PointwiseOperationRecord {
  static constexpr std::size_t kRoles = 6;  // x, b, y, t, dx, dy
  std::uint64_t settings = 0;               // of the pointwise descriptor and of the factors
  std::array<std::optional<TensorRecord>, kRoles> tensors;
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
  std::shared_ptr<Kept> kept;      // once an answer needs it
  cudnnHandle_t handle = nullptr;  // null where it was made without one
  bool strange = false;
  std::optional<core::Problem>
      problem;      // if it is understood: one convolution, perhaps with others
  TensorIds ids{};  // of a convolution alone
};
struct DevicePropertiesRecord {
  std::shared_ptr<Kept> kept;  // once an answer needs it
  std::string json;
  std::optional<std::size_t> context;  // of the client, once it is known
};
// Whether cuDNN has made an entry's configuration, or refused to, in this process: the same answer
// is fetched again and again, a trial costs as much as the configuration does, and the list is to
// be the same each time. Threads: any.
class Trials {
 public:
  // Empty where it was not tried yet.
  [[nodiscard]] std::optional<bool> outcome(const client::Answer* answer, std::size_t entry) {
    const std::lock_guard lock(mutex_);
    const auto found = tried_.find(answer);
    if (found == tried_.end() || entry >= kMost || !found->second.tried.test(entry)) {
      return std::nullopt;
    }
    return found->second.accepted.test(entry);
  }
  void note(const client::Answer* answer, std::size_t entry, bool accepted) {
    const std::lock_guard lock(mutex_);
    if (entry < kMost) {
      Tried& tried = tried_[answer];
      tried.tried.set(entry);
      tried.accepted.set(entry, accepted);
    }
  }
  // Around a fork.
  void lock() { mutex_.lock(); }
  void unlock() { mutex_.unlock(); }

 private:
  static constexpr std::size_t kMost = 64;  // entries of an answer; others are tried each time
  std::mutex mutex_;
  struct Tried {
    std::bitset<kMost> tried;
    std::bitset<kMost> accepted;
  };
  std::unordered_map<const client::Answer*, Tried> tried_;
};

// What one answered heuristics query has built; shared by the query and by those of its
// configurations that are not built yet. What changes after it is published is under its lock
// (Session::building()), because two threads may use two configurations of one list, or one.
struct Served {
  const client::Answer* answer = nullptr;
  std::size_t context = 0;
  bool of_f32 = false;
  Trials* trials = nullptr;
  std::shared_ptr<Kept> graph;
  std::shared_ptr<Kept> device_properties;  // may be null
  // Of the application's tensors and graph, for plans that are loaded; no names where others are
  // fused with the convolution, no handle where it is for a GPU that is not here.
  std::optional<TensorIds> ids;
  cudnnHandle_t handle = nullptr;
  // Where no entry passes a filter that the application may apply, cuDNN's own list follows behind:
  // at most so many entries of it.
  std::int64_t following = 0;

  std::vector<std::size_t> entries;  // of the answer, those on offer
  std::vector<std::pair<std::int32_t, std::unique_ptr<Kept>>> engines;  // by global index
  std::vector<std::int32_t> refused;  // engines that cuDNN does not have for this graph
};
struct HeuristicsRecord {
  std::int64_t mode = -1;
  cudnnBackendDescriptor_t graph = nullptr;
  cudnnBackendDescriptor_t device_properties = nullptr;
  bool strange = false;
  std::shared_ptr<Served> served;  // set while the real Finalize is being skipped
};
// A configuration of an engine that is compiled at run time, as an answer gave it out: enough to
// look for a plan of it that somebody has compiled before.
struct CompiledEntry {
  core::KeyHash key;
  core::EngineConfig config;
  TensorIds ids{};
  cudnnHandle_t handle = nullptr;  // of the graph
  bool frozen = false;             // the answer: its plan lies beside the snapshot
};
struct ConfigurationRecord {
  std::shared_ptr<Kept> kept;                     // once a plan needs it
  std::shared_ptr<const CompiledEntry> compiled;  // null: it needs no compiler, or is not known
  // Set in a configuration that the application has been given and that is not built yet: it is
  // built when it is first used, and those who use it meanwhile wait for that.
  std::shared_ptr<Served> pending;
  std::size_t entry = 0;  // of the answer
  bool filled = false;    // by an answer, or by cuDNN's own
  client::UseCounter* counter = nullptr;
};
// What a plan is to be loaded from in place of being built. The application has set its
// configuration, and cuDNN has not been told yet: a plan is made from the one or the other.
struct LoadablePlan {
  std::shared_ptr<Kept> configuration;
  std::shared_ptr<const CompiledEntry> entry;
  core::StoredPlan stored;
};
struct PlanRecord {
  client::UseCounter* counter = nullptr;
  std::uint64_t executions = 0;
  cudnnHandle_t handle = nullptr;
  bool strange = false;  // it has been told more than its handle
  std::unique_ptr<LoadablePlan> loadable;
};

using Record = std::variant<std::monostate,
                            TensorRecord,
                            ConvolutionRecord,
                            OperationRecord,
                            PointwiseRecord,
                            PointwiseOperationRecord,
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
  // Around a fork.
  void lock_all();
  void unlock_all();

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
  using Records = std::unordered_map<void*, Record>;
  struct alignas(64) Shard {
    std::mutex mutex;
    Records records;
    std::vector<Records::node_type> spare;
  };
  static constexpr std::size_t kSpare = 256;  // in a shard
  Shard& shard_of(void* descriptor) {
    return shards_[(reinterpret_cast<std::uintptr_t>(descriptor) >> 6) % kShards];
  }
  std::array<Shard, kShards> shards_;
};

// Keeps the application's descriptor from being destroyed while the answer needs it.
template <typename Kind>
[[nodiscard]] std::shared_ptr<Kept> keep(Descriptors& descriptors,
                                         cudnnBackendDescriptor_t descriptor) {
  std::shared_ptr<Kept> kept;
  descriptors.with<Kind>(descriptor, [&kept](const Kind& record) { kept = record.kept; });
  if (kept == nullptr) {
    auto fresh = std::make_shared<Kept>(descriptor);  // not under the lock
    descriptors.with<Kind>(descriptor, [&](Kind& record) {
      if (record.kept == nullptr) {
        record.kept = std::move(fresh);
      }
      kept = record.kept;
    });
  }
  return kept;
}

// The record to begin a new descriptor with; monostate for kinds that do not matter.
[[nodiscard]] Record record_for(cudnnBackendDescriptorType_t type);

// Notes an attribute that cuDNN has accepted.
void note_attribute(Descriptors& descriptors,
                    cudnnBackendDescriptor_t descriptor,
                    cudnnBackendAttributeName_t name,
                    cudnnBackendAttributeType_t type,
                    std::int64_t count,
                    const void* values);

// The canonical problem of an operation; empty if it is not understood. Tensors that are never in
// memory are understood only where other operations are fused with it.
enum class Alone { kNo, kYes };
[[nodiscard]] std::optional<core::Problem> problem_of(const OperationRecord& operation,
                                                      Alone alone = Alone::kYes);
// The canonical problem of a graph: one convolution, and any number of pointwise operations, which
// become its `fusion`. Equal graphs have equal problems whatever the names of their tensors.
[[nodiscard]] std::optional<core::Problem> problem_of_graph(
    Descriptors& descriptors, std::span<const cudnnBackendDescriptor_t> operations);
// A hash of one attribute, never 0.
[[nodiscard]] std::uint64_t hash_attribute(cudnnBackendAttributeName_t name,
                                           cudnnBackendAttributeType_t type,
                                           std::int64_t count,
                                           const void* values);

}  // namespace reformer::shim
