#include "model/targets.h"

#include "model/kernels.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace reformer::model {
namespace {

constexpr std::array<std::string_view, 3> kNames = {"ratio", "one-hot", "softmax"};

void normalise(std::span<float> p) {
  float sum = 0;
  for (const float value : p) {
    sum += value;
  }
  for (float& value : p) {
    value /= sum;
  }
}

void exponentials(std::span<float> values) {
  best_kernels().exp(values.data(), values.size());
}
void exponentials(std::span<double> values) {
  for (double& value : values) {
    value = std::exp(value);
  }
}

// What a logit is divided by.
double scale(const ExpectedTimes& times) {
  constexpr double kOfOneHot = 4;
  if (times.target == TargetKind::kOneHot) {
    return kOfOneHot;
  }
  return times.sharpness > 0 ? times.sharpness : 1;
}

}  // namespace

std::string_view to_string(TargetKind kind) {
  return kNames[static_cast<std::size_t>(kind)];
}

std::optional<TargetKind> parse_target_kind(std::string_view text) {
  const auto found = std::ranges::find(kNames, text);
  if (found == kNames.end()) {
    return std::nullopt;
  }
  return static_cast<TargetKind>(found - kNames.begin());
}

void target_distribution(TargetKind kind,
                         float sharpness,
                         std::span<const float> log_slowdown,
                         float best_us,
                         std::span<float> out) {
  if (log_slowdown.empty()) {
    return;
  }
  const auto fastest = std::ranges::min_element(log_slowdown);
  if (kind == TargetKind::kOneHot) {
    std::ranges::fill(out, 0.0F);
    out[static_cast<std::size_t>(fastest - log_slowdown.begin())] = 1;
    return;
  }
  const float best_ms = best_us / 1000;
  for (std::size_t i = 0; i < out.size(); ++i) {
    const float exponent = kind == TargetKind::kRatio
                               ? *fastest - log_slowdown[i]
                               : best_ms * (std::exp(*fastest) - std::exp(log_slowdown[i]));
    out[i] = std::exp(sharpness * exponent);
  }
  normalise(out);
}

double ExpectedTimes::us(double behind) const {
  if (target == TargetKind::kSoftmax) {
    return best_us + 1000 * behind / scale(*this);
  }
  return best_us * std::exp(behind / scale(*this));
}

double ExpectedTimes::behind(double us) const {
  const double longer = std::max(us, best_us);
  if (target == TargetKind::kSoftmax) {
    return (longer - best_us) / 1000 * scale(*this);
  }
  return std::log(longer / best_us) * scale(*this);
}

template <typename T>
T loss_and_gradient(const LossOptions& options,
                    std::span<const Existing> existing,
                    std::span<const T> logits,
                    std::span<T> gradient) {
  const T largest = *std::ranges::max_element(logits);
  // gradient holds exp(logit - largest) until it becomes the gradient.
  for (std::size_t i = 0; i < logits.size(); ++i) {
    gradient[i] = logits[i] - largest;
  }
  exponentials(gradient);
  T sum_all = 0;
  for (const T value : gradient) {
    sum_all += value;
  }
  // Where everything that exists has vanished, keep away from 0 / 0.
  T sum_existing = T(1e-30);
  T expected = 0;
  for (const Existing& e : existing) {
    sum_existing += gradient[e.row];
    expected += gradient[e.row] * static_cast<T>(e.log_slowdown);
  }
  expected /= sum_existing;

  const T all_share = static_cast<T>(options.all_share);
  const T regret = static_cast<T>(options.regret);
  const T all_scale = all_share / sum_all;
  T loss = regret * expected;
  // The existing candidates' softmax first: it needs the exponentials that the next loop
  // overwrites. Each existing row appears once, so its final value can be stored at once.
  const T log_all = std::log(sum_all);
  const T log_existing = std::log(sum_existing);
  const T scale = (T(1) - all_share) / sum_existing;
  for (T& value : gradient) {
    value *= all_scale;
  }
  for (const Existing& e : existing) {
    const T centred = logits[e.row] - largest;
    const T target = static_cast<T>(e.target);
    loss -=
        target * ((T(1) - all_share) * (centred - log_existing) + all_share * (centred - log_all));
    const T exponential = std::exp(centred);
    const T slowdown = static_cast<T>(e.log_slowdown);
    gradient[e.row] +=
        exponential * scale - target + regret * exponential / sum_existing * (slowdown - expected);
  }
  return loss;
}

template float loss_and_gradient<float>(const LossOptions&,
                                        std::span<const Existing>,
                                        std::span<const float>,
                                        std::span<float>);
template double loss_and_gradient<double>(const LossOptions&,
                                          std::span<const Existing>,
                                          std::span<const double>,
                                          std::span<double>);

}  // namespace reformer::model
