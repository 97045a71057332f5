#pragma once

#include "core/record.h"
#include "model/inference.h"
#include "model/model_data.h"
#include "model/score.h"

#include <vector>

namespace reformer::cli {

// The order in which a model ranks a problem's own candidates, to the last one. The daemon sees
// only the best sixteen classes of a ranking, of which a problem may have none; comparing variants
// by those alone would compare them on different problems.
class FullRanking {
 public:
  // `model` must outlive it.
  explicit FullRanking(const model::ModelData& model);

  // Not covered only where no class of the model is a timed candidate of the record.
  [[nodiscard]] model::Score score(const core::Record& record);

 private:
  [[nodiscard]] std::vector<core::EngineConfig> order(const core::Record& record);

  const model::ModelData& model_;
  model::InferenceNetwork network_;
  std::vector<float> workspace_;
  std::vector<float> logits_;
};

}  // namespace reformer::cli
