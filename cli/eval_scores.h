#pragma once

#include "cli/reply.h"
#include "core/record.h"
#include "model/predictor.h"
#include "model/score.h"

#include <array>
#include <cstddef>
#include <ostream>
#include <string>
#include <vector>

namespace reformer::cli {

// Scores of a model, of what is served, of what that is under the build policy (`applied`), and of
// the baselines, over many records.
class ChooserScores {
 public:
  enum Chooser : std::size_t {
    kModel,
    kServed,
    kApplied,
    kHeuristicA,
    kHeuristicB,
    kFirstTen,
    kOracle
  };
  static constexpr std::size_t kChoosers = 7;

  // `predictor` must outlive it. `policy`: of kApplied. `view`: what the
  // records hold, and what the model is asked for.
  explicit ChooserScores(const model::Predictor& predictor,
                         const core::BuildPolicy& policy = {},
                         model::View view = model::View::kAll);

  void add(const core::Record& record);
  [[nodiscard]] std::size_t problems() const { return scores_[kModel].size(); }
  // The problems whose served choice loses most time against the fastest, at most `most`, worst
  // first: their places in the order of add(). Choices that lose nothing are not among them.
  [[nodiscard]] std::vector<std::size_t> worst(std::size_t most) const;
  [[nodiscard]] const std::vector<model::Score>& of(Chooser chooser) const {
    return scores_[chooser];
  }

  // problems, model, served, applied, first_missing, build_ms, baselines.{heuristic_a, heuristic_b,
  // a_first_10, oracle}.
  [[nodiscard]] Json to_json() const;
  void print(std::ostream& out, bool colour) const;

 private:
  // Mean building time of the plans chosen, milliseconds a problem.
  [[nodiscard]] double build_ms(Chooser chooser) const;
  // Problems that the model answers with a first choice that is no timed candidate.
  [[nodiscard]] std::size_t first_missing() const;

  const model::Predictor& predictor_;
  core::BuildPolicy policy_;
  model::View view_;
  model::Predictor::Scratch scratch_;
  std::array<std::vector<model::Score>, kChoosers> scores_;
};

// The figures of one chooser, with the keys of docs/model.md.
[[nodiscard]] Json summary_to_json(const model::Summary& summary);

}  // namespace reformer::cli
