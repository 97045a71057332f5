#pragma once

#include "cli/ablate_data.h"
#include "cli/ablate_variants.h"
#include "cli/train_data.h"
#include "model/score.h"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <vector>

namespace reformer::cli {

// What one trained network did on one held-out problem.
struct Outcome {
  bool covered = false;   // a class of the model is among its candidates
  bool answered = false;  // ... and among the best sixteen, which is what the daemon sees
  bool top1 = false;
  bool top3 = false;
  bool within_5pct = false;
  bool abstained = false;
  float confidence = 0;
  float inference_us = 0;      // features, network, ranked top 8; median of several passes
  double slowdown = 0;         // of its choice; 0 where not covered
  double served_slowdown = 0;  // of what an application gets; 0 where heuristic A has nothing
  double ceiling = 0;          // of the best of its classes; 0 where none of them exists
  core::EngineConfig predicted;
};

// One variant trained with one seed. Outcomes are in the order of AblateData::held_out().
struct VariantRun {
  std::uint64_t seed = 0;
  std::size_t parameters = 0;
  std::size_t classes = 0;
  double training_s = 0;
  std::vector<Outcome> outcomes;
};

// After each epoch; false: give up.
using OnAblateEpoch = std::function<bool(std::size_t epoch, std::size_t epochs)>;

// A folder of its own below the system's temporary one, removed with everything in it at the end.
class ScratchFolder {
 public:
  ScratchFolder();  // throws Failure
  ~ScratchFolder();
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;
  [[nodiscard]] std::filesystem::path file(const char* name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

// Trains on `corpus`, whose indices are those of data.corpus(), writes the model file and judges
// what a reader of that file gets. Empty where on_epoch gave up; throws Failure where the training
// or the file fails.
[[nodiscard]] std::optional<VariantRun> run_variant(const AblateData& data,
                                                    const model::Corpus& corpus,
                                                    const Variant& variant,
                                                    std::uint64_t seed,
                                                    Workers& workers,
                                                    const ScratchFolder& scratch,
                                                    const OnAblateEpoch& on_epoch);

}  // namespace reformer::cli
