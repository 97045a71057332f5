#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace reformer::model {

// How the measured times t_j of a problem's candidates become the probabilities to be learnt.
enum class TargetKind : std::uint8_t {
  kRatio = 0,    // p_j = t_j^-s / sum t_i^-s; s = 1 is the paper's ratio-preserving target
  kOneHot = 1,   // all on the fastest
  kSoftmax = 2,  // p_j = exp(-s t_j) / sum exp(-s t_i), t in milliseconds
};
[[nodiscard]] std::string_view to_string(TargetKind kind);  // "ratio", "one-hot", "softmax"
[[nodiscard]] std::optional<TargetKind> parse_target_kind(std::string_view text);

// `log_slowdown` is ln(t_j / best_us) of each candidate, `out` of the same length. Equal times
// share the probability, except that one-hot gives all to the first of them.
void target_distribution(TargetKind kind,
                         float sharpness,
                         std::span<const float> log_slowdown,
                         float best_us,
                         std::span<float> out);

// What the logits of a network that learnt such targets say of times. The ratio target makes them
// logarithms of times, t_i / t_j = exp((l_j - l_i) / s), softmax makes them milliseconds. One-hot
// logits are odds of being the fastest; they are read like those of a ratio target with s = 4.
struct ExpectedTimes {
  TargetKind target = TargetKind::kRatio;
  float sharpness = 1;  // 0, which no target is learnt with, counts as 1
  double best_us = 1;   // of the class with the highest logit; positive

  // Time of a class whose logit is lower by `behind`, and back. Neither negative.
  [[nodiscard]] double us(double behind) const;
  [[nodiscard]] double behind(double us) const;
};

// The loss of one problem is
//   (1 - all_share) * crossentropy(target, softmax over the candidates that exist)
//   + all_share * crossentropy(target, softmax over all classes of the combination)
//   + regret * (expected log slowdown of the softmax over the candidates that exist).
// The first term alone is the paper's. The second teaches which candidates do not exist, which
// inference cannot see. The third is what a choice costs, rather than how likely it is right.
struct LossOptions {
  TargetKind target = TargetKind::kRatio;
  float sharpness = 1;
  float all_share = 0;
  float regret = 0;
};

// One candidate of a problem that is a class of its combination.
struct Existing {
  std::uint32_t row = 0;   // position among the combination's classes
  float log_slowdown = 0;  // ln(time / fastest timed candidate's)
  float target = 0;        // probability
};

// Loss of one problem; writes d loss / d logit of every class of the combination.
template <typename T>
[[nodiscard]] T loss_and_gradient(const LossOptions& options,
                                  std::span<const Existing> existing,
                                  std::span<const T> logits,
                                  std::span<T> gradient);

}  // namespace reformer::model
