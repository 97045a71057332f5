#include "tests/cudnn/fake_launcher.h"

#include <algorithm>

namespace reformer::testing {
namespace {

constexpr float kGraphCallUs = 10;

core::Error failure(const FakeLauncher::Kernel& kernel) {
  return core::make_error(
      kernel.faults ? core::ErrorCode::kInternal : core::ErrorCode::kUnavailable,
      kernel.fails.empty() ? "it fails" : kernel.fails);
}

}  // namespace

float FakeLauncher::noisy(float us) {
  if (noise_.relative <= 0) {
    return us;
  }
  std::normal_distribution<float> relative(1, noise_.relative);
  const bool outlier = random_() % 64 == 0;
  return us * std::max(0.9f, relative(random_)) * (outlier ? 1.05f : 1.0f);
}

float FakeLauncher::hold_up_us(float share) {
  if (std::bernoulli_distribution(static_cast<double>(share))(random_)) {
    return std::uniform_real_distribution<float>(20, 3000)(random_);
  }
  return 0;
}

core::Result<cudnn::Launch> FakeLauncher::single(std::size_t candidate) {
  const Kernel& kernel = kernels_[candidate];
  if (kernel.faults || !kernel.fails.empty()) {
    return failure(kernel);
  }
  std::uniform_real_distribution<float> overhead(noise_.overhead_us, 2 * noise_.overhead_us);
  const bool loads = counts_[candidate].singles++ == 0;
  const float host = overhead(random_) + kernel.stuck_us + (loads ? kernel.load_us : 0);
  // Before the kernel starts, or while it runs.
  const float held_up = hold_up_us(noise_.held_up);
  const float busy =
      noisy(kernel.us) + host + (loads ? kernel.upload_us : 0) + hold_up_us(noise_.interrupted);
  const float time = random_() % 2 == 0 ? busy + held_up : std::max(busy, host + held_up);
  return cudnn::Launch{kernel.single_reads != 0 ? kernel.single_reads : time, host + held_up};
}

core::Status FakeLauncher::prepare(std::size_t candidate, int repeats) {
  counts_[candidate].repeats = repeats;
  return core::ok_status();
}

core::Result<std::vector<cudnn::GraphTime>> FakeLauncher::run(std::span<const cudnn::Heat> lineup) {
  std::vector<cudnn::GraphTime> times;
  double whole = 0;
  float ahead_us = 0;  // GPU time that is queued when the host makes its next call
  for (const auto& [candidate, warm] : lineup) {
    const Kernel& kernel = kernels_[candidate];
    if (kernel.faults || kernel.fails_in_graphs) {
      return failure(kernel);
    }
    Counts& counts = counts_[candidate];
    ++counts.graphs;
    std::uniform_real_distribution<float> gap(noise_.gap_us * 0.8f, noise_.gap_us * 1.2f);
    const auto repeats = static_cast<float>(counts.repeats);
    ahead_us += warm ? kernel.us * repeats : 0;
    const float held_up = hold_up_us(noise_.held_up);
    const float time = noisy(kernel.us) + (gap(random_) + std::max(0.0f, held_up - ahead_us) +
                                           hold_up_us(noise_.interrupted)) /
                                              repeats;
    times.push_back({time, std::min(kGraphCallUs + held_up, time * repeats)});
    ahead_us = std::max(0.0f, ahead_us - held_up) + kernel.us * repeats;
    whole += static_cast<double>(time * repeats) * (warm ? 2 : 1);
  }
  longest_batch_us_ = std::max(longest_batch_us_, whole);
  return times;
}

}  // namespace reformer::testing
