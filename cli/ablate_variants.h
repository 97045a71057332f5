#pragma once

#include "model/training_run.h"

#include <cstddef>
#include <string>
#include <vector>

namespace reformer::cli {

// What one variant is trained with.
struct Variant {
  std::string name;  // "gamma3-ratio-s1", "gamma3-ratio-s1 noise 10 %"; unique
  model::TrainOptions options;
  double noise = 0;  // relative width of the noise on the training times
};

// A table of the report: variants that differ in one thing.
struct Study {
  struct Row {
    std::string label;        // what is different: "L = 1", "one-hot"
    std::size_t variant = 0;  // index into Plan::variants
    // What it is compared with in this table; mostly Plan::reference.
    std::size_t against = 0;
  };
  std::string name;   // "blocks", "target", "block", "sharpness", "noise", "steps"
  std::string title;  // for people
  std::vector<Row> rows;
};

struct Plan {
  std::vector<Variant> variants;  // each once, however many studies it is in
  std::size_t reference = 0;      // L = 3, Γ, ratio
  std::vector<Study> studies;
};

// What is to be compared. Empty lists leave their study out.
struct PlanOptions {
  std::string preset = "paper";
  std::vector<std::size_t> blocks;
  std::vector<std::string> targets;
  std::vector<std::string> block_kinds;
  std::vector<double> sharpness;
  std::vector<double> noise;  // 0.05: times are off by 5 %
  bool steps = false;         // from the paper's configuration to the default, one change at a time
  std::size_t epochs = 0;     // 0: the preset's
  bool calibrate = false;     // cross-fitted, as `train` does
  std::size_t shards = 1;
};

// Names in the options must be known ones.
[[nodiscard]] Plan make_plan(const PlanOptions& options);

}  // namespace reformer::cli
