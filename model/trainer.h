#pragma once

#include "model/dataset.h"
#include "model/network.h"

#include <algorithm>
#include <cstdint>
#include <functional>
#include <limits>
#include <span>
#include <vector>

namespace reformer::model {

// Calls the function for 0 ... count - 1, from as many threads as the caller likes, and returns
// when all are done. This folder has no threads of its own.
using ParallelFor =
    std::function<void(std::size_t count, const std::function<void(std::size_t)>& body)>;

struct FitOptions {
  NetworkShape shape;
  LossOptions loss;
  std::size_t epochs = 60;
  std::size_t batch = 128;
  float rate = 3e-3F;        // peak; linear warm-up over the first 5 %, then a cosine down to 2 %
  float decay = 0.02F;       // AdamW's weight decay
  float own_decay = 0.1F;    // ... of vectors that belong to one class alone
  float averaging = 0.995F;  // the result is a moving average of the parameters over steps
  std::uint64_t seed = 1;
  std::size_t shards = 1;  // parts of a batch that run at once; part of what fixes the result
};

struct EpochReport {
  std::size_t epoch = 0;  // from 1
  std::size_t epochs = 0;
  double loss = 0;                 // mean over the training problems
  double validation_slowdown = 0;  // geometric mean; 0 without validation problems
};
// After each epoch. False: stop here and keep the best so far.
using OnEpoch = std::function<bool(const EpochReport&)>;

// Which epoch's parameters are kept: the last one whose validation slowdown is within 0.2 % of the
// lowest. That is about the standard error over the shipped measurements' validation problems, and
// later epochs know more of the shapes that were learnt from.
class EpochChoice {
 public:
  // Whether this epoch is to be kept in place of those before.
  [[nodiscard]] bool keeps(double slowdown) {
    const bool kept = slowdown <= lowest_ * kAsGood;
    lowest_ = std::min(lowest_, slowdown);
    return kept;
  }

 private:
  static constexpr double kAsGood = 1.002;
  double lowest_ = std::numeric_limits<double>::infinity();
};

struct FitResult {
  // Of the epoch that EpochChoice keeps, where slowdowns count as at most 2.
  std::vector<float> parameters;
  std::size_t best_epoch = 0;
  double validation_slowdown = 0;
};

// Trains on `train`, picks the epoch by `validation` (both are samples of `data`; without
// validation samples: the last epoch). Deterministic for equal arguments on one instruction set,
// whatever parallel_for does.
[[nodiscard]] FitResult fit(const Dataset& data,
                            const ConfigFeatures& features,
                            std::span<const std::size_t> train,
                            std::span<const std::size_t> validation,
                            const FitOptions& options,
                            const ParallelFor& parallel_for,
                            const OnEpoch& on_epoch);

// What a model keeps of a network's parameters.
struct Weights {
  std::vector<float> trunk;  // of the layers, see make_layers()
  std::vector<float> rows;   // [rows][embedding + 1] of the classes
};
[[nodiscard]] Weights weights_of(const Dataset& data,
                                 const ConfigFeatures& features,
                                 const NetworkShape& shape,
                                 std::span<const float> parameters);

// For each sample the logits of its combination's classes go to `visit` (one call a sample, in
// order of combination, not in that of `samples`; from one thread).
using VisitLogits = std::function<void(
    std::size_t sample, std::span<const float> embedding, std::span<const float> logits)>;
void predict(const Dataset& data,
             const ConfigFeatures& features,
             const NetworkShape& shape,
             const Weights& weights,
             std::span<const std::size_t> samples,
             const VisitLogits& visit);

// The existing class that the logits rank first.
[[nodiscard]] const Existing& choose(std::span<const Existing> existing,
                                     std::span<const float> logits);

}  // namespace reformer::model
