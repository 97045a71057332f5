#pragma once

#include "cli/command.h"
#include "model/training_run.h"

#include <cstddef>
#include <string>
#include <vector>

namespace reformer::cli {

// Leaving whole families of networks out: for each family a model is trained on every problem whose
// shape none of the family's networks has, and held to all that they have.
struct FamilyOptions {
  std::vector<std::string> data;
  std::string families;  // CSV: network,family
  std::string shapes;    // CSV of conv-shapes.csv's columns: 13 numbers, then networks with '|'
  model::TrainOptions training;
  std::size_t seeds = 1;
  std::size_t threads = 1;
};

// Prints a table, or JSON: `families`, each with `family`, `seeds` (finished: an interrupted family
// has fewer), `training_problems` and the keys of eval (problems, model, served, baselines), and
// `all`, the same over the problems of all families. A problem whose shape several families have
// counts in each. Exit code 1 where lines of the files were rejected. Throws Failure.
void study_families(Session& session, const FamilyOptions& options);

}  // namespace reformer::cli
