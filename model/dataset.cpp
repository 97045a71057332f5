#include "model/dataset.h"

#include <algorithm>
#include <cmath>

namespace reformer::model {

Normaliser fit_normaliser(const Corpus& corpus, std::span<const std::size_t> indices) {
  std::array<double, kNumericFeatures> sum{};
  std::array<double, kNumericFeatures> squares{};
  NumericFeatures features{};
  for (const std::size_t index : indices) {
    numeric_features(corpus.problems()[index].problem, corpus.context().device.sm_count, features);
    for (std::size_t i = 0; i < kNumericFeatures; ++i) {
      sum[i] += features[i];
      squares[i] += static_cast<double>(features[i]) * features[i];
    }
  }
  Normaliser normaliser;
  const auto n = static_cast<double>(std::max<std::size_t>(1, indices.size()));
  for (std::size_t i = 0; i < kNumericFeatures; ++i) {
    const double mean = sum[i] / n;
    const double deviation = std::sqrt(std::max(0.0, squares[i] / n - mean * mean));
    normaliser.mean[i] = static_cast<float>(mean);
    normaliser.scale[i] = deviation > 1e-3 ? static_cast<float>(1 / deviation) : 0.0F;
  }
  return normaliser;
}

std::vector<float> combination_input(std::span<const CombinationClasses> combinations,
                                     std::size_t index) {
  std::vector<float> input(kIndicatorFeatures + combinations.size());
  std::ranges::copy(indicator_features(combinations[index].combination), input.begin());
  input[kIndicatorFeatures + index] = 1;
  return input;
}

Dataset::Dataset(const Corpus& corpus,
                 const ClassList& classes,
                 const Normaliser& normaliser,
                 const LossOptions& loss)
    : width_(input_width(classes.combinations.size())) {
  for (std::vector<std::int64_t>& samples : sample_of_) {
    samples.assign(corpus.problems().size(), -1);
  }
  // Corpus configuration -> class, then -> row of the current combination.
  std::unordered_map<core::EngineConfig, std::int32_t, core::EngineConfigHash> class_of;
  for (std::size_t i = 0; i < classes.classes.size(); ++i) {
    class_of.emplace(classes.classes[i].entry.config, static_cast<std::int32_t>(i));
  }
  std::vector<std::int32_t> config_class(corpus.configs().size(), -1);
  for (std::size_t i = 0; i < config_class.size(); ++i) {
    const auto found = class_of.find(corpus.configs()[i]);
    config_class[i] = found == class_of.end() ? -1 : found->second;
  }
  for (std::size_t p = 0; p < corpus.problems().size(); ++p) {
    const CorpusProblem& problem = corpus.problems()[p];
    NumericFeatures features{};
    numeric_features(problem.problem, corpus.context().device.sm_count, features);
    normaliser.apply(features);
    for (const View view : kViews) {
      if (problem.times(view).best_us > 0) {
        add(corpus, classes, config_class, loss, features, p, view);
      }
    }
  }
}

void Dataset::add(const Corpus& corpus,
                  const ClassList& classes,
                  std::span<const std::int32_t> config_class,
                  const LossOptions& loss,
                  const NumericFeatures& features,
                  std::size_t index,
                  View view) {
  const CorpusProblem& problem = corpus.problems()[index];
  const auto combination =
      find_combination(classes.combinations, combination_of(problem.problem, view));
  if (!combination) {
    return;
  }
  const float best_us = problem.times(view).best_us;
  const std::vector<std::int32_t>& rows = classes.combinations[*combination].classes;
  const std::size_t first = existing_.size();
  std::vector<float> log_slowdown;
  for (const CorpusCandidate& candidate : corpus.candidates(problem)) {
    const std::int32_t id = config_class[candidate.config];
    const auto row = std::ranges::lower_bound(rows, id);
    if (id < 0 || row == rows.end() || *row != id || !corpus.holds(view, candidate)) {
      continue;
    }
    log_slowdown.push_back(std::log(candidate.time_us / best_us));
    existing_.push_back({static_cast<std::uint32_t>(row - rows.begin()), log_slowdown.back(), 0});
  }
  if (log_slowdown.empty()) {
    return;
  }
  std::vector<float> target(log_slowdown.size());
  target_distribution(loss.target, loss.sharpness, log_slowdown, best_us, target);
  for (std::size_t i = 0; i < target.size(); ++i) {
    existing_[first + i].target = target[i];
  }
  inputs_.insert(inputs_.end(), features.begin(), features.end());
  const std::vector<float> rest = combination_input(classes.combinations, *combination);
  inputs_.insert(inputs_.end(), rest.begin(), rest.end());
  sample_of_[static_cast<std::size_t>(view)][index] = static_cast<std::int64_t>(samples_.size());
  samples_.push_back({static_cast<std::uint32_t>(index),
                      view,
                      static_cast<std::uint32_t>(*combination),
                      first,
                      log_slowdown.size()});
}

}  // namespace reformer::model
