#include "cudnn/planner.h"

#include "cudnn/descriptor.h"
#include "cudnn/knob_space.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <ctime>
#include <unordered_map>
#include <utility>

namespace reformer::cudnn {

struct Plan::Impl {
  std::shared_ptr<const Library> library;  // whose functions destroy the descriptor
  Descriptor plan;
  std::int64_t workspace_bytes = 0;
};

Plan::Plan(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Plan::~Plan() = default;
Plan::Plan(Plan&&) noexcept = default;
Plan& Plan::operator=(Plan&&) noexcept = default;
std::int64_t Plan::workspace_bytes() const {
  return impl_->workspace_bytes;
}
void* Plan::descriptor() const {
  return impl_->plan.get();
}

core::Status Plan::serialise(core::StoredPlan& stored) const {
  std::int64_t count = 0;
  cudnnStatus_t status = impl_->plan.get(
      CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION, CUDNN_TYPE_CHAR, 0, count, nullptr);
  if (status == CUDNN_STATUS_SUCCESS && count > 0) {
    stored.json.resize(static_cast<std::size_t>(count));
    status = impl_->plan.get(CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION,
                             CUDNN_TYPE_CHAR,
                             count,
                             count,
                             stored.json.data());
  }
  if (status != CUDNN_STATUS_SUCCESS || stored.json.empty()) {
    return core::make_error(core::ErrorCode::kUnsupported, "cuDNN does not serialise the plan");
  }
  stored.cuda_version = impl_->library->functions().get_cudart_version();
  return core::ok_status();
}

std::vector<core::StoredPlan> plans_to_keep(const core::Record& measured,
                                            const Enumeration& enumeration) {
  constexpr std::size_t kMost = 3;
  const auto compiled = [](const core::Candidate& candidate) {
    return (candidate.behavior_notes & core::behavior_note::kRuntimeCompilation) != 0;
  };
  const core::KeyHash key = core::hash_key(measured.key);
  std::vector<const core::Candidate*> best;
  for (const core::Candidate& candidate : measured.candidates) {
    // Whoever may run `candidate` may run `other`, which is as fast and needs no compiler.
    const auto makes_needless = [&](const core::Candidate& other) {
      return !compiled(other) && other.time_us <= candidate.time_us &&
             (other.numerical_notes & ~candidate.numerical_notes) == 0;
    };
    if (compiled(candidate) && candidate.time_us > 0 &&
        std::none_of(measured.candidates.begin(), measured.candidates.end(), makes_needless)) {
      best.push_back(&candidate);
    }
  }
  std::sort(best.begin(), best.end(), [](const auto* one, const auto* other) {
    return one->time_us < other->time_us;
  });
  std::vector<core::StoredPlan> kept;
  for (const core::Candidate* candidate : best) {
    const auto planned = std::find_if(
        enumeration.candidates.begin(), enumeration.candidates.end(), [&](const Planned& each) {
          return each.plan != nullptr && each.candidate.config == candidate->config;
        });
    core::StoredPlan stored{key, candidate->config, 0, {}};
    if (planned != enumeration.candidates.end() && kept.size() < kMost &&
        planned->plan->serialise(stored) && stored.json.size() <= core::kMaxPlanBytes) {
      kept.push_back(std::move(stored));
    }
  }
  return kept;
}

struct Planner::Impl {
  std::shared_ptr<const Library> library;
  std::shared_ptr<const Gpu> gpu;
  cudnnHandle_t handle = nullptr;          // with a GPU
  std::unique_ptr<Descriptor> properties;  // without

  Impl() = default;
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;
  ~Impl() {
    properties.reset();
    if (handle != nullptr) {
      (void)library->functions().destroy(handle);
    }
  }
  [[nodiscard]] const Functions& f() const { return library->functions(); }
  // Says for which GPU a descriptor is meant, where there is no handle that does.
  [[nodiscard]] cudnnStatus_t set_properties(const Descriptor& descriptor,
                                             cudnnBackendAttributeName_t name) const {
    return properties == nullptr ? CUDNN_STATUS_SUCCESS
                                 : descriptor.set_descriptor(name, *properties);
  }

  core::Result<Descriptor> make_engine(const Descriptor& graph, std::int32_t index) const;
  core::Result<Descriptor> make_config(const Descriptor& graph,
                                       const core::EngineConfig& config) const;
  core::Result<std::vector<Descriptor>> heuristic(const Descriptor& graph,
                                                  cudnnBackendHeurMode_t mode) const;
  core::Result<core::Candidate> describe(const Descriptor& config) const;
  void build(Planned& planned, const Descriptor& config, const EnumerationLimits& limits) const;
};

namespace {

using Clock = std::chrono::steady_clock;

float elapsed_us(Clock::time_point since) {
  return std::chrono::duration<float, std::micro>(Clock::now() - since).count();
}

// Processor time of the calling thread since its beginning, microseconds.
double thread_us() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e6 + static_cast<double>(now.tv_nsec) / 1e3;
}

constexpr std::int64_t kMaxConfigs = 512;
constexpr std::int64_t kMaxNotes = 32;

// Numbers of a note attribute as bits; absent attributes are no notes.
template <typename Note>
std::uint32_t read_notes(const Descriptor& engine,
                         cudnnBackendAttributeName_t name,
                         cudnnBackendAttributeType_t type) {
  std::array<Note, kMaxNotes> notes{};
  std::int64_t count = 0;
  std::uint32_t bits = 0;
  if (engine.get(name, type, kMaxNotes, count, notes.data()) == CUDNN_STATUS_SUCCESS) {
    for (std::int64_t i = 0; i < std::min(count, kMaxNotes); ++i) {
      const auto number = static_cast<std::uint32_t>(notes[static_cast<std::size_t>(i)]);
      bits |= number < 32 ? 1u << number : 0u;
    }
  }
  return bits;
}

std::string workspace_status(std::int64_t limit) {
  constexpr std::int64_t kGibibyte = std::int64_t{1} << 30;
  return limit % kGibibyte == 0 ? "workspace_over_" + std::to_string(limit / kGibibyte) + "GiB"
                                : "workspace_over_" + std::to_string(limit) + "B";
}

}  // namespace

core::Result<Descriptor> Planner::Impl::make_engine(const Descriptor& graph,
                                                    std::int32_t index) const {
  auto engine = Descriptor::create(f(), CUDNN_BACKEND_ENGINE_DESCRIPTOR);
  if (!engine) {
    return engine;
  }
  cudnnStatus_t status = engine->set_descriptor(CUDNN_ATTR_ENGINE_OPERATION_GRAPH, graph);
  if (status == CUDNN_STATUS_SUCCESS) {
    status = engine->set_int(CUDNN_ATTR_ENGINE_GLOBAL_INDEX, index);
  }
  if (status == CUDNN_STATUS_SUCCESS) {
    status = set_properties(*engine, CUDNN_ATTR_ENGINE_DEVICEPROP);
  }
  if (status == CUDNN_STATUS_SUCCESS) {
    status = engine->finalize();
  }
  if (status != CUDNN_STATUS_SUCCESS) {
    return status_error(f(), "engine " + std::to_string(index), status);
  }
  return engine;
}

core::Result<Descriptor> Planner::Impl::make_config(const Descriptor& graph,
                                                    const core::EngineConfig& config) const {
  auto engine = make_engine(graph, config.engine());
  if (!engine) {
    return engine;
  }
  std::vector<Descriptor> choices;
  std::vector<cudnnBackendDescriptor_t> raw;
  for (const core::Knob& knob : config.knobs()) {
    auto choice = Descriptor::create(f(), CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR);
    if (!choice) {
      return choice;
    }
    const auto type = static_cast<cudnnBackendKnobType_t>(knob.type);
    cudnnStatus_t status =
        choice->set(CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, CUDNN_TYPE_KNOB_TYPE, 1, &type);
    if (status == CUDNN_STATUS_SUCCESS) {
      status = choice->set_int(CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE, knob.value);
    }
    if (status == CUDNN_STATUS_SUCCESS) {
      status = choice->finalize();
    }
    if (status != CUDNN_STATUS_SUCCESS) {
      return status_error(f(), "knob " + std::to_string(knob.type), status);
    }
    raw.push_back(choice->get());
    choices.push_back(std::move(*choice));
  }
  auto made = Descriptor::create(f(), CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
  if (!made) {
    return made;
  }
  cudnnStatus_t status = made->set_descriptor(CUDNN_ATTR_ENGINECFG_ENGINE, *engine);
  if (status == CUDNN_STATUS_SUCCESS && !raw.empty()) {
    status = made->set(CUDNN_ATTR_ENGINECFG_KNOB_CHOICES,
                       CUDNN_TYPE_BACKEND_DESCRIPTOR,
                       static_cast<std::int64_t>(raw.size()),
                       raw.data());
  }
  if (status == CUDNN_STATUS_SUCCESS) {
    status = made->finalize();
  }
  if (status != CUDNN_STATUS_SUCCESS) {
    return status_error(f(), "configuration " + core::format_engine_config(config), status);
  }
  return made;
}

core::Result<std::vector<Descriptor>> Planner::Impl::heuristic(const Descriptor& graph,
                                                               cudnnBackendHeurMode_t mode) const {
  auto heuristics = Descriptor::create(f(), CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
  if (!heuristics) {
    return heuristics.error();
  }
  cudnnStatus_t status = heuristics->set_descriptor(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph);
  if (status == CUDNN_STATUS_SUCCESS) {
    status = heuristics->set(CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode);
  }
  if (status == CUDNN_STATUS_SUCCESS) {
    status = set_properties(*heuristics, CUDNN_ATTR_ENGINEHEUR_DEVICEPROP);
  }
  if (status == CUDNN_STATUS_SUCCESS) {
    status = heuristics->finalize();
  }
  std::int64_t count = 0;
  if (status == CUDNN_STATUS_SUCCESS) {
    status = heuristics->get(
        CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, 0, count, nullptr);
  }
  if (status != CUDNN_STATUS_SUCCESS) {
    return status_error(f(), "heuristics", status);
  }
  count = std::min(count, kMaxConfigs);
  std::vector<Descriptor> configs;
  std::vector<cudnnBackendDescriptor_t> raw;
  for (std::int64_t i = 0; i < count; ++i) {
    auto config = Descriptor::create(f(), CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
    if (!config) {
      return config.error();
    }
    raw.push_back(config->get());
    configs.push_back(std::move(*config));
  }
  std::int64_t fetched = 0;
  status = heuristics->get(
      CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, count, fetched, raw.data());
  if (status != CUDNN_STATUS_SUCCESS) {
    return status_error(f(), "heuristics' results", status);
  }
  configs.erase(configs.begin() + std::min(fetched, count), configs.end());
  return configs;
}

// Engine, knobs and notes of a finalised configuration.
core::Result<core::Candidate> Planner::Impl::describe(const Descriptor& config) const {
  auto engine = Descriptor::create(f(), CUDNN_BACKEND_ENGINE_DESCRIPTOR);
  if (!engine) {
    return engine.error();
  }
  std::int64_t count = 0;
  cudnnBackendDescriptor_t raw_engine = engine->get();
  cudnnStatus_t status =
      config.get(CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, count, &raw_engine);
  std::int64_t index = -1;
  if (status == CUDNN_STATUS_SUCCESS) {
    status = engine->get(CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64, 1, count, &index);
  }
  std::vector<Descriptor> choices;
  std::array<cudnnBackendDescriptor_t, core::kMaxKnobs> raw{};
  for (std::size_t i = 0; status == CUDNN_STATUS_SUCCESS && i < raw.size(); ++i) {
    auto choice = Descriptor::create(f(), CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR);
    if (!choice) {
      return choice.error();
    }
    raw[i] = choice->get();
    choices.push_back(std::move(*choice));
  }
  std::int64_t knobs = 0;
  if (status == CUDNN_STATUS_SUCCESS) {
    status = config.get(CUDNN_ATTR_ENGINECFG_KNOB_CHOICES,
                        CUDNN_TYPE_BACKEND_DESCRIPTOR,
                        static_cast<std::int64_t>(raw.size()),
                        knobs,
                        raw.data());
  }
  if (status != CUDNN_STATUS_SUCCESS) {
    return status_error(f(), "reading a configuration", status);
  }
  core::Candidate candidate;
  candidate.config = core::EngineConfig(static_cast<std::int32_t>(index));
  for (std::size_t i = 0; i < static_cast<std::size_t>(knobs) && i < choices.size(); ++i) {
    cudnnBackendKnobType_t type{};
    std::int64_t value = 0;
    status =
        choices[i].get(CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, CUDNN_TYPE_KNOB_TYPE, 1, count, &type);
    if (status == CUDNN_STATUS_SUCCESS) {
      status =
          choices[i].get(CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE, CUDNN_TYPE_INT64, 1, count, &value);
    }
    if (status != CUDNN_STATUS_SUCCESS) {
      return status_error(f(), "reading a knob", status);
    }
    if (const core::Status added = candidate.config.add_knob(
            {static_cast<std::int32_t>(type), static_cast<std::int32_t>(value)});
        !added) {
      return added.error();
    }
  }
  candidate.numerical_notes = read_notes<cudnnBackendNumericalNote_t>(
      *engine, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE);
  candidate.behavior_notes = read_notes<cudnnBackendBehaviorNote_t>(
      *engine, CUDNN_ATTR_ENGINE_BEHAVIOR_NOTE, CUDNN_TYPE_BEHAVIOR_NOTE);
  return candidate;
}

void Planner::Impl::build(Planned& planned,
                          const Descriptor& config,
                          const EnumerationLimits& limits) const {
  auto made = Descriptor::create(f(), CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
  if (!made) {
    planned.candidate.status = made.error().message;
    return;
  }
  // Not by the wall clock: builders wait for each other, an application's one thread for nobody.
  const double start_us = thread_us();
  cudnnStatus_t status = made->set_descriptor(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, config);
  if (status == CUDNN_STATUS_SUCCESS) {
    status = handle != nullptr ? made->set_handle(CUDNN_ATTR_EXECUTION_PLAN_HANDLE, handle)
                               : set_properties(*made, CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP);
  }
  if (status == CUDNN_STATUS_SUCCESS) {
    status = made->finalize();
  }
  planned.candidate.build_us = static_cast<float>(thread_us() - start_us);
  std::int64_t workspace = 0;
  std::int64_t count = 0;
  if (status == CUDNN_STATUS_SUCCESS) {
    status =
        made->get(CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64, 1, count, &workspace);
  }
  if (status != CUDNN_STATUS_SUCCESS) {
    planned.candidate.status = f().get_error_string(status);
    return;
  }
  planned.candidate.workspace_bytes = std::max<std::int64_t>(0, workspace);
  if (workspace > limits.max_workspace_bytes) {
    planned.candidate.status = workspace_status(limits.max_workspace_bytes);
    return;
  }
  planned.plan = std::unique_ptr<Plan>(new Plan(std::unique_ptr<Plan::Impl>(
      new Plan::Impl{library, std::move(*made), planned.candidate.workspace_bytes})));
}

Planner::Planner(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Planner::~Planner() = default;

core::Result<std::unique_ptr<Planner>> Planner::for_gpu(std::shared_ptr<const Library> library,
                                                        std::shared_ptr<const Gpu> gpu) {
  auto impl = std::make_unique<Impl>();
  impl->library = std::move(library);
  impl->gpu = std::move(gpu);
  if (const core::Status current = impl->gpu->make_current(); !current) {
    return current.error();
  }
  if (const cudnnStatus_t status = impl->f().create(&impl->handle);
      status != CUDNN_STATUS_SUCCESS) {
    impl->handle = nullptr;
    return status_error(impl->f(), "cudnnCreate", status);
  }
  return std::unique_ptr<Planner>(new Planner(std::move(impl)));
}

core::Result<std::unique_ptr<Planner>> Planner::for_properties(
    std::shared_ptr<const Library> library, const std::string& properties_json) {
  auto impl = std::make_unique<Impl>();
  impl->library = std::move(library);
  auto properties = Descriptor::create(impl->f(), CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR);
  if (!properties) {
    return properties.error();
  }
  cudnnStatus_t status = properties->set(CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION,
                                         CUDNN_TYPE_CHAR,
                                         static_cast<std::int64_t>(properties_json.size()),
                                         properties_json.data());
  if (status == CUDNN_STATUS_SUCCESS) {
    status = properties->finalize();
  }
  if (status != CUDNN_STATUS_SUCCESS) {
    return status_error(impl->f(), "device properties", status);
  }
  impl->properties = std::make_unique<Descriptor>(std::move(*properties));
  return std::unique_ptr<Planner>(new Planner(std::move(impl)));
}

core::Result<Enumeration> Planner::enumerate(const core::Problem& problem,
                                             std::span<const core::EngineConfig> extra,
                                             const EnumerationLimits& limits) {
  auto graph = make_graph(impl_->f(), impl_->handle, problem);
  if (!graph) {
    return graph.error();
  }
  Enumeration result;
  std::unordered_map<core::EngineConfig, std::size_t, core::EngineConfigHash> known;
  struct Mode {
    cudnnBackendHeurMode_t mode;
    std::int16_t core::Candidate::*rank;
    float Enumeration::*time;
  };
  const std::array<Mode, 3> modes{
      {{CUDNN_HEUR_MODE_A, &core::Candidate::rank_a, &Enumeration::heuristic_a_us},
       {CUDNN_HEUR_MODE_B, &core::Candidate::rank_b, &Enumeration::heuristic_b_us},
       {CUDNN_HEUR_MODE_FALLBACK,
        &core::Candidate::rank_fallback,
        &Enumeration::heuristic_fallback_us}}};
  core::Error last{core::ErrorCode::kUnsupported, "cuDNN has no configuration for the problem"};
  for (const Mode& mode : modes) {
    const Clock::time_point start = Clock::now();
    auto configs = impl_->heuristic(*graph, mode.mode);
    if (!configs) {
      last = configs.error();
      continue;
    }
    result.*mode.time = elapsed_us(start);
    std::int16_t rank = 0;
    for (const Descriptor& config : *configs) {
      auto candidate = impl_->describe(config);
      if (!candidate) {
        last = candidate.error();
        continue;
      }
      const auto [found, is_new] = known.emplace(candidate->config, result.candidates.size());
      if (is_new) {
        result.candidates.push_back({std::move(*candidate), nullptr});
        impl_->build(result.candidates.back(), config, limits);
      }
      std::int16_t& place = result.candidates[found->second].candidate.*mode.rank;
      place = place == core::kNoRank ? rank : place;
      ++rank;
    }
  }
  for (const core::EngineConfig& config : extra) {
    if (limits.enough && limits.enough()) {
      break;
    }
    if (!known.emplace(config, result.candidates.size()).second) {
      continue;
    }
    auto made = impl_->make_config(*graph, config);
    auto candidate = made ? impl_->describe(*made) : core::Result<core::Candidate>(made.error());
    if (candidate) {
      result.candidates.push_back({std::move(*candidate), nullptr});
      impl_->build(result.candidates.back(), *made, limits);
    }
  }
  if (result.candidates.empty()) {
    return last;
  }
  return result;
}

namespace {

core::Result<std::vector<KnobRange>> knob_ranges(const Functions& functions,
                                                 const Descriptor& engine) {
  std::vector<Descriptor> knobs;
  std::vector<cudnnBackendDescriptor_t> raw;
  for (std::size_t i = 0; i < core::kMaxKnobs; ++i) {
    auto knob = Descriptor::create(functions, CUDNN_BACKEND_KNOB_INFO_DESCRIPTOR);
    if (!knob) {
      return knob.error();
    }
    raw.push_back(knob->get());
    knobs.push_back(std::move(*knob));
  }
  std::int64_t count = 0;
  cudnnStatus_t status = engine.get(CUDNN_ATTR_ENGINE_KNOB_INFO,
                                    CUDNN_TYPE_BACKEND_DESCRIPTOR,
                                    static_cast<std::int64_t>(raw.size()),
                                    count,
                                    raw.data());
  std::vector<KnobRange> ranges;
  for (std::size_t i = 0;
       status == CUDNN_STATUS_SUCCESS && i < knobs.size() && i < static_cast<std::size_t>(count);
       ++i) {
    cudnnBackendKnobType_t type{};
    KnobRange range;
    std::int64_t one = 0;
    status = knobs[i].get(CUDNN_ATTR_KNOB_INFO_TYPE, CUDNN_TYPE_KNOB_TYPE, 1, one, &type);
    (void)knobs[i].get(CUDNN_ATTR_KNOB_INFO_MINIMUM_VALUE, CUDNN_TYPE_INT64, 1, one, &range.low);
    (void)knobs[i].get(CUDNN_ATTR_KNOB_INFO_MAXIMUM_VALUE, CUDNN_TYPE_INT64, 1, one, &range.high);
    (void)knobs[i].get(CUDNN_ATTR_KNOB_INFO_STRIDE, CUDNN_TYPE_INT64, 1, one, &range.step);
    range.type = static_cast<std::int32_t>(type);
    range.step = std::max<std::int64_t>(1, range.step);
    ranges.push_back(range);
  }
  if (status != CUDNN_STATUS_SUCCESS) {
    return status_error(functions, "knobs", status);
  }
  return ranges;
}

}  // namespace

core::Result<std::vector<core::EngineConfig>> Planner::explore(const core::Problem& problem,
                                                               std::int32_t engine,
                                                               std::size_t limit) {
  auto graph = make_graph(impl_->f(), impl_->handle, problem);
  if (!graph) {
    return graph.error();
  }
  auto made = impl_->make_engine(*graph, engine);
  if (!made) {
    return made.error();
  }
  const auto ranges = knob_ranges(impl_->f(), *made);
  if (!ranges) {
    return ranges.error();
  }
  std::vector<core::EngineConfig> accepted;
  KnobSpace space(*ranges, 64 * limit);
  for (auto setting = space.next(); setting && accepted.size() < limit; setting = space.next()) {
    core::EngineConfig config(engine);
    const bool fits = std::all_of(setting->begin(), setting->end(), [&config](core::Knob knob) {
      return config.add_knob(knob).ok();
    });
    if (fits && impl_->make_config(*graph, config)) {
      accepted.push_back(config);
    }
  }
  return accepted;
}

}  // namespace reformer::cudnn
