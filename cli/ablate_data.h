#pragma once

#include "cli/command.h"
#include "core/record.h"
#include "model/corpus.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace reformer::cli {

// The measurements of an ablation on one shape-disjoint split, the same for every variant and seed.
// Records are kept of the held-out problems only.
class AblateData {
 public:
  // Reads the files. Throws Failure where they cannot be read or hold too little.
  AblateData(Session& session, std::vector<std::string> files, double held_out_share);

  [[nodiscard]] const model::Corpus& corpus() const { return corpus_; }
  // Indices of corpus problems to train on.
  [[nodiscard]] std::span<const std::size_t> training() const { return training_; }
  [[nodiscard]] std::span<const core::Record> held_out() const { return held_out_; }
  // Shape hash of each held-out record.
  [[nodiscard]] std::span<const std::uint64_t> shapes() const { return shapes_; }
  [[nodiscard]] std::uint64_t rejected() const { return rejected_; }

  // The corpus with every time multiplied by exp(width * z), z standard normal and drawn anew for
  // every candidate. Same problems at the same indices. Reads the files again.
  [[nodiscard]] model::Corpus noisy(double width, std::uint64_t seed) const;

 private:
  void read_held_out(std::span<const std::size_t> indices);

  Session& session_;
  std::vector<std::string> files_;
  model::Corpus corpus_;
  std::vector<std::size_t> training_;
  std::vector<core::Record> held_out_;
  std::vector<std::uint64_t> shapes_;
  std::uint64_t rejected_ = 0;
};

}  // namespace reformer::cli
