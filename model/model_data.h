#pragma once

#include "model/calibration.h"
#include "model/class_list.h"
#include "model/dataset.h"
#include "model/network.h"
#include "model/predictor.h"
#include "model/time_network.h"

#include <cstdint>
#include <span>
#include <vector>

namespace reformer::model {

// All of a trained model, as the model file carries it.
struct ModelData {
  ModelInfo info;
  NetworkShape shape;
  Normaliser normaliser;
  ClassList classes;
  // Rows of the output side used by each combination's classes, in their order.
  std::vector<std::vector<std::uint32_t>> combination_rows;
  std::vector<float> trunk;  // parameters of the layers, see make_layers()
  std::vector<float> rows;   // [rows][embedding + 1]: weights and bias
  Calibration calibration;
  TimeNetwork times;
  // Low halves of shape_hash() of the training problems, ascending: what the model has seen.
  std::vector<std::uint32_t> seen_shapes;

  [[nodiscard]] std::size_t embedding() const {
    return shape.block == BlockKind::kTransformer || shape.widths.empty() ? shape.embedding
                                                                          : shape.widths.back().out;
  }
};

// Everything that reading a file must make sure of before the numbers are used as sizes and
// indices: widths within bounds, array lengths that agree, indices in range, finite numbers.
// Errors: kCorrupt with what is wrong.
[[nodiscard]] core::Status validate(const ModelData& data);

}  // namespace reformer::model
