#include "cudnn/measurer.h"

#include "cudnn/descriptor.h"
#include "cudnn/driver_functions.h"

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <cmath>
#include <cstring>
#include <random>
#include <utility>
#include <vector>

namespace reformer::cudnn {
namespace {

constexpr std::size_t kAlignment = 256;
constexpr std::size_t kPatternBytes = std::size_t{16} << 20;
constexpr std::size_t kComparedElements = std::size_t{1} << 16;

std::size_t rounded(std::size_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

// Bytes from the first to the last element.
std::size_t tensor_bytes(const core::TensorSpec& tensor) {
  std::int64_t last = 0;
  for (std::size_t axis = 0; axis < core::kTensorAxes; ++axis) {
    last += (tensor.dims[axis] - 1) * tensor.strides[axis];
  }
  return static_cast<std::size_t>(last + 1) * static_cast<std::size_t>(core::size_of(tensor.type));
}

std::uint16_t to_half(float value) {
  // For |value| in [2^-14, 1): normal numbers only, rounded to zero.
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t sign = (bits >> 16) & 0x8000;
  const std::int32_t exponent = static_cast<std::int32_t>((bits >> 23) & 255) - 127 + 15;
  return exponent <= 0
             ? static_cast<std::uint16_t>(sign)
             : static_cast<std::uint16_t>(sign | (static_cast<std::uint32_t>(exponent) << 10) |
                                          ((bits >> 13) & 1023));
}

float from_half(std::uint16_t half) {
  const std::uint32_t exponent = (half >> 10) & 31;
  const std::uint32_t mantissa = half & 1023u;
  const float magnitude = exponent == 0    ? std::ldexp(static_cast<float>(mantissa), -24)
                          : exponent == 31 ? (mantissa == 0 ? INFINITY : NAN)
                                           : std::ldexp(static_cast<float>(mantissa + 1024),
                                                        static_cast<int>(exponent) - 25);
  return (half & 0x8000) != 0 ? -magnitude : magnitude;
}

// Random elements of a type; fp8 stays within exponents that are numbers in both formats.
std::vector<std::byte> random_pattern(core::DataType type) {
  std::vector<std::byte> bytes(kPatternBytes);
  std::mt19937 random(12345);
  const auto uniform = [&random] {
    return static_cast<float>(random()) * 0x1p-31f - 1.0f + 0x1p-12f;
  };
  const auto fill = [&bytes](auto make) {
    using Element = decltype(make());
    for (std::size_t at = 0; at + sizeof(Element) <= bytes.size(); at += sizeof(Element)) {
      const Element element = make();
      std::memcpy(bytes.data() + at, &element, sizeof element);
    }
  };
  switch (type) {
    case core::DataType::kF32:
    case core::DataType::kFastFloatForFp8:
      fill(uniform);
      break;
    case core::DataType::kF64:
      fill([&] { return static_cast<double>(uniform()); });
      break;
    case core::DataType::kF16:
      fill([&] { return to_half(uniform()); });
      break;
    case core::DataType::kBf16:
      fill([&] {
        return static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(uniform()) >> 16);
      });
      break;
    case core::DataType::kFp8E4m3:
    case core::DataType::kFp8E5m2:
      fill([&] { return static_cast<std::uint8_t>(random() & 0xbb); });
      break;
    default:
      fill([&] { return static_cast<std::uint8_t>(random() & 0x0f); });
      break;
  }
  return bytes;
}

float element_at(const std::byte* bytes, core::DataType type) {
  std::uint32_t word = 0;
  std::uint16_t half = 0;
  switch (type) {
    case core::DataType::kF32:
      std::memcpy(&word, bytes, sizeof word);
      return std::bit_cast<float>(word);
    case core::DataType::kF16:
      std::memcpy(&half, bytes, sizeof half);
      return from_half(half);
    case core::DataType::kBf16:
      std::memcpy(&half, bytes, sizeof half);
      return std::bit_cast<float>(static_cast<std::uint32_t>(half) << 16);
    default:
      return static_cast<float>(static_cast<std::int8_t>(*bytes));
  }
}

// Largest difference that two right kernels may show, over the root mean square of the output: sums
// in another order, TF32, Winograd.
constexpr float kTolerance = 0.1f;

// Whether two outputs agree. Types that are not compared agree.
bool agree(const std::vector<std::byte>& one,
           const std::vector<std::byte>& other,
           core::DataType type) {
  if (type != core::DataType::kF32 && type != core::DataType::kF16 &&
      type != core::DataType::kBf16) {
    return true;
  }
  const auto size = static_cast<std::size_t>(core::size_of(type));
  double squares = 0;
  float worst = 0;
  const std::size_t count = one.size() / size;
  for (std::size_t i = 0; i < count; ++i) {
    const float a = element_at(one.data() + i * size, type);
    const float b = element_at(other.data() + i * size, type);
    if (!std::isfinite(a) || !std::isfinite(b)) {
      if (std::isfinite(a) != std::isfinite(b)) {
        return false;
      }
      continue;
    }
    squares += static_cast<double>(b) * b;
    worst = std::max(worst, std::abs(a - b));
  }
  const double rms = std::sqrt(squares / static_cast<double>(std::max<std::size_t>(1, count)));
  return worst <= kTolerance * rms + 1e-6;
}

}  // namespace

struct Measurer::Impl {
  std::shared_ptr<const Library> library;
  std::shared_ptr<const Gpu> gpu;
  std::int64_t max_memory_bytes = 0;
  cudnnHandle_t handle = nullptr;
  CUstream stream = nullptr;
  CUevent start = nullptr;
  CUevent stop = nullptr;
  CUdeviceptr arena = 0;
  std::size_t arena_bytes = 0;
  CUdeviceptr pattern = 0;
  core::DataType pattern_type = core::DataType::kI64;  // none yet

  [[nodiscard]] const DriverFunctions& cuda() const { return gpu->functions(); }
  [[nodiscard]] const Functions& f() const { return library->functions(); }

  ~Impl() {
    if (handle != nullptr) {
      (void)f().destroy(handle);
    }
    for (const CUevent event : {start, stop}) {
      if (event != nullptr) {
        cuda().event_destroy(event);
      }
    }
    if (stream != nullptr) {
      cuda().stream_destroy(stream);
    }
    for (const CUdeviceptr memory : {arena, pattern}) {
      if (memory != 0) {
        cuda().mem_free(memory);
      }
    }
  }

  core::Status reserve(std::size_t bytes) {
    if (bytes > static_cast<std::size_t>(max_memory_bytes)) {
      return core::make_error(core::ErrorCode::kExhausted,
                              "needs " + std::to_string(bytes >> 20) + " MiB of GPU memory");
    }
    if (bytes <= arena_bytes) {
      return core::ok_status();
    }
    if (arena != 0) {
      cuda().mem_free(arena);
      arena = 0;
      arena_bytes = 0;
    }
    const CUresult result = cuda().mem_alloc(&arena, bytes);
    if (result != CUDA_SUCCESS) {
      arena = 0;
      return cuda_error(cuda(), "cuMemAlloc", result);
    }
    arena_bytes = bytes;
    return core::ok_status();
  }

  core::Status fill(CUdeviceptr at, std::size_t bytes, core::DataType type) {
    if (type != pattern_type) {
      const std::vector<std::byte> values = random_pattern(type);
      const CUresult result = cuda().copy_to_device(pattern, values.data(), values.size());
      if (result != CUDA_SUCCESS) {
        return cuda_error(cuda(), "filling tensors", result);
      }
      pattern_type = type;
    }
    for (std::size_t done = 0; done < bytes; done += kPatternBytes) {
      const CUresult result =
          cuda().copy_on_device(at + done, pattern, std::min(kPatternBytes, bytes - done), stream);
      if (result != CUDA_SUCCESS) {
        return cuda_error(cuda(), "filling tensors", result);
      }
    }
    return core::ok_status();
  }
};

namespace {

// The plans of one problem, ready to launch.
class PlanLauncher final : public Launcher {
 public:
  struct Entry {
    const Plan* plan;
    std::unique_ptr<Descriptor> pack;
    CUgraphExec graph = nullptr;
    int repeats = 0;
  };

  PlanLauncher(const Functions& cudnn,
               const DriverFunctions& cuda,
               cudnnHandle_t handle,
               CUstream stream,
               CUevent start,
               CUevent stop)
      : cudnn_(cudnn), cuda_(cuda), handle_(handle), stream_(stream), start_(start), stop_(stop) {}
  ~PlanLauncher() override {
    for (const Entry& entry : entries_) {
      if (entry.graph != nullptr) {
        cuda_.graph_exec_destroy(entry.graph);
      }
    }
  }

  core::Status add(const Plan& plan,
                   const std::array<CUdeviceptr, 3>& tensors,
                   CUdeviceptr workspace) {
    auto pack = Descriptor::create(cudnn_, CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
    if (!pack) {
      return pack.error();
    }
    const std::array<std::int64_t, 3> ids{kImageUid, kFilterUid, kOutputUid};
    std::array<void*, 3> pointers{};
    std::transform(tensors.begin(), tensors.end(), pointers.begin(), [](CUdeviceptr address) {
      return reinterpret_cast<void*>(address);
    });
    void* const workspace_pointer = reinterpret_cast<void*>(workspace);
    cudnnStatus_t status =
        pack->set(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, 3, pointers.data());
    if (status == CUDNN_STATUS_SUCCESS) {
      status = pack->set(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, 3, ids.data());
    }
    if (status == CUDNN_STATUS_SUCCESS) {
      status =
          pack->set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &workspace_pointer);
    }
    if (status == CUDNN_STATUS_SUCCESS) {
      status = pack->finalize();
    }
    if (status != CUDNN_STATUS_SUCCESS) {
      return status_error(cudnn_, "variant pack", status);
    }
    entries_.push_back({&plan, std::make_unique<Descriptor>(std::move(*pack))});
    return core::ok_status();
  }

  core::Result<float> single(std::size_t i) override {
    cuda_.event_record(start_, stream_);
    if (const core::Status done = execute(entries_[i]); !done) {
      // What was queued behind the failure must not be timed with the next one.
      const CUresult drained = cuda_.stream_synchronize(stream_);
      return drained == CUDA_SUCCESS ? done.error() : cuda_error(cuda_, "execution", drained);
    }
    return elapsed(1);
  }

  core::Result<float> graph(std::size_t i, int repeats) override {
    Entry& entry = entries_[i];
    if (entry.graph == nullptr || entry.repeats != repeats) {
      const core::Status captured = capture(entry, repeats);
      if (!captured) {
        return captured.error().code == core::ErrorCode::kInternal
                   ? core::Result<float>(captured.error())
                   : repeated(entry, repeats);
      }
      // The first launch uploads the graph.
      cuda_.graph_launch(entry.graph, stream_);
    }
    cuda_.event_record(start_, stream_);
    const CUresult result = cuda_.graph_launch(entry.graph, stream_);
    if (result != CUDA_SUCCESS) {
      return cuda_error(cuda_, "graph launch", result);
    }
    return elapsed(repeats);
  }

  core::Status execute(const Entry& entry) {
    const cudnnStatus_t status =
        cudnn_.execute(handle_,
                       static_cast<cudnnBackendDescriptor_t>(entry.plan->descriptor()),
                       entry.pack->get());
    return status == CUDNN_STATUS_SUCCESS
               ? core::ok_status()
               : core::Status(status_error(cudnn_, "cudnnBackendExecute", status));
  }
  core::Status execute(std::size_t i) { return execute(entries_[i]); }

 private:
  core::Result<float> elapsed(int executions) {
    cuda_.event_record(stop_, stream_);
    float milliseconds = 0;
    CUresult result = cuda_.event_synchronize(stop_);
    if (result == CUDA_SUCCESS) {
      result = cuda_.event_elapsed(&milliseconds, start_, stop_);
    }
    if (result != CUDA_SUCCESS) {
      return cuda_error(cuda_, "execution", result);
    }
    return milliseconds * 1000 / static_cast<float>(executions);
  }

  // Where an engine cannot be captured: launches one behind the other.
  core::Result<float> repeated(Entry& entry, int repeats) {
    cuda_.event_record(start_, stream_);
    for (int i = 0; i < repeats; ++i) {
      if (const core::Status done = execute(entry); !done) {
        return done.error();
      }
    }
    return elapsed(repeats);
  }

  core::Status capture(Entry& entry, int repeats) {
    if (entry.graph != nullptr) {
      cuda_.graph_exec_destroy(entry.graph);
      entry.graph = nullptr;
    }
    CUresult result = cuda_.begin_capture(stream_, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
    if (result != CUDA_SUCCESS) {
      return cuda_error(cuda_, "capture", result);
    }
    core::Status executed = core::ok_status();
    for (int i = 0; i < repeats && executed; ++i) {
      executed = execute(entry);
    }
    CUgraph graph = nullptr;
    result = cuda_.end_capture(stream_, &graph);
    if (executed && result == CUDA_SUCCESS && graph != nullptr) {
      result = cuda_.graph_instantiate(&entry.graph, graph, 0);
    }
    if (graph != nullptr) {
      cuda_.graph_destroy(graph);
    }
    if (!executed) {
      return executed;
    }
    if (result != CUDA_SUCCESS || entry.graph == nullptr) {
      entry.graph = nullptr;
      return cuda_error(cuda_, "capture", result);
    }
    entry.repeats = repeats;
    return core::ok_status();
  }

  const Functions& cudnn_;
  const DriverFunctions& cuda_;
  cudnnHandle_t handle_;
  CUstream stream_;
  CUevent start_;
  CUevent stop_;
  std::vector<Entry> entries_;
};

}  // namespace

Measurer::Measurer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Measurer::~Measurer() = default;

core::Result<std::unique_ptr<Measurer>> Measurer::create(std::shared_ptr<const Library> library,
                                                         std::shared_ptr<const Gpu> gpu,
                                                         std::int64_t max_memory_bytes) {
  auto impl = std::make_unique<Impl>();
  impl->library = std::move(library);
  impl->gpu = std::move(gpu);
  impl->max_memory_bytes = max_memory_bytes;
  if (const core::Status current = impl->gpu->make_current(); !current) {
    return current.error();
  }
  const DriverFunctions& cuda = impl->cuda();
  CUresult result = cuda.stream_create(&impl->stream, CU_STREAM_NON_BLOCKING);
  if (result == CUDA_SUCCESS) {
    result = cuda.event_create(&impl->start, CU_EVENT_DEFAULT);
  }
  if (result == CUDA_SUCCESS) {
    result = cuda.event_create(&impl->stop, CU_EVENT_DEFAULT);
  }
  if (result == CUDA_SUCCESS) {
    result = cuda.mem_alloc(&impl->pattern, kPatternBytes);
  }
  if (result != CUDA_SUCCESS) {
    return cuda_error(cuda, "preparing the GPU", result);
  }
  cudnnStatus_t status = impl->f().create(&impl->handle);
  if (status == CUDNN_STATUS_SUCCESS) {
    status = impl->f().set_stream(impl->handle, reinterpret_cast<cudaStream_t>(impl->stream));
  }
  if (status != CUDNN_STATUS_SUCCESS) {
    return status_error(impl->f(), "cudnnCreate", status);
  }
  return std::unique_ptr<Measurer>(new Measurer(std::move(impl)));
}

core::Result<Measurer::Measured> Measurer::measure(const core::Problem& problem,
                                                   Enumeration enumeration,
                                                   const RaceOptions& options,
                                                   const std::function<bool()>& stop) {
  Impl& m = *impl_;
  std::size_t workspace = 0;
  for (const Planned& planned : enumeration.candidates) {
    if (planned.plan != nullptr) {
      workspace = std::max(workspace, static_cast<std::size_t>(planned.plan->workspace_bytes()));
    }
  }
  const std::array<const core::TensorSpec*, 3> tensors{&problem.x, &problem.w, &problem.y};
  std::array<std::size_t, 3> offsets{};
  std::size_t total = 0;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    offsets[i] = total;
    total += rounded(tensor_bytes(*tensors[i]));
  }
  if (const core::Status reserved = m.reserve(total + rounded(workspace)); !reserved) {
    return reserved.error();
  }
  std::array<CUdeviceptr, 3> addresses{};
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    addresses[i] = m.arena + offsets[i];
    if (const core::Status filled =
            m.fill(addresses[i], tensor_bytes(*tensors[i]), tensors[i]->type);
        !filled) {
      return filled.error();
    }
  }
  PlanLauncher launcher(m.f(), m.cuda(), m.handle, m.stream, m.start, m.stop);
  std::vector<std::size_t> indices;  // of the candidates that have a plan
  for (std::size_t i = 0; i < enumeration.candidates.size(); ++i) {
    const Planned& planned = enumeration.candidates[i];
    if (planned.plan != nullptr && launcher.add(*planned.plan, addresses, m.arena + total)) {
      indices.push_back(i);
    }
  }
  core::Result<RaceOutcome> outcome = race(launcher, indices.size(), options, stop);
  if (!outcome) {
    return outcome.error();
  }
  if (outcome->stopped) {
    return core::make_error(core::ErrorCode::kTimeout, "gave way before it was finished");
  }
  Measured measured;
  measured.gpu_us = outcome->gpu_us;
  for (std::size_t i = 0; i < indices.size(); ++i) {
    core::Candidate& candidate = enumeration.candidates[indices[i]].candidate;
    const RaceResult& result = outcome->results[i];
    candidate.timing = result.timing;
    candidate.time_us = result.time_us;
    candidate.spread = result.spread;
    candidate.samples = result.samples;
    candidate.status = result.status;
  }

  // The winner's output against that of the next best; a third decides who of them is wrong.
  std::vector<std::size_t> order;
  for (std::size_t i = 0; i < indices.size(); ++i) {
    if (enumeration.candidates[indices[i]].candidate.timed()) {
      order.push_back(i);
    }
  }
  const auto time_of = [&](std::size_t i) {
    return enumeration.candidates[indices[i]].candidate.time_us;
  };
  std::sort(order.begin(), order.end(), [&](std::size_t one, std::size_t other) {
    return time_of(one) < time_of(other);
  });
  const std::size_t output = problem.operation == core::Operation::kForward        ? 2
                             : problem.operation == core::Operation::kDataGradient ? 0
                                                                                   : 1;
  const auto element = static_cast<std::size_t>(core::size_of(tensors[output]->type));
  const std::size_t bytes =
      std::min(tensor_bytes(*tensors[output]), kComparedElements * element) / element * element;
  const auto output_of = [&](std::size_t i) -> core::Result<std::vector<std::byte>> {
    std::vector<std::byte> values(bytes);
    m.cuda().set_bytes(addresses[output], 0, tensor_bytes(*tensors[output]), m.stream);
    if (const core::Status done = launcher.execute(i); !done) {
      return done.error();
    }
    CUresult result = m.cuda().stream_synchronize(m.stream);
    if (result == CUDA_SUCCESS) {
      result = m.cuda().copy_to_host(values.data(), addresses[output], bytes);
    }
    if (result != CUDA_SUCCESS) {
      return cuda_error(m.cuda(), "spot check", result);
    }
    return values;
  };
  const core::DataType type = tensors[output]->type;
  while (order.size() >= 3) {
    std::array<std::vector<std::byte>, 3> outputs;
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      auto values = output_of(order[i]);
      if (!values) {
        return values.error();
      }
      outputs[i] = std::move(*values);
    }
    if (agree(outputs[0], outputs[1], type) || agree(outputs[0], outputs[2], type)) {
      break;
    }
    core::Candidate& wrong = enumeration.candidates[indices[order.front()]].candidate;
    if (!agree(outputs[1], outputs[2], type)) {
      break;  // no two agree: nothing says who is right
    }
    wrong.timing = core::Timing::kNone;
    wrong.time_us = core::kNoTime;
    wrong.spread = core::kNoTime;
    wrong.samples = 0;
    wrong.status = "wrong_result";
    order.erase(order.begin());
  }

  core::Record& record = measured.record;
  record.key.context = {m.gpu->fingerprint(), m.library->version()};
  record.key.problem = problem;
  record.heuristic_a_us = enumeration.heuristic_a_us;
  record.heuristic_b_us = enumeration.heuristic_b_us;
  record.heuristic_fallback_us = enumeration.heuristic_fallback_us;
  record.provenance.measured_at_s = std::chrono::duration_cast<std::chrono::seconds>(
                                        std::chrono::system_clock::now().time_since_epoch())
                                        .count();
  record.provenance.library = m.library->path();
  for (Planned& planned : enumeration.candidates) {
    record.candidates.push_back(std::move(planned.candidate));
  }
  return measured;
}

}  // namespace reformer::cudnn
