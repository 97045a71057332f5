#pragma once

#include "model/features.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace reformer::model {

// What a ranking looks like from outside, and how far the problem is from the training set.
inline constexpr std::size_t kRankFeatures = 8;
using RankFeatures = std::array<float, kRankFeatures>;

// `logits` of the combination's classes, at least one; `features` normalised. No allocation.
void rank_features(std::span<const float> logits,
                   const NumericFeatures& features,
                   RankFeatures& out);

// Inputs of the judge, and its outputs for one problem.
inline constexpr std::size_t kJudgeInputs = kNumericFeatures + kIndicatorFeatures + kRankFeatures;
inline constexpr std::size_t kJudgeHidden = 32;
struct Judgement {
  float confidence = 0;              // probability that the first choice is within 5 % of the best
  float model_log_slowdown = 0;      // expected, of the model's first choice
  float heuristic_log_slowdown = 0;  // expected, of heuristic A's first choice
};
inline constexpr std::size_t kJudgeOutputs = 3;

// A small network that judges the model's answer before the truth is known: trained on predictions
// for problems that were left out of the training, some of them by whole regions of the problem
// space. The model abstains where the judge expects heuristic A to do better.
struct Calibration {
  std::vector<float> hidden_weights;  // [kJudgeInputs][kJudgeHidden]
  std::vector<float> hidden_bias;
  std::vector<float> output_weights;  // [kJudgeHidden][kJudgeOutputs]
  std::vector<float> output_bias;
  float abstain_below = 0;  // confidence
  float margin = 0;  // how much better than heuristic A the model must be expected to be (log)

  [[nodiscard]] bool abstains(const Judgement& judgement) const {
    return judgement.confidence < abstain_below ||
           judgement.model_log_slowdown + margin > judgement.heuristic_log_slowdown;
  }
};

// One left-out problem in one view.
struct JudgeSample {
  View view = View::kAll;
  std::uint64_t shape = 0;  // shape_hash(): samples of one shape say much the same
  std::array<float, kJudgeInputs> inputs{};
  float log_slowdown = 0;             // of the model's first existing choice
  float heuristic_log_slowdown = -1;  // of heuristic A's; negative: not covered
};

// Trains the judge and chooses the margin. Deterministic. `validation`: predictions of the network
// that is to be judged, where `samples` are those of others that saw less; a margin that makes what
// is served worse there is not used.
[[nodiscard]] Calibration fit_calibration(std::span<const JudgeSample> samples,
                                          std::span<const JudgeSample> validation,
                                          std::uint64_t seed);

// Reference implementation, for tests and training; Predictor does the same with packed weights.
[[nodiscard]] Judgement judge(const Calibration& calibration,
                              std::span<const float, kJudgeInputs> inputs);
[[nodiscard]] Judgement judgement_of(std::span<const float, kJudgeOutputs> raw);

}  // namespace reformer::model
