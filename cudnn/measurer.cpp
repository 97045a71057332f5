#include "cudnn/measurer.h"

#include "core/decision.h"
#include "cudnn/descriptor.h"
#include "cudnn/driver_functions.h"
#include "cudnn/pace.h"
#include "cudnn/plan_launcher.h"
#include "cudnn/tensor_values.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace reformer::cudnn {
namespace {

constexpr std::size_t kAlignment = 256;
constexpr std::size_t kPatternBytes = std::size_t{16} << 20;
constexpr std::size_t kComparedElements = std::size_t{1} << 16;

using Clock = std::chrono::steady_clock;

bool is_chosen(const core::Candidate& candidate, std::span<const core::EngineConfig> chosen) {
  return candidate.rank_a == 0 || candidate.rank_b == 0 ||
         std::ranges::find(chosen, candidate.config) != chosen.end();
}

// Bit 0: to be the fastest at all; then one for each of core::framework_filters().
Demands demands_met_by(const core::Candidate& candidate, const core::Problem& problem) {
  const auto filters = core::framework_filters(problem.x.type);
  Demands met = 1;
  for (std::size_t f = 0; f < filters.size(); ++f) {
    if ((candidate.numerical_notes & filters[f].forbidden_numerical_notes) == 0) {
      met |= Demands{2} << f;
    }
  }
  return met;
}

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

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

std::array<const core::TensorSpec*, 3> tensors_of(const core::Problem& problem) {
  return {&problem.x, &problem.w, &problem.y};
}

// Which of x, w, y the operation writes.
std::size_t output_of(const core::Problem& problem) {
  return problem.operation == core::Operation::kForward        ? 2
         : problem.operation == core::Operation::kDataGradient ? 0
                                                               : 1;
}

}  // namespace

struct Measurer::Impl {
  // Where the tensors of a problem are.
  struct Placement {
    std::array<CUdeviceptr, 3> tensors{};
    CUdeviceptr workspace = 0;
  };

  std::shared_ptr<const Library> library;
  std::shared_ptr<const Gpu> gpu;
  cudnnHandle_t handle = nullptr;
  CUstream stream = nullptr;
  std::vector<CUevent> events;
  CUdeviceptr arena = 0;
  std::size_t arena_bytes = 0;
  std::map<core::DataType, CUdeviceptr> patterns;  // kPatternBytes of random values each
  std::shared_ptr<Pace> pace;
  HostTimes times;
  double total_s = 0;
  double gpu_s = 0;

  [[nodiscard]] const DriverFunctions& cuda() const { return gpu->functions(); }
  [[nodiscard]] const Functions& f() const { return library->functions(); }

  Impl() = default;
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;
  ~Impl() {
    if (handle != nullptr) {
      (void)f().destroy(handle);
    }
    for (const CUevent event : events) {
      cuda().event_destroy(event);
    }
    if (stream != nullptr) {
      cuda().stream_destroy(stream);
    }
    release();
    for (const auto& [type, memory] : patterns) {
      cuda().mem_free(memory);
    }
  }

  void release() {
    if (arena != 0) {
      cuda().mem_free(arena);
    }
    arena = 0;
    arena_bytes = 0;
  }

  core::Status reserve(std::size_t bytes, std::int64_t max_bytes) {
    if (bytes > static_cast<std::size_t>(std::max<std::int64_t>(0, max_bytes))) {
      return core::make_error(core::ErrorCode::kExhausted,
                              "needs " + std::to_string(bytes >> 20) + " MiB of GPU memory");
    }
    if (bytes <= arena_bytes && arena_bytes <= static_cast<std::size_t>(max_bytes)) {
      return core::ok_status();
    }
    release();
    const CUresult result = cuda().mem_alloc(&arena, bytes);
    if (result == CUDA_ERROR_OUT_OF_MEMORY) {  // others have it: not the problem's fault
      arena = 0;
      return core::make_error(core::ErrorCode::kDenied, "the GPU's memory is in use");
    }
    if (result != CUDA_SUCCESS) {
      arena = 0;
      return cuda_error(cuda(), "cuMemAlloc", result);
    }
    arena_bytes = bytes;
    return core::ok_status();
  }

  core::Result<CUdeviceptr> pattern_of(core::DataType type) {
    CUdeviceptr& pattern = patterns[type];
    if (pattern != 0) {
      return pattern;
    }
    const std::vector<std::byte> values = random_values(type, kPatternBytes);
    CUresult result = cuda().mem_alloc(&pattern, kPatternBytes);
    if (result == CUDA_SUCCESS) {
      result = cuda().copy_to_device(pattern, values.data(), values.size());
    }
    if (result != CUDA_SUCCESS) {
      if (pattern != 0) {
        cuda().mem_free(pattern);
      }
      patterns.erase(type);
      return cuda_error(cuda(), "filling tensors", result);
    }
    return pattern;
  }

  core::Status fill(CUdeviceptr at, std::size_t bytes, core::DataType type) {
    const auto pattern = pattern_of(type);
    if (!pattern) {
      return pattern.error();
    }
    for (std::size_t done = 0; done < bytes; done += kPatternBytes) {
      const CUresult result =
          cuda().copy_on_device(at + done, *pattern, std::min(kPatternBytes, bytes - done), stream);
      if (result != CUDA_SUCCESS) {
        return cuda_error(cuda(), "filling tensors", result);
      }
    }
    return core::ok_status();
  }

  // Memory for the tensors and the largest workspace, as it is.
  core::Result<Placement> place(const core::Problem& problem,
                                const Enumeration& enumeration,
                                std::int64_t max_bytes) {
    std::size_t workspace = 0;
    for (const Planned& planned : enumeration.candidates) {
      if (planned.plan != nullptr) {
        workspace = std::max(workspace, static_cast<std::size_t>(planned.plan->workspace_bytes()));
      }
    }
    const auto tensors = tensors_of(problem);
    Placement placement;
    std::size_t total = 0;
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      placement.tensors[i] = total;
      total += rounded(tensor_bytes(*tensors[i]));
    }
    if (const core::Status reserved = reserve(total + rounded(workspace), max_bytes); !reserved) {
      return reserved.error();
    }
    placement.workspace = arena + total;
    for (CUdeviceptr& tensor : placement.tensors) {
      tensor += arena;
    }
    return placement;
  }

  core::Status fill(const core::Problem& problem, const Placement& placement) {
    const auto tensors = tensors_of(problem);
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      if (const core::Status filled =
              fill(placement.tensors[i], tensor_bytes(*tensors[i]), tensors[i]->type);
          !filled) {
        return filled;
      }
    }
    return core::ok_status();
  }

  core::Result<std::vector<std::byte>> result_of(PlanLauncher& launcher,
                                                 std::size_t candidate,
                                                 const core::Problem& problem,
                                                 const Placement& placement);
  core::Status check(PlanLauncher& launcher,
                     const core::Problem& problem,
                     const Placement& placement,
                     std::vector<core::Candidate*> entrants);
  core::Record new_record(const core::Problem& problem, const Enumeration& enumeration) const;
  static std::vector<std::size_t> add_plans(PlanLauncher& launcher,
                                            const Enumeration& enumeration,
                                            const Placement& placement);
};

Measurer::Measurer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Measurer::~Measurer() = default;

core::Result<std::unique_ptr<Measurer>> Measurer::create(std::shared_ptr<const Library> library,
                                                         std::shared_ptr<const Gpu> gpu,
                                                         std::shared_ptr<Pace> pace) {
  auto impl = std::make_unique<Impl>();
  impl->pace = pace != nullptr ? std::move(pace) : std::make_shared<Pace>();
  impl->library = std::move(library);
  impl->gpu = std::move(gpu);
  if (const core::Status current = impl->gpu->make_current(); !current) {
    return current.error();
  }
  const CUresult result = impl->cuda().stream_create(&impl->stream, CU_STREAM_NON_BLOCKING);
  if (result != CUDA_SUCCESS) {
    return cuda_error(impl->cuda(), "preparing the GPU", result);
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

void Measurer::release_memory() {
  impl_->release();
}

std::string Measurer::profile() const {
  const Impl& m = *impl_;
  const HostTimes& t = m.times;
  return fmt::format(
      "measuring {:.2f} s: fill {:.2f}, first look {:.2f}, capture {:.2f}, graphs {:.2f}, check "
      "{:.2f}; GPU busy with launches {:.2f}; loading kernels before {:.2f}",
      m.total_s,
      t.fill,
      t.first_look,
      t.capture,
      t.graphs,
      t.check,
      m.gpu_s,
      t.load);
}

// What a candidate computes, from a cleared output.
core::Result<std::vector<std::byte>> Measurer::Impl::result_of(PlanLauncher& launcher,
                                                               std::size_t candidate,
                                                               const core::Problem& problem,
                                                               const Placement& placement) {
  const std::size_t output = output_of(problem);
  const core::TensorSpec& tensor = *tensors_of(problem)[output];
  const auto element = static_cast<std::size_t>(core::size_of(tensor.type));
  const std::size_t whole = tensor_bytes(tensor);
  std::vector<std::byte> values(std::min(whole, kComparedElements * element) / element * element);
  cuda().set_bytes(placement.tensors[output], 0, whole, stream);
  if (const core::Status done = launcher.execute(candidate); !done) {
    return done.error();
  }
  CUresult result = cuda().stream_synchronize(stream);
  if (result == CUDA_SUCCESS) {
    result = cuda().copy_to_host(values.data(), placement.tensors[output], values.size());
  }
  if (result != CUDA_SUCCESS) {
    return cuda_error(cuda(), "spot check", result);
  }
  return values;
}

// The winner's output against that of the next best; a third decides who of them is wrong.
core::Status Measurer::Impl::check(PlanLauncher& launcher,
                                   const core::Problem& problem,
                                   const Placement& placement,
                                   std::vector<core::Candidate*> entrants) {
  const Clock::time_point start = Clock::now();
  std::vector<std::size_t> order;
  for (std::size_t i = 0; i < entrants.size(); ++i) {
    if (entrants[i]->timed()) {
      order.push_back(i);
    }
  }
  std::sort(order.begin(), order.end(), [&](std::size_t one, std::size_t other) {
    return entrants[one]->time_us < entrants[other]->time_us;
  });
  const core::DataType type = tensors_of(problem)[output_of(problem)]->type;
  for (std::size_t first = 0; first + 2 < order.size(); ++first) {
    std::array<std::vector<std::byte>, 3> outputs;
    bool settled = false;
    for (std::size_t i = 0; i < outputs.size() && !settled; ++i) {
      auto values = result_of(launcher, order[first + i], problem, placement);
      if (!values) {
        return values.error();
      }
      outputs[i] = std::move(*values);
      settled = i > 0 && agree(outputs[0], outputs[i], type);
    }
    // Where no two agree nothing says who is right.
    if (settled || !agree(outputs[1], outputs[2], type)) {
      break;
    }
    core::Candidate& wrong = *entrants[order[first]];
    wrong.timing = core::Timing::kNone;
    wrong.time_us = core::kNoTime;
    wrong.spread = core::kNoTime;
    wrong.samples = 0;
    wrong.status = "wrong_result";
  }
  times.check += seconds_since(start);
  return core::ok_status();
}

core::Record Measurer::Impl::new_record(const core::Problem& problem,
                                        const Enumeration& enumeration) const {
  core::Record record;
  record.key.context = {gpu->fingerprint(), library->version()};
  record.key.problem = problem;
  record.heuristic_a_us = enumeration.heuristic_a_us;
  record.heuristic_b_us = enumeration.heuristic_b_us;
  record.heuristic_fallback_us = enumeration.heuristic_fallback_us;
  record.provenance.measured_at_s = std::chrono::duration_cast<std::chrono::seconds>(
                                        std::chrono::system_clock::now().time_since_epoch())
                                        .count();
  record.provenance.library = library->path();
  for (const Planned& planned : enumeration.candidates) {
    record.candidates.push_back(planned.candidate);
  }
  return record;
}

// Gives the launcher the plans that it takes; their places in the enumeration.
std::vector<std::size_t> Measurer::Impl::add_plans(PlanLauncher& launcher,
                                                   const Enumeration& enumeration,
                                                   const Placement& placement) {
  std::vector<std::size_t> added;
  for (std::size_t i = 0; i < enumeration.candidates.size(); ++i) {
    const auto& plan = enumeration.candidates[i].plan;
    if (plan != nullptr && launcher.add(*plan, placement.tensors, placement.workspace)) {
      added.push_back(i);
    }
  }
  return added;
}

void Measurer::load(const core::Problem& problem,
                    const Enumeration& enumeration,
                    const Limits& limits,
                    const std::function<bool()>& stop) {
  Impl& m = *impl_;
  const Clock::time_point start = Clock::now();
  const auto placement = m.place(problem, enumeration, limits.max_memory_bytes);
  if (!placement) {
    return;  // measure() will say so
  }
  PlanLauncher launcher({m.f(), m.cuda(), m.handle, m.stream, m.events, m.times});
  const std::size_t count = m.add_plans(launcher, enumeration, *placement).size();
  for (std::size_t i = 0; i < count && !stop(); ++i) {
    launcher.load(i);
  }
  m.times.load += seconds_since(start);
}

core::Result<Measurer::Measured> Measurer::measure(const core::Problem& problem,
                                                   const Enumeration& enumeration,
                                                   const Limits& limits,
                                                   const std::function<bool()>& stop) {
  Impl& m = *impl_;
  const Clock::time_point start = Clock::now();
  const auto placement = m.place(problem, enumeration, limits.max_memory_bytes);
  if (!placement) {
    return placement.error();
  }
  const Clock::time_point filling = Clock::now();
  if (const core::Status filled = m.fill(problem, *placement); !filled) {
    return filled.error();
  }
  m.times.fill += seconds_since(filling);
  PlanLauncher launcher({m.f(), m.cuda(), m.handle, m.stream, m.events, m.times});
  Measured measured{m.new_record(problem, enumeration), 0};
  std::vector<core::Candidate*> candidates;  // that have a plan
  std::vector<Entrant> entrants;
  for (const std::size_t i : m.add_plans(launcher, enumeration, *placement)) {
    core::Candidate& candidate = measured.record.candidates[i];
    const std::int32_t engine = candidate.config.engine();
    candidates.push_back(&candidate);
    entrants.push_back({engine,
                        m.pace->least_us(problem, engine),
                        limits.for_applications ? demands_met_by(candidate, problem) : 1,
                        is_chosen(candidate, limits.chosen)});
  }
  core::Result<RaceOutcome> outcome = race(launcher, entrants, limits.race, stop);
  if (!outcome) {
    return outcome.error();
  }
  measured.gpu_us = outcome->gpu_us;
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    core::Candidate& candidate = *candidates[i];
    const RaceResult& result = outcome->results[i];
    candidate.timing = result.timing;
    candidate.time_us = result.time_us;
    candidate.spread = result.spread;
    candidate.samples = result.samples;
    candidate.status = result.status;
    if (candidate.timed()) {
      m.pace->note(problem, candidate.config.engine(), candidate.time_us);
    }
  }
  m.gpu_s += outcome->gpu_us * 1e-6;
  if (outcome->stopped) {
    m.total_s += seconds_since(start);
    return core::make_error(core::ErrorCode::kTimeout, "gave way before it was finished");
  }
  if (const core::Status checked = m.check(launcher, problem, *placement, std::move(candidates));
      !checked) {
    return checked.error();
  }
  m.total_s += seconds_since(start);
  return measured;
}

}  // namespace reformer::cudnn
