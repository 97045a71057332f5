#include "libclient/shim/mathematics.h"

#include "libclient/shim/engine.h"

namespace reformer::shim {

bool Mathematics::unknown_for(const core::Problem& problem, const client::Answer& answer) {
  const core::Decision& decision = answer.decision;
  if (problem.x.type != core::DataType::kF32 || decision.source != core::Source::kPredicted ||
      decision.entries.empty()) {
    return false;
  }
  if (!takes_tf32_.load(std::memory_order_acquire)) {
    const std::lock_guard lock(mutex_);
    if (!takes_tf32_.load(std::memory_order_relaxed)) {
      held_back_.insert(answer.key);
      return true;
    }
  }
  return held_back_.contains(answer.key);
}

void Mathematics::note_own_list(cudnnBackendDescriptor_t heuristics,
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

void Mathematics::note_plan(const RealCudnn& real, cudnnBackendDescriptor_t configuration) {
  if (takes_tf32_.load(std::memory_order_relaxed)) {
    return;
  }
  bool of_f32 = false;
  descriptors_.with<ConfigurationRecord>(
      configuration, [&of_f32](const ConfigurationRecord& record) { of_f32 = record.of_f32; });
  if (of_f32 &&
      (numerical_notes_of(real, configuration) & core::numerical_note::kTensorCore) != 0) {
    const std::lock_guard lock(mutex_);
    takes_tf32_.store(true, std::memory_order_release);
  }
}

}  // namespace reformer::shim
