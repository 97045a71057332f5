#include "model/calibration.h"

#include "model/kernels.h"
#include "model/layers.h"
#include "model/random.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <map>
#include <numeric>

namespace reformer::model {
namespace {

// Slowdowns beyond this teach no more: e^0.4 = 1.5x. A few recorded times are wrong by far (a
// kernel that was still being loaded), and one of those would outweigh a hundred sound ones.
constexpr float kLongestLog = 0.4F;
constexpr float kWithin = 0.0487902F;  // ln 1.05
constexpr std::size_t kEpochs = 30;
constexpr std::size_t kBatch = 128;
constexpr float kRate = 2e-3F;
constexpr float kDecay = 0.3F;
// Gradients of logarithms of slowdowns are small beside that of the probability.
constexpr float kSlowdownWeight = 6;
constexpr float kTimeWeight = 0.1F;
// Normalised features further from 0 than this are unusual.
constexpr float kUsual = 2.5F;
// A margin that no judgement reaches.
constexpr float kAlwaysAnswer = -1;

// Input -> hidden (relu) -> outputs, trained with AdamW.
class JudgeTrainer {
 public:
  JudgeTrainer(std::span<const JudgeSample> samples, std::uint64_t seed)
      : samples_(samples),
        first_(affine<float>(kJudgeInputs, kJudgeHidden, true)),
        second_(affine<float>(kJudgeHidden, kJudgeOutputs, false)),
        parameters_(first_->parameters() + second_->parameters()),
        gradient_(parameters_.size()),
        m_(parameters_.size()),
        v_(parameters_.size()),
        random_(seed) {
    first_->initialise(random_, parameters_.data());
    second_->initialise(random_, second_parameters());
  }

  void train() {
    std::vector<std::size_t> order(samples_.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    const std::size_t batches = (order.size() + kBatch - 1) / kBatch;
    for (std::size_t epoch = 0; epoch < kEpochs; ++epoch) {
      random_.shuffle(order);
      for (std::size_t b = 0; b < batches; ++b) {
        const std::size_t begin = b * order.size() / batches;
        const std::size_t end = (b + 1) * order.size() / batches;
        const double progress =
            static_cast<double>(epoch * batches + b) / static_cast<double>(kEpochs * batches);
        step(std::span(order).subspan(begin, end - begin), progress);
      }
    }
  }

  Calibration take() const {
    Calibration c;
    const float* p = parameters_.data();
    const auto next = [&p](std::size_t count) {
      const std::vector<float> values(p, p + count);
      p += count;
      return values;
    };
    c.hidden_weights = next(kJudgeInputs * kJudgeHidden);
    c.hidden_bias = next(kJudgeHidden);
    c.output_weights = next(kJudgeHidden * kJudgeOutputs);
    c.output_bias = next(kJudgeOutputs);
    return c;
  }

 private:
  float* second_parameters() { return parameters_.data() + first_->parameters(); }

  void step(std::span<const std::size_t> batch, double progress) {
    const std::size_t n = batch.size();
    x_.resize(n * kJudgeInputs);
    for (std::size_t i = 0; i < n; ++i) {
      std::ranges::copy(samples_[batch[i]].inputs, &x_[i * kJudgeInputs]);
    }
    hidden_.resize(n * kJudgeHidden);
    out_.resize(n * kJudgeOutputs);
    d_out_.resize(out_.size());
    d_hidden_.resize(hidden_.size());
    first_->forward(parameters_.data(), n, x_.data(), hidden_.data(), nullptr);
    second_->forward(second_parameters(), n, hidden_.data(), out_.data(), nullptr);
    for (std::size_t i = 0; i < n; ++i) {
      output_gradient(samples_[batch[i]],
                      &out_[i * kJudgeOutputs],
                      static_cast<float>(n),
                      &d_out_[i * kJudgeOutputs]);
    }
    std::ranges::fill(gradient_, 0.0F);
    second_->backward(second_parameters(),
                      n,
                      hidden_.data(),
                      out_.data(),
                      nullptr,
                      d_out_.data(),
                      d_hidden_.data(),
                      gradient_.data() + first_->parameters());
    first_->backward(parameters_.data(),
                     n,
                     x_.data(),
                     hidden_.data(),
                     nullptr,
                     d_hidden_.data(),
                     nullptr,
                     gradient_.data());
    update(progress);
  }

  // Cross-entropy for the probability, squared error for the rest.
  static void output_gradient(const JudgeSample& sample, const float* out, float n, float* d) {
    const Judgement judgement = judgement_of(std::span<const float, kJudgeOutputs>(out, 4));
    const float within = sample.log_slowdown <= kWithin ? 1.0F : 0.0F;
    d[0] = (judgement.confidence - within) / n;
    d[1] = kSlowdownWeight * (out[1] - std::min(sample.log_slowdown, kLongestLog)) / n;
    const bool covered = sample.heuristic_log_slowdown >= 0;
    d[2] = covered ? kSlowdownWeight *
                         (out[2] - std::min(sample.heuristic_log_slowdown, kLongestLog)) / n
                   : 0;
    d[3] = kTimeWeight * (out[3] - sample.log2_best_us) / n;
  }

  void update(double progress) {
    ++steps_;
    AdamStep step;
    step.rate = kRate * static_cast<float>(0.5 * (1 + std::cos(3.14159265 * progress)));
    step.decay = step.rate * kDecay;
    step.beta1 = 0.9F;
    step.beta2 = 0.99F;
    step.correction1 = static_cast<float>(1 / (1 - std::pow(0.9, steps_)));
    step.correction2 = static_cast<float>(1 / (1 - std::pow(0.99, steps_)));
    best_kernels().adamw(
        step, gradient_.data(), m_.data(), v_.data(), parameters_.data(), parameters_.size());
  }

  std::span<const JudgeSample> samples_;
  std::unique_ptr<Layer<float>> first_;
  std::unique_ptr<Layer<float>> second_;
  std::vector<float> parameters_, gradient_, m_, v_;
  std::vector<float> x_, hidden_, out_, d_out_, d_hidden_;
  Random random_;
  int steps_ = 0;
};

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
    JudgeTrainer trainer(others, seed);
    trainer.train();
    const Calibration calibration = trainer.take();
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
  return {1 / (1 + std::exp(-raw[0])), raw[1], raw[2], raw[3]};
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
  JudgeTrainer trainer(samples, seed);
  trainer.train();
  Calibration calibration = trainer.take();
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
