#include "model/calibration.h"

#include "model/kernels.h"
#include "model/random.h"
#include "model/stack_trainer.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <map>

namespace reformer::model {
namespace {

// Slowdowns beyond this teach no more: e^0.4 = 1.5x. A few recorded times are wrong by far (a
// kernel that was still being loaded), and one of those would outweigh a hundred sound ones.
constexpr float kLongestLog = 0.4F;
constexpr float kWithin = 0.0487902F;  // ln 1.05
constexpr StackOptions kTraining{.epochs = 30, .batch = 128, .rate = 2e-3F, .decay = 0.3F};
// Gradients of logarithms of slowdowns are small beside that of the probability.
constexpr float kSlowdownWeight = 6;
// Normalised features further from 0 than this are unusual.
constexpr float kUsual = 2.5F;
// A margin that no judgement reaches.
constexpr float kAlwaysAnswer = -1;

// Cross-entropy for the probability, squared error for the rest.
void judge_gradient(const JudgeSample& sample, const float* out, float* d) {
  const Judgement judgement =
      judgement_of(std::span<const float, kJudgeOutputs>(out, kJudgeOutputs));
  const float within = sample.log_slowdown <= kWithin ? 1.0F : 0.0F;
  d[0] = judgement.confidence - within;
  d[1] = kSlowdownWeight * (out[1] - std::min(sample.log_slowdown, kLongestLog));
  const bool covered = sample.heuristic_log_slowdown >= 0;
  d[2] = covered ? kSlowdownWeight * (out[2] - std::min(sample.heuristic_log_slowdown, kLongestLog))
                 : 0;
}

// Input -> hidden (relu) -> outputs.
Calibration train_judge(std::span<const JudgeSample> samples, std::uint64_t seed) {
  LayerStack stack;
  stack.push_back(affine<float>(kJudgeInputs, kJudgeHidden, true));
  stack.push_back(affine<float>(kJudgeHidden, kJudgeOutputs, false));
  StackOptions options = kTraining;
  options.seed = seed;
  const std::vector<float> parameters = train_stack(
      stack,
      {.count = samples.size(),
       .inputs = [&](std::size_t sample,
                     float* x) { std::ranges::copy(samples[sample].inputs, x); },
       .gradient = [&](std::size_t sample,
                       const float* outputs,
                       float* gradient) { judge_gradient(samples[sample], outputs, gradient); }},
      options);
  Pieces pieces(parameters);
  Calibration c;
  c.hidden_weights = pieces.take(kJudgeInputs * kJudgeHidden);
  c.hidden_bias = pieces.take(kJudgeHidden);
  c.output_weights = pieces.take(kJudgeHidden * kJudgeOutputs);
  c.output_bias = pieces.take(kJudgeOutputs);
  return c;
}

// What a margin gains over answering always, in log slowdown, summed over samples judged by a judge
// that did not see them. Samples of one shape (each view, two left-out parts) are no independent
// evidence, so the error is of the shapes' sums.
struct Gain {
  double sum = 0;
  double squares = 0;  // of each shape's sum

  // Beyond what chance gives: twice the standard error.
  [[nodiscard]] bool is_certain() const { return sum > 2 * std::sqrt(squares); }
};

Gain gain_of(std::span<const JudgeSample> samples,
             std::span<const Judgement> judgements,
             float margin) {
  Calibration rule;
  rule.margin = margin;
  std::map<std::uint64_t, double> by_shape;
  for (std::size_t i = 0; i < samples.size(); ++i) {
    if (rule.abstains(judgements[i]) && samples[i].heuristic_log_slowdown >= 0) {
      by_shape[samples[i].shape] +=
          static_cast<double>(samples[i].log_slowdown) - samples[i].heuristic_log_slowdown;
    }
  }
  Gain gain;
  for (const auto& [shape, gained] : by_shape) {
    gain.sum += gained;
    gain.squares += gained * gained;
  }
  return gain;
}

// Each sample judged by a judge that saw none of its shape: that of the other half of the shapes.
std::vector<Judgement> cross_judge(std::span<const JudgeSample> samples, std::uint64_t seed) {
  const auto half_of = [seed](const JudgeSample& sample) {
    return Random::mix(sample.shape ^ Random::mix(seed + 1)) & 1U;
  };
  std::vector<Judgement> judgements(samples.size());
  for (const std::uint64_t half : {0U, 1U}) {
    std::vector<JudgeSample> others;
    std::ranges::copy_if(samples, std::back_inserter(others), [&](const JudgeSample& sample) {
      return half_of(sample) != half;
    });
    const Calibration calibration = train_judge(others, seed);
    for (std::size_t i = 0; i < samples.size(); ++i) {
      if (half_of(samples[i]) == half) {
        judgements[i] = judge(calibration, samples[i].inputs);
      }
    }
  }
  return judgements;
}

// The margin that gains most by judgements that saw nothing of the shape, among those whose gain is
// certain; kAlwaysAnswer without one.
float choose_margin(std::span<const JudgeSample> samples, std::uint64_t seed) {
  const std::vector<Judgement> judgements = cross_judge(samples, seed);
  float best = kAlwaysAnswer;
  double best_gain = 0;
  for (const float margin : {-0.2F,
                             -0.15F,
                             -0.1F,
                             -0.08F,
                             -0.06F,
                             -0.04F,
                             -0.03F,
                             -0.02F,
                             -0.01F,
                             0.0F,
                             0.01F,
                             0.02F,
                             0.03F,
                             0.04F,
                             0.06F}) {
    const Gain gain = gain_of(samples, judgements, margin);
    if (gain.is_certain() && gain.sum > best_gain) {
      best = margin;
      best_gain = gain.sum;
    }
  }
  return best;
}

}  // namespace

void rank_features(std::span<const float> logits,
                   const NumericFeatures& features,
                   RankFeatures& out) {
  const LogitSummary summary = best_kernels().summarise(logits.data(), logits.size());
  const Spread spread = best_kernels().spread(features.data(), features.size(), kUsual);
  const float log_sum = std::log(summary.sum);
  out[0] = 1 / summary.sum;                                    // probability of the first
  out[1] = std::min(summary.first - summary.second, 4.0F);     // its lead
  out[2] = 0.3F * (log_sum - summary.weighted / summary.sum);  // entropy
  out[3] = 0.2F * std::log(static_cast<float>(logits.size()));
  out[4] = 0.5F * (spread.furthest - 2);
  out[5] = spread.squares / static_cast<float>(kNumericFeatures) - 1;
  out[6] = 0.2F * spread.beyond;
  out[7] = 0.1F * std::clamp(summary.first + log_sum, -20.0F, 20.0F);
}

Judgement judgement_of(std::span<const float, kJudgeOutputs> raw) {
  return {1 / (1 + std::exp(-raw[0])), raw[1], raw[2]};
}

Judgement judge(const Calibration& calibration, std::span<const float, kJudgeInputs> inputs) {
  std::array<float, kJudgeHidden> hidden{};
  std::array<float, kJudgeOutputs> out{};
  for (std::size_t j = 0; j < kJudgeHidden; ++j) {
    float sum = calibration.hidden_bias[j];
    for (std::size_t i = 0; i < kJudgeInputs; ++i) {
      sum += inputs[i] * calibration.hidden_weights[i * kJudgeHidden + j];
    }
    hidden[j] = std::max(0.0F, sum);
  }
  for (std::size_t j = 0; j < kJudgeOutputs; ++j) {
    out[j] = calibration.output_bias[j];
    for (std::size_t i = 0; i < kJudgeHidden; ++i) {
      out[j] += hidden[i] * calibration.output_weights[i * kJudgeOutputs + j];
    }
  }
  return judgement_of(out);
}

Calibration fit_calibration(std::span<const JudgeSample> samples,
                            std::span<const JudgeSample> validation,
                            std::uint64_t seed) {
  Calibration calibration = train_judge(samples, seed);
  calibration.margin = choose_margin(samples, seed);
  std::vector<Judgement> judgements;
  for (const JudgeSample& sample : validation) {
    judgements.push_back(judge(calibration, sample.inputs));
  }
  if (gain_of(validation, judgements, calibration.margin).sum < 0) {
    calibration.margin = kAlwaysAnswer;
  }
  return calibration;
}

}  // namespace reformer::model
