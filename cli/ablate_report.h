#pragma once

#include "cli/ablate_run.h"
#include "cli/reply.h"
#include "model/statistics.h"

#include <array>
#include <cstddef>
#include <ostream>
#include <string>
#include <vector>

namespace reformer::cli {

// The figures of one chooser over all held-out problems and finished runs. As everywhere, a problem
// without a choice that exists is a miss in the shares and left out of the slowdowns.
struct ChoiceFigures {
  model::Estimate top1, top3, within_5pct;
  model::Estimate geomean_slowdown, p90_slowdown, p99_slowdown;
  double uncovered = 0;  // problems, mean over runs
};

struct VariantFigures {
  ChoiceFigures chosen;
  model::Estimate served_slowdown;   // geometric mean of what an application gets
  model::Estimate ceiling_slowdown;  // ... of the best of the variant's own classes
  double abstained = 0;              // share
  double unanswered = 0;             // share: none of the best sixteen classes exists
  model::Estimate parameters;
  double classes = 0;
  model::Estimate inference_p50_us, inference_p99_us;
  model::Estimate training_s;
};

// ln(slowdown) minus that of another variant on the same problem and seed. Above 0: slower.
struct PairedFigures {
  model::Estimate log_slowdown;
  std::size_t pairs = 0;
  std::size_t left_out = 0;  // one of the two has no choice that exists
  std::size_t better = 0;
  std::size_t worse = 0;
};

// What the finished runs of a plan say. The arguments of the constructor must outlive it.
class AblateReport {
 public:
  // runs: [variant][seed]; a variant may have fewer than the others, or none yet.
  AblateReport(const AblateData& data,
               const Plan& plan,
               const std::vector<std::vector<VariantRun>>& runs,
               std::size_t seeds);

  static constexpr std::size_t kBaselines = 4;
  static constexpr std::array<const char*, kBaselines> kBaselineNames = {
      "heuristic_a", "heuristic_b", "a_first_10", "oracle"};
  static constexpr std::array<const char*, kBaselines> kBaselineTitles = {
      "heuristic A", "heuristic B", "best of A's first 10", "oracle"};

  [[nodiscard]] const Plan& plan() const { return plan_; }
  [[nodiscard]] std::span<const core::Record> records() const { return data_.held_out(); }
  [[nodiscard]] const std::vector<VariantRun>& runs(std::size_t variant) const {
    return runs_[variant];
  }
  [[nodiscard]] std::span<const Outcome> baseline(std::size_t index) const {
    return baselines_[index];
  }
  // Of variants with runs only.
  [[nodiscard]] const VariantFigures& figures(std::size_t variant) const {
    return figures_[variant];
  }
  [[nodiscard]] const ChoiceFigures& baseline_figures(std::size_t index) const {
    return baseline_figures_[index];
  }
  [[nodiscard]] PairedFigures paired(std::size_t variant, std::size_t against) const;
  [[nodiscard]] std::size_t finished_runs() const;
  [[nodiscard]] std::size_t planned_runs() const { return plan_.variants.size() * seeds_; }

  [[nodiscard]] Json to_json() const;
  void print(std::ostream& out, bool colour) const;

 private:
  void print_study(std::ostream& out, bool colour, const Study& study) const;
  void print_baselines(std::ostream& out, bool colour) const;

  const AblateData& data_;
  const Plan& plan_;
  const std::vector<std::vector<VariantRun>>& runs_;
  std::size_t seeds_;
  model::Bootstrap bootstrap_;
  std::vector<VariantFigures> figures_;
  std::array<std::vector<Outcome>, kBaselines> baselines_;
  std::array<ChoiceFigures, kBaselines> baseline_figures_;
};

// "1.0421 (1.0310-1.0552)"; without the interval where it has no width.
[[nodiscard]] std::string estimate_text(const model::Estimate& estimate, double scale, int digits);

}  // namespace reformer::cli
