#include "libclient/shim/engine.h"

#include <algorithm>
#include <array>

namespace reformer::shim {
namespace {

// Owns a descriptor of the real library.
class Owned {
 public:
  Owned(const RealCudnn& real, cudnnBackendDescriptorType_t type) : real_(real) {
    if (real.create(type, &descriptor_) != CUDNN_STATUS_SUCCESS) {
      descriptor_ = nullptr;
    }
  }
  ~Owned() {
    if (descriptor_ != nullptr) {
      real_.destroy(descriptor_);
    }
  }
  Owned(const Owned&) = delete;
  Owned& operator=(const Owned&) = delete;
  [[nodiscard]] cudnnBackendDescriptor_t get() const { return descriptor_; }
  cudnnBackendDescriptor_t release() { return std::exchange(descriptor_, nullptr); }

  bool set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, const void* value) {
    return descriptor_ != nullptr &&
           real_.set(descriptor_, name, type, 1, value) == CUDNN_STATUS_SUCCESS;
  }
  // Reads up to `most` values; how many there are, or -1.
  std::int64_t get(cudnnBackendAttributeName_t name,
                   cudnnBackendAttributeType_t type,
                   std::int64_t most,
                   void* values) const {
    std::int64_t count = 0;
    const bool ok =
        descriptor_ != nullptr &&
        real_.get(descriptor_, name, type, most, &count, values) == CUDNN_STATUS_SUCCESS;
    return ok ? count : -1;
  }
  bool finalize() { return real_.finalize(descriptor_) == CUDNN_STATUS_SUCCESS; }

 private:
  const RealCudnn& real_;
  cudnnBackendDescriptor_t descriptor_ = nullptr;
};

// Descriptors of one kind, for an attribute that has several.
class OwnedList {
 public:
  OwnedList(const RealCudnn& real, cudnnBackendDescriptorType_t type, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
      owned_.push_back(std::make_unique<Owned>(real, type));
      raw_.push_back(owned_.back()->get());
    }
  }
  // False if one of them could not be made.
  [[nodiscard]] bool complete() const {
    return std::find(raw_.begin(), raw_.end(), nullptr) == raw_.end();
  }
  [[nodiscard]] const Owned& operator[](std::size_t i) const { return *owned_[i]; }
  [[nodiscard]] std::int64_t size() const { return static_cast<std::int64_t>(raw_.size()); }
  [[nodiscard]] void* raw() { return raw_.data(); }

 private:
  std::vector<std::unique_ptr<Owned>> owned_;
  std::vector<cudnnBackendDescriptor_t> raw_;
};

// Makes an engine; null if cuDNN refuses it.
std::unique_ptr<Kept> make_engine(const RealCudnn& real, const Served& served, std::int32_t index) {
  Owned engine(real, CUDNN_BACKEND_ENGINE_DESCRIPTOR);
  const std::int64_t wide = index;
  if (!engine.set(
          CUDNN_ATTR_ENGINE_OPERATION_GRAPH, CUDNN_TYPE_BACKEND_DESCRIPTOR, &served.graph->get()) ||
      !engine.set(CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64, &wide) ||
      (served.device_properties != nullptr && !engine.set(CUDNN_ATTR_ENGINE_DEVICEPROP,
                                                          CUDNN_TYPE_BACKEND_DESCRIPTOR,
                                                          &served.device_properties->get())) ||
      !engine.finalize()) {
    return nullptr;
  }
  auto kept = std::make_unique<Kept>(engine.get());
  kept->destroy_at_last(real.destroy);
  (void)engine.release();
  return kept;
}

// The engine of the answer, made when it is first needed. Several entries share one, and a refusal
// can cost cuDNN as much as an engine.
cudnnBackendDescriptor_t engine_of(const RealCudnn& real, Served& served, std::int32_t index) {
  for (const auto& [known, engine] : served.engines) {
    if (known == index) {
      return engine->get();
    }
  }
  if (std::find(served.refused.begin(), served.refused.end(), index) != served.refused.end()) {
    return nullptr;
  }
  std::unique_ptr<Kept> made = make_engine(real, served, index);
  if (made == nullptr) {
    served.refused.push_back(index);
    return nullptr;
  }
  return served.engines.emplace_back(index, std::move(made)).second->get();
}

// What a configuration is read with; reused from one to the next.
struct Reading {
  explicit Reading(const RealCudnn& real)
      : engine(real, CUDNN_BACKEND_ENGINE_DESCRIPTOR, 1),
        choices(real, CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR, core::kMaxKnobs) {}
  OwnedList engine;
  OwnedList choices;
};

// False, too, where cuDNN does not say.
bool is_compiled(const Owned& engine) {
  std::array<cudnnBackendBehaviorNote_t, CUDNN_BEHAVIOR_NOTE_TYPE_COUNT> notes{};
  const std::int64_t count = engine.get(CUDNN_ATTR_ENGINE_BEHAVIOR_NOTE,
                                        CUDNN_TYPE_BEHAVIOR_NOTE,
                                        static_cast<std::int64_t>(notes.size()),
                                        notes.data());
  const auto end =
      notes.begin() + std::clamp<std::int64_t>(count, 0, static_cast<std::int64_t>(notes.size()));
  return std::find(notes.begin(), end, CUDNN_BEHAVIOR_NOTE_RUNTIME_COMPILATION) != end;
}

std::optional<Listed> read_configuration(const Owned& configuration, Reading& reading) {
  std::int64_t index = -1;
  if (configuration.get(
          CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, reading.engine.raw()) !=
          1 ||
      reading.engine[0].get(CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64, 1, &index) != 1) {
    return std::nullopt;
  }
  const std::int64_t knobs = configuration.get(CUDNN_ATTR_ENGINECFG_KNOB_CHOICES,
                                               CUDNN_TYPE_BACKEND_DESCRIPTOR,
                                               reading.choices.size(),
                                               reading.choices.raw());
  if (knobs < 0 || knobs > reading.choices.size()) {
    return std::nullopt;
  }
  core::EngineConfig config(static_cast<std::int32_t>(index));
  for (std::size_t i = 0; i < static_cast<std::size_t>(knobs); ++i) {
    cudnnBackendKnobType_t type{};
    std::int64_t value = 0;
    const Owned& choice = reading.choices[i];
    if (choice.get(CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, CUDNN_TYPE_KNOB_TYPE, 1, &type) != 1 ||
        choice.get(CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE, CUDNN_TYPE_INT64, 1, &value) != 1 ||
        !config.add_knob({static_cast<std::int32_t>(type), static_cast<std::int32_t>(value)})
             .ok()) {
      return std::nullopt;
    }
  }
  return Listed{config, is_compiled(reading.engine[0])};
}

}  // namespace

std::vector<Listed> own_list(const RealCudnn& real, const Served& served, std::int64_t mode) {
  constexpr std::int64_t kMostListed = 512;  // cuDNN's lists have some dozen entries
  Owned query(real, CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
  const auto heuristics = static_cast<cudnnBackendHeurMode_t>(mode);
  if (!query.set(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH,
                 CUDNN_TYPE_BACKEND_DESCRIPTOR,
                 &served.graph->get()) ||
      !query.set(CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, &heuristics) ||
      (served.device_properties != nullptr && !query.set(CUDNN_ATTR_ENGINEHEUR_DEVICEPROP,
                                                         CUDNN_TYPE_BACKEND_DESCRIPTOR,
                                                         &served.device_properties->get())) ||
      !query.finalize()) {
    return {};
  }
  const std::int64_t count =
      query.get(CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, 0, nullptr);
  if (count <= 0 || count > kMostListed) {
    return {};
  }
  OwnedList found(real, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, static_cast<std::size_t>(count));
  Reading reading(real);
  if (!found.complete() || !reading.engine.complete() || !reading.choices.complete()) {
    return {};
  }
  const std::int64_t filled =
      query.get(CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, count, found.raw());
  std::vector<Listed> list;
  for (std::int64_t i = 0; i < std::min(filled, count); ++i) {
    if (const auto listed = read_configuration(found[static_cast<std::size_t>(i)], reading)) {
      list.push_back(*listed);
    }
  }
  return list;
}

bool fill_configuration(const RealCudnn& real,
                        Served& served,
                        std::size_t entry,
                        cudnnBackendDescriptor_t configuration) {
  const core::EngineConfig& config = served.answer->decision.entries[entry].config;
  cudnnBackendDescriptor_t engine = engine_of(real, served, config.engine());
  if (engine == nullptr ||
      real.set(
          configuration, CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &engine) !=
          CUDNN_STATUS_SUCCESS) {
    return false;
  }
  std::array<std::optional<Owned>, core::kMaxKnobs> owned;
  std::array<cudnnBackendDescriptor_t, core::kMaxKnobs> choices{};
  std::size_t count = 0;
  for (const core::Knob& knob : config.knobs()) {
    Owned& choice = owned[count].emplace(real, CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR);
    const auto type = static_cast<cudnnBackendKnobType_t>(knob.type);
    const std::int64_t value = knob.value;
    if (!choice.set(CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, CUDNN_TYPE_KNOB_TYPE, &type) ||
        !choice.set(CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE, CUDNN_TYPE_INT64, &value) ||
        !choice.finalize()) {
      return false;
    }
    choices[count++] = choice.get();
  }
  if (count > 0 && real.set(configuration,
                            CUDNN_ATTR_ENGINECFG_KNOB_CHOICES,
                            CUDNN_TYPE_BACKEND_DESCRIPTOR,
                            static_cast<std::int64_t>(count),
                            choices.data()) != CUDNN_STATUS_SUCCESS) {
    return false;
  }
  return real.finalize(configuration) == CUDNN_STATUS_SUCCESS;
}

bool try_configuration(const RealCudnn& real, Served& served, std::size_t entry) {
  if (served.trials->passed(served.answer, entry)) {
    return true;
  }
  Owned trial(real, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
  if (trial.get() == nullptr || !fill_configuration(real, served, entry, trial.get())) {
    return false;
  }
  served.trials->pass(served.answer, entry);
  return true;
}

bool try_entry(const RealCudnn& real, Served& served, std::size_t entry) {
  const core::DecisionEntry& wanted = served.answer->decision.entries[entry];
  return (wanted.behavior_notes & core::behavior_note::kRuntimeCompilation) != 0
             ? try_configuration(real, served, entry)
             : engine_of(real, served, wanted.config.engine()) != nullptr;
}

}  // namespace reformer::shim
