#include "libclient/shim/session.h"

#include "libclient/shim/device.h"
#include "libclient/shim/engine.h"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <iterator>
#include <mutex>
#include <utility>

namespace reformer::shim {
namespace {

constexpr std::chrono::milliseconds kReportInterval{5000};
// Executions between two looks at the clock.
constexpr std::uint32_t kExecutionsPerLook = 256;
constexpr std::int64_t kMostFollowing = 4096;

namespace note = core::numerical_note;
constexpr std::uint32_t kAlways = note::kDownConvertInputs;
constexpr std::uint32_t kDeterministic = kAlways | note::kNondeterministic;
// What frameworks refuse (docs/frameworks.md): PyTorch as it is and with deterministic algorithms,
// XLA; then the same two of PyTorch without TF32, which matters to f32 alone.
constexpr std::uint32_t kRefusedByFrameworks[] = {kAlways,
                                                  kDeterministic,
                                                  kDeterministic | note::kWinograd,
                                                  kAlways | note::kTensorCore,
                                                  kDeterministic | note::kTensorCore};
constexpr std::size_t kRefusedForAnyType = 3;

// Whether every framework finds something in the list that it may run.
bool covers_filters(const Served& served, const core::Problem& problem) {
  const std::size_t filters =
      problem.x.type == core::DataType::kF32 ? std::size(kRefusedByFrameworks) : kRefusedForAnyType;
  const auto& entries = served.answer->decision.entries;
  return std::all_of(
      kRefusedByFrameworks, kRefusedByFrameworks + filters, [&](std::uint32_t refused) {
        return std::any_of(served.entries.begin(), served.entries.end(), [&](std::size_t entry) {
          return (entries[entry].numerical_notes & refused) == 0;
        });
      });
}

// Keeps the application's descriptor from being destroyed while the answer needs it.
template <typename Kind>
std::shared_ptr<Kept> keep(Descriptors& descriptors, cudnnBackendDescriptor_t descriptor) {
  std::shared_ptr<Kept> kept;
  auto fresh = std::make_shared<Kept>(descriptor);  // not under the lock
  descriptors.with<Kind>(descriptor, [&](Kind& record) {
    if (record.kept == nullptr) {
      record.kept = std::move(fresh);
    }
    kept = record.kept;
  });
  return kept;
}

// Finalises the real query after all, so that its entries can follow; how many there are at most.
std::int64_t finalize_own_list(const RealCudnn& real, cudnnBackendDescriptor_t heuristics) {
  std::int64_t count = 0;
  const bool ok = real.finalize(heuristics) == CUDNN_STATUS_SUCCESS &&
                  real.get(heuristics,
                           CUDNN_ATTR_ENGINEHEUR_RESULTS,
                           CUDNN_TYPE_BACKEND_DESCRIPTOR,
                           0,
                           &count,
                           nullptr) == CUDNN_STATUS_SUCCESS;
  // cuDNN's lists have some dozen entries: more is not believed, and not added to.
  return ok ? std::clamp<std::int64_t>(count, 0, kMostFollowing) : 0;
}

}  // namespace

namespace {
Descriptors* forked = nullptr;
}  // namespace

Mode mode_from_environment() {
  const char* value = std::getenv("REFORMER_MODE");
  const std::string_view text = value == nullptr ? "" : value;
  if (text.empty() || text == "assist") {
    return Mode::kAssist;
  }
  if (text == "observe") {
    return Mode::kObserve;
  }
  return text == "replay" ? Mode::kReplay : Mode::kOff;
}

Session* Session::make() {
  const Mode mode = mode_from_environment();
  if (mode == Mode::kOff) {
    return nullptr;
  }
  client::Options options;
  options.name = "libreformer_cudnn 0.1.0";
  options.verify_misses = mode != Mode::kReplay;
  auto client = client::Client::create(std::move(options));
  if (!client) {
    return nullptr;
  }
  auto* session = new Session(mode, std::move(*client));
  forked = &session->descriptors_;
  // A child must not inherit a lock that a thread of its parent was holding.
  (void)::pthread_atfork(
      [] { forked->lock_all(); }, [] { forked->unlock_all(); }, [] { forked->unlock_all(); });
  return session;
}

namespace {
// Not function-local statics with destructors: those would be destroyed at exit.
std::once_flag made;
std::atomic<Session*> the_session{nullptr};
}  // namespace

Session* Session::get() noexcept {
  try {
    std::call_once(made, [] { the_session.store(make(), std::memory_order_release); });
  } catch (...) {
    return nullptr;
  }
  return existing();
}

Session* Session::existing() noexcept {
  return the_session.load(std::memory_order_acquire);
}

std::optional<std::size_t> Session::context_of(const RealCudnn& real,
                                               cudnnBackendDescriptor_t device_properties) {
  if (device_properties == nullptr) {
    const auto ordinal = current_ordinal();
    return ordinal ? context_of(real, *ordinal) : std::nullopt;
  }
  std::optional<std::size_t> known;
  std::string json;
  descriptors_.with<DevicePropertiesRecord>(device_properties,
                                            [&](const DevicePropertiesRecord& record) {
                                              known = record.context;
                                              json = known ? std::string() : record.json;
                                            });
  if (known) {
    return known;
  }
  const auto device = core::device_from_properties_json(json);
  if (!device) {
    return std::nullopt;
  }
  client::ContextInfo info;
  info.context = {*device, static_cast<std::int64_t>(real.get_version())};
  info.library = real.path;
  const core::Result<std::size_t> context = client_->add_context(std::move(info));
  if (!context) {
    return std::nullopt;
  }
  descriptors_.with<DevicePropertiesRecord>(
      device_properties, [&](DevicePropertiesRecord& record) { record.context = *context; });
  return *context;
}

std::optional<std::size_t> Session::context_of(const RealCudnn& real, CuDevice ordinal) {
  if (ordinal < 0 || static_cast<std::size_t>(ordinal) >= kOrdinals) {
    return std::nullopt;
  }
  std::atomic<std::size_t>& known = contexts_[static_cast<std::size_t>(ordinal)];
  if (const std::size_t context = known.load(std::memory_order_acquire)) {
    return context - 1;
  }
  client::ContextInfo info;
  if (!describe_device(ordinal, info.context.device)) {
    return std::nullopt;
  }
  info.context.cudnn_version = static_cast<std::int64_t>(real.get_version());
  info.library = real.path;
  info.gpu = ordinal;
  const core::Result<std::size_t> context = client_->add_context(std::move(info));
  if (!context) {
    return std::nullopt;
  }
  known.store(*context + 1, std::memory_order_release);
  return *context;
}

std::optional<std::size_t> Session::context_of(const RealCudnn& real, cudnnHandle_t handle) {
  {
    const std::lock_guard lock(handles_mutex_);
    for (const Handle& known : handles_) {
      if (known.handle == handle && handle != nullptr) {
        return context_of(real, known.ordinal);
      }
    }
  }
  const auto ordinal = current_ordinal();
  return ordinal ? context_of(real, *ordinal) : std::nullopt;
}

void Session::note_handle(cudnnHandle_t handle) {
  const auto ordinal = current_ordinal();
  const std::lock_guard lock(handles_mutex_);
  for (Handle& place : handles_) {
    if (ordinal && (place.handle == nullptr || place.handle == handle)) {
      place = {handle, *ordinal};
      return;
    }
  }
}

void Session::forget_handle(cudnnHandle_t handle) {
  const std::lock_guard lock(handles_mutex_);
  for (Handle& place : handles_) {
    if (place.handle == handle) {
      place = {};
    }
  }
}

const core::Decision* Session::legacy_decision(cudnnHandle_t handle,
                                               const std::optional<core::Problem>& problem) {
  const RealCudnn* real = real_cudnn();
  const auto context =
      real != nullptr && problem ? context_of(*real, handle) : std::optional<std::size_t>();
  const auto answer = context ? client_->query(*context, *problem)
                              : core::make_error(core::ErrorCode::kInvalidArgument, "no problem");
  client_->flush_if_due(kReportInterval);
  if (!answer || !may_serve((*answer)->decision)) {
    client_->note_passed_through();
    return nullptr;
  }
  return &(*answer)->decision;
}

std::optional<core::KeyHash> Session::legacy_key(cudnnHandle_t handle,
                                                 const std::optional<core::Problem>& problem,
                                                 std::uint64_t math,
                                                 std::uint64_t requested,
                                                 std::uint64_t workspace) {
  const RealCudnn* real = real_cudnn();
  if (mode_ == Mode::kObserve || real == nullptr || !problem) {
    return std::nullopt;
  }
  const auto context = context_of(*real, handle);
  if (!context) {
    return std::nullopt;
  }
  // The daemon hears of the problem, whatever comes of the search.
  (void)client_->query(*context, *problem);
  std::uint64_t seed = *context;
  for (const std::uint64_t more : {math, requested, workspace}) {
    seed = (seed ^ more) * 0x9e3779b97f4a7c15u;
  }
  return core::hash_problem(seed, *problem);
}

bool Session::may_serve(const core::Decision& decision) const {
  if (mode_ == Mode::kObserve || decision.entries.empty()) {
    return false;
  }
  return mode_ == Mode::kAssist || decision.source == core::Source::kMeasured ||
         decision.source == core::Source::kFrozen;
}

// Tries the first entry's engine, which checks whether it can run the problem, while stepping aside
// is still possible. One that cuDNN refuses here (it needs a GPU and there is none, or was measured
// with another driver) leaves its place to the next; a refusal takes 1 to 5 us.
bool Session::offer_entries(const RealCudnn& real, Served& served) {
  const auto& entries = served.answer->decision.entries;
  for (std::size_t entry = 0; entry < entries.size(); ++entry) {
    if (try_entry(real, served, entry)) {
      for (; entry < entries.size(); ++entry) {
        served.entries.push_back(entry);
      }
      return true;
    }
    note_refusal(served, entry);
  }
  return false;
}

void Session::note_refusal(const Served& served, std::size_t entry) {
  client_->note_failure("cuDNN refuses " +
                        core::format_engine_config(served.answer->decision.entries[entry].config));
}

// A predicted order is right only as a whole: of an application that refuses TF32 it leaves the
// slower end, and models know f32 as it is with TF32. So a prediction for f32 waits until the
// application has been seen to take tensor cores; until then cuDNN's own list goes to it, for good
// for that problem.
bool Session::mathematics_unknown(const core::Problem& problem, const client::Answer& answer) {
  const core::Decision& decision = answer.decision;
  if (problem.x.type != core::DataType::kF32 || decision.source != core::Source::kPredicted ||
      decision.entries.empty()) {
    return false;
  }
  const bool takes = takes_tf32_.load(std::memory_order_acquire);
  const std::lock_guard lock(held_back_mutex_);
  if (!takes) {
    held_back_.insert(answer.key);
  }
  return !takes || held_back_.contains(answer.key);
}

void Session::note_own_list(cudnnBackendDescriptor_t heuristics,
                            std::span<const cudnnBackendDescriptor_t> configurations) {
  if (takes_tf32_.load(std::memory_order_relaxed)) {
    return;
  }
  bool of_f32 = false;
  descriptors_.with<HeuristicsRecord>(
      heuristics, [&of_f32](const HeuristicsRecord& record) { of_f32 = record.of_f32; });
  if (!of_f32) {
    return;
  }
  for (const cudnnBackendDescriptor_t configuration : configurations) {
    descriptors_.with<ConfigurationRecord>(
        configuration, [](ConfigurationRecord& record) { record.of_f32 = true; });
  }
}

void Session::note_plan(const RealCudnn& real, cudnnBackendDescriptor_t configuration) {
  if (takes_tf32_.load(std::memory_order_relaxed)) {
    return;
  }
  bool of_f32 = false;
  descriptors_.with<ConfigurationRecord>(
      configuration, [&of_f32](const ConfigurationRecord& record) { of_f32 = record.of_f32; });
  if (of_f32 && (numerical_notes_of(real, configuration) & note::kTensorCore) != 0) {
    takes_tf32_.store(true, std::memory_order_release);
  }
}

bool Session::answer(const RealCudnn& real, cudnnBackendDescriptor_t descriptor) {
  const auto heuristics = descriptors_.copy<HeuristicsRecord>(descriptor);
  if (!heuristics || heuristics->strange || heuristics->mode == CUDNN_HEUR_MODE_FALLBACK ||
      heuristics->mode < 0) {
    return false;
  }
  const auto graph = descriptors_.copy<GraphRecord>(heuristics->graph);
  if (!graph || !graph->problem) {
    client_->note_passed_through();
    return false;
  }
  if (graph->problem->x.type == core::DataType::kF32) {
    descriptors_.with<HeuristicsRecord>(descriptor,
                                        [](HeuristicsRecord& record) { record.of_f32 = true; });
  }
  const auto context = context_of(real, heuristics->device_properties);
  if (!context) {
    client_->note_passed_through();
    return false;
  }
  const auto answer = client_->query(*context, *graph->problem);
  // A model knows convolutions alone: what it says of one with others fused to it means nothing.
  if (!answer || !may_serve((*answer)->decision) ||
      (graph->problem->fusion != 0 && (*answer)->decision.source == core::Source::kPredicted) ||
      mathematics_unknown(*graph->problem, **answer)) {
    client_->note_passed_through();
    client_->flush_if_due(kReportInterval);
    return false;
  }
  auto served = std::make_shared<Served>();
  served->answer = *answer;
  served->context = *context;
  served->of_f32 = graph->problem->x.type == core::DataType::kF32;
  served->graph = keep<GraphRecord>(descriptors_, heuristics->graph);
  if (served->graph == nullptr) {
    return false;
  }
  if (heuristics->device_properties != nullptr) {
    served->device_properties =
        keep<DevicePropertiesRecord>(descriptors_, heuristics->device_properties);
  }
  if (!offer_entries(real, *served)) {
    return false;
  }
  // A measured answer holds something for each filter that any candidate passes; a predicted one
  // knows only the configurations that the model has seen.
  const bool complete = (*answer)->decision.source == core::Source::kMeasured;
  if (!complete && !covers_filters(*served, *graph->problem)) {
    served->following = finalize_own_list(real, descriptor);
  }
  descriptors_.with<HeuristicsRecord>(
      descriptor, [&served](HeuristicsRecord& record) { record.served = served; });
  client_->flush_if_due(kReportInterval);
  return true;
}

std::int64_t Session::fetch(const RealCudnn& real,
                            cudnnBackendDescriptor_t heuristics,
                            const std::shared_ptr<Served>& served,
                            std::int64_t requested,
                            cudnnBackendDescriptor_t* configurations) {
  const std::lock_guard lock(served->building);
  std::vector<std::size_t>& offered = served->entries;
  while (!offered.empty() && !build_entry(real, *served, offered.front(), configurations[0])) {
    note_refusal(*served, offered.front());
    offered.erase(offered.begin());
  }
  const std::size_t count = std::min(static_cast<std::size_t>(requested), offered.size());
  for (std::size_t place = 0; place < count; ++place) {
    ConfigurationRecord fresh;
    fresh.filled = true;
    fresh.entry = offered[place];
    fresh.counter = counter_of(*served, fresh.entry);
    fresh.of_f32 = served->of_f32;
    if (place > 0) {
      fresh.pending = served;
    }
    descriptors_.put(configurations[place], std::move(fresh));
  }
  std::int64_t more = 0;
  const std::int64_t room = requested - static_cast<std::int64_t>(count);
  if (served->following > 0 && room > 0 &&
      real.get(heuristics,
               CUDNN_ATTR_ENGINEHEUR_RESULTS,
               CUDNN_TYPE_BACKEND_DESCRIPTOR,
               std::min(room, served->following),
               &more,
               configurations + count) != CUDNN_STATUS_SUCCESS) {
    more = 0;
  }
  return static_cast<std::int64_t>(count) + std::clamp<std::int64_t>(more, 0, room);
}

client::UseCounter* Session::counter_of(const Served& served, std::size_t entry) {
  return client_->use_counter(
      served.context, served.answer->key, served.answer->decision.entries[entry].config);
}

void Session::build_pending(const RealCudnn& real, cudnnBackendDescriptor_t configuration) {
  std::shared_ptr<Served> served;
  std::size_t entry = 0;
  descriptors_.with<ConfigurationRecord>(configuration, [&](ConfigurationRecord& record) {
    served.swap(record.pending);
    entry = record.entry;
  });
  if (served == nullptr) {
    return;
  }
  const std::lock_guard lock(served->building);
  if (build_entry(real, *served, entry, configuration)) {
    return;
  }
  note_refusal(*served, entry);
  const std::size_t first = served->entries.front();
  if (build_entry(real, *served, first, configuration)) {
    client::UseCounter* counter = counter_of(*served, first);
    descriptors_.with<ConfigurationRecord>(
        configuration, [counter](ConfigurationRecord& record) { record.counter = counter; });
  }
}

bool Session::is_filled(cudnnBackendDescriptor_t configuration) {
  bool filled = false;
  descriptors_.with<ConfigurationRecord>(
      configuration, [&filled](const ConfigurationRecord& record) { filled = record.filled; });
  return filled;
}

Execution Session::begin_execution(const RealCudnn& real,
                                   cudnnHandle_t handle,
                                   cudnnBackendDescriptor_t plan) {
  Execution execution;
  std::uint64_t number = 0;
  descriptors_.with<PlanRecord>(plan, [&](PlanRecord& record) {
    execution.counter = record.counter;
    number = ++record.executions;
  });
  cudaStream_t stream = nullptr;
  if (execution.counter != nullptr && handle != nullptr && Sampler::is_due(number) &&
      real.get_stream != nullptr && real.get_stream(handle, &stream) == CUDNN_STATUS_SUCCESS) {
    execution.sample = sampler_.begin(stream);
  }
  return execution;
}

void Session::end_execution(const Execution& execution, bool succeeded) {
  if (execution.sample) {
    sampler_.end(execution.sample, execution.counter, succeeded);
  }
  if (execution.counter == nullptr || !succeeded) {
    return;
  }
  execution.counter->add(1);
  static thread_local std::uint32_t executions = 0;
  if (++executions % kExecutionsPerLook == 0) {
    sampler_.collect();
    client_->flush_if_due(kReportInterval);
  }
}

}  // namespace reformer::shim
