#pragma once

#include "core/decision.h"
#include "core/key.h"
#include "core/problem.h"

#include <cudnn.h>

#include <algorithm>
#include <cstddef>
#include <mutex>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

// The calls of cuDNN before its backend API, which choose an algorithm, not an engine.
namespace reformer::shim {

// The arguments that say the problem; x, w, y as in core::Problem.
struct LegacyProblem {
  core::Operation operation;
  cudnnTensorDescriptor_t x;
  cudnnFilterDescriptor_t w;
  cudnnTensorDescriptor_t y;
  cudnnConvolutionDescriptor_t convolution;
};
// The canonical problem, read back from the descriptors; empty if it is not understood.
[[nodiscard]] std::optional<core::Problem> problem_of(const LegacyProblem& legacy);
[[nodiscard]] cudnnMathType_t math_type_of(const LegacyProblem& legacy);

// How an algorithm works. An engine that was measured says the same of itself by its notes.
enum class Method { kGemm, kFft, kWinograd };
[[nodiscard]] Method method_of(core::Operation operation, int algorithm);
[[nodiscard]] Method method_of(const core::DecisionEntry& entry);
// The method that the measurements favour over that of cuDNN's first choice by at least a tenth,
// for an application that may use this mathematics; empty if cuDNN's stands.
[[nodiscard]] std::optional<Method> better_method(const core::Decision& decision,
                                                  Method first_choice,
                                                  cudnnMathType_t math);

// Puts the usable results of the better method first; otherwise cuDNN's order stays. The results
// are cuDNN's own, so each of them is as valid as before.
template <typename Performance>
void order_by_measurements(core::Operation operation,
                           const core::Decision& decision,
                           cudnnMathType_t math,
                           std::span<Performance> results) {
  const auto usable = [](const Performance& result) {
    return result.status == CUDNN_STATUS_SUCCESS;
  };
  const auto first = std::find_if(results.begin(), results.end(), usable);
  if (first == results.end()) {
    return;
  }
  const auto better =
      better_method(decision, method_of(operation, static_cast<int>(first->algo)), math);
  if (better) {
    std::stable_partition(results.begin(), results.end(), [&](const Performance& result) {
      return usable(result) && method_of(operation, static_cast<int>(result.algo)) == *better;
    });
  }
}

// What the application's own searches (cudnnFind...) have found in this process, so that the same
// question is not measured again.
//
// Threads: any. Bounded: what is too much is not kept.
class FoundAlgorithms {
 public:
  template <typename Performance>
  bool recall(const core::KeyHash& key, int requested, int* returned, Performance* results) {
    const std::lock_guard lock(mutex_);
    const auto found = found_.find(key);
    if (found == found_.end() || found->second.size() % sizeof(Performance) != 0) {
      return false;
    }
    const std::size_t count = found->second.size() / sizeof(Performance);
    if (count > static_cast<std::size_t>(requested)) {
      return false;
    }
    std::copy_n(found->second.data(), found->second.size(), reinterpret_cast<std::byte*>(results));
    *returned = static_cast<int>(count);
    return true;
  }
  template <typename Performance>
  void keep(const core::KeyHash& key, std::span<const Performance> results) {
    const auto bytes = std::as_bytes(results);
    const std::lock_guard lock(mutex_);
    if (found_.size() < kMost) {
      found_.try_emplace(key, bytes.begin(), bytes.end());
    }
  }

  // Around a fork.
  void lock() { mutex_.lock(); }
  void unlock() { mutex_.unlock(); }

 private:
  static constexpr std::size_t kMost = 8192;
  std::mutex mutex_;
  std::unordered_map<core::KeyHash, std::vector<std::byte>, core::KeyHasher> found_;
};

}  // namespace reformer::shim
