#pragma once

#include "core/result.h"
#include "model/corpus.h"
#include "model/model_data.h"
#include "model/trainer.h"

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace reformer::model {

// A whole training: split, classes, normaliser, network, cross-fitted calibration, figures.
struct TrainOptions {
  std::string name;  // becomes ModelInfo::name; empty: made from what it is
  BlockKind block = BlockKind::kGamma;
  std::size_t blocks = 3;
  LossOptions loss;
  HeadKind head = HeadKind::kGenerated;
  ClassRule classes;
  // Classes seen less often get no vector of their own; 0 is "never any".
  std::uint32_t own_vector_from = 0;
  bool paper_widths = false;
  std::size_t epochs = 40;
  std::size_t batch = 128;
  float rate = 3e-3F;
  float decay = 0.3F;
  std::uint64_t seed = 1;
  std::size_t shards = 1;
  double validation_share = 0.1;
  // Left-out parts that the calibration learns from, twice: by random shapes and by regions. 0:
  // from the validation problems only.
  std::uint32_t folds = 4;
  double fold_epochs = 0.4;  // of `epochs`
};

// The variants that can be named: "default", and "paper" (the published configuration: widths (64,
// 128), (256, 64), (64, 32) for L = 3, a plain output layer over the few classes that cover 3 %,
// ratio-preserving target at s = 1, plain cross-entropy). Empty for another name.
[[nodiscard]] std::optional<TrainOptions> preset(std::string_view name);

struct TrainProgress {
  enum class Stage { kNetwork, kCalibration };
  Stage stage = Stage::kNetwork;
  EpochReport epoch;           // of kNetwork
  std::size_t folds_done = 0;  // of kCalibration
  std::size_t folds = 0;
};
// Called from one thread at a time. False: finish as soon as possible with the best so far.
using OnProgress = std::function<bool(const TrainProgress&)>;

// Trains on the corpus problems named by `indices`. Errors: kInvalidArgument where there is too
// little to learn from.
// Deterministic for equal arguments on one instruction set, unless on_progress stops it.
[[nodiscard]] core::Result<ModelData> train_model(const Corpus& corpus,
                                                  std::span<const std::size_t> indices,
                                                  const TrainOptions& options,
                                                  const ParallelFor& parallel_for,
                                                  const OnProgress& on_progress);

}  // namespace reformer::model
