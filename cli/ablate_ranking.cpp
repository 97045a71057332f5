#include "cli/ablate_ranking.h"

#include "model/features.h"
#include "model/kernels.h"

#include <algorithm>
#include <array>
#include <functional>
#include <unordered_set>
#include <utility>

namespace reformer::cli {

FullRanking::FullRanking(const model::ModelData& model)
    : model_(model),
      network_(model, model::best_kernels()),
      workspace_(network_.workspace_floats()),
      logits_(network_.logit_stride()) {}

std::vector<core::EngineConfig> FullRanking::order(const core::Record& record) {
  const core::Problem& problem = record.key.problem;
  const auto index =
      model::find_combination(model_.classes.combinations, model::combination_of(problem));
  if (!index || problem.fusion != 0) {
    return {};
  }
  model::NumericFeatures features{};
  model::numeric_features(problem, record.key.context.device.sm_count, features);
  model_.normaliser.apply(features);
  const std::array<std::uint32_t, 1> combination{static_cast<std::uint32_t>(*index)};
  const float* embedding = network_.embed(combination, features.data(), workspace_);
  network_.logits(combination[0], embedding, 1, logits_.data());

  std::unordered_set<core::EngineConfig, core::EngineConfigHash> timed;
  for (const core::Candidate& candidate : record.candidates) {
    if (candidate.timed()) {
      timed.insert(candidate.config);
    }
  }
  std::vector<std::pair<float, core::EngineConfig>> existing;
  const std::vector<std::int32_t>& classes = model_.classes.combinations[*index].classes;
  for (std::size_t row = 0; row < classes.size(); ++row) {
    const core::EngineConfig& config =
        model_.classes.classes[static_cast<std::size_t>(classes[row])].entry.config;
    if (timed.contains(config)) {
      existing.emplace_back(logits_[row], config);
    }
  }
  std::ranges::stable_sort(existing, std::greater<>{}, [](const auto& e) { return e.first; });
  std::vector<core::EngineConfig> order;
  order.reserve(existing.size());
  for (const auto& [logit, config] : existing) {
    order.push_back(config);
  }
  return order;
}

model::Score FullRanking::score(const core::Record& record) {
  return model::score_order(record, order(record));
}

}  // namespace reformer::cli
