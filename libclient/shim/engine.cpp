#include "libclient/shim/engine.h"

#include "libclient/shim/owned.h"

#include <algorithm>
#include <array>

namespace reformer::shim {
namespace {

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

}  // namespace

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
  if (const std::optional<bool> accepted = served.trials->outcome(served.answer, entry)) {
    return *accepted;
  }
  Owned trial(real, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
  if (trial.get() == nullptr) {
    return false;  // which says nothing of the entry
  }
  const bool accepted = fill_configuration(real, served, entry, trial.get());
  served.trials->note(served.answer, entry, accepted);
  return accepted;
}

bool try_entry(const RealCudnn& real, Served& served, std::size_t entry) {
  const core::DecisionEntry& wanted = served.answer->decision.entries[entry];
  return (wanted.behavior_notes & core::behavior_note::kRuntimeCompilation) != 0
             ? try_configuration(real, served, entry)
             : engine_of(real, served, wanted.config.engine()) != nullptr;
}

}  // namespace reformer::shim
