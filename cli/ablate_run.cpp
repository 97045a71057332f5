#include "cli/ablate_run.h"

#include "cli/ablate_ranking.h"
#include "cli/eval_scores.h"
#include "cli/reply.h"
#include "model/model_file.h"
#include "model/predictor.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <string>

namespace reformer::cli {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kRankedInTiming = 8;
constexpr std::size_t kTimingPasses = 5;

// The fastest of a record's candidates that the model has a class for, over the fastest of all.
double ceiling_of(const core::Record& record, const model::Predictor& predictor) {
  const core::Candidate* best = core::fastest(record);
  double reachable = 0;
  for (const core::Candidate& candidate : record.candidates) {
    const double time = candidate.time_us;
    if (candidate.timed() && predictor.class_of(candidate.config) >= 0 &&
        (reachable <= 0 || time < reachable)) {
      reachable = time;
    }
  }
  return reachable / static_cast<double>(best->time_us);
}

// Times of each problem, one at a time with warm caches, as in a daemon that is asked often.
void time_inference(const AblateData& data,
                    const model::Predictor& predictor,
                    std::vector<Outcome>& outcomes) {
  model::Predictor::Scratch scratch(predictor);
  model::Ranking ranking;
  std::vector<std::array<float, kTimingPasses>> times(outcomes.size());
  const auto pass = [&](const auto& keep) {
    for (std::size_t i = 0; i < outcomes.size(); ++i) {
      const auto start = Clock::now();
      predictor.rank(data.held_out()[i].key.problem, kRankedInTiming, scratch, ranking);
      keep(i, std::chrono::duration<float, std::micro>(Clock::now() - start).count());
    }
  };
  pass([](std::size_t, float) {});
  for (std::size_t p = 0; p < kTimingPasses; ++p) {
    pass([&](std::size_t i, float us) { times[i][p] = us; });
  }
  for (std::size_t i = 0; i < outcomes.size(); ++i) {
    std::ranges::sort(times[i]);
    outcomes[i].inference_us = times[i][kTimingPasses / 2];
  }
}

std::vector<Outcome> judge_model(const AblateData& data,
                                 const model::ModelData& trained,
                                 const model::Predictor& predictor) {
  FullRanking ranking(trained);
  ChooserScores scores(predictor);
  std::vector<Outcome> outcomes;
  for (const core::Record& record : data.held_out()) {
    const model::Score chosen = ranking.score(record);
    scores.add(record);
    const model::Score& answered = scores.of(ChooserScores::kModel).back();
    const model::Score& served = scores.of(ChooserScores::kServed).back();
    Outcome outcome;
    outcome.covered = chosen.covered;
    outcome.top1 = chosen.covered && chosen.top1;
    outcome.top3 = chosen.covered && chosen.top3;
    outcome.within_5pct = chosen.covered && chosen.within_5pct;
    outcome.answered = answered.covered;
    outcome.abstained = answered.abstained;
    outcome.confidence = answered.confidence;
    outcome.slowdown = chosen.covered ? chosen.slowdown : 0;
    outcome.served_slowdown = served.covered ? served.slowdown : 0;
    outcome.ceiling = ceiling_of(record, predictor);
    outcome.predicted = chosen.predicted;
    outcomes.push_back(outcome);
  }
  return outcomes;
}

}  // namespace

ScratchFolder::ScratchFolder() {
  std::string name = (std::filesystem::temp_directory_path() / "reformerctl-XXXXXX").string();
  if (::mkdtemp(name.data()) == nullptr) {
    throw Failure(kExitFailed, name + ": " + std::strerror(errno));
  }
  path_ = name;
}

ScratchFolder::~ScratchFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::optional<VariantRun> run_variant(const AblateData& data,
                                      const model::Corpus& corpus,
                                      const Variant& variant,
                                      std::uint64_t seed,
                                      Workers& workers,
                                      const ScratchFolder& scratch,
                                      const OnAblateEpoch& on_epoch) {
  model::TrainOptions options = variant.options;
  options.seed = seed;
  bool given_up = false;
  const auto start = Clock::now();
  const auto trained = model::train_model(
      corpus,
      data.training(),
      options,
      [&workers](std::size_t count, const auto& body) { workers.run(count, body); },
      [&](const model::TrainProgress& progress) {
        given_up = given_up || !on_epoch(progress.epoch.epoch, progress.epoch.epochs);
        return !given_up;
      });
  if (given_up) {
    return std::nullopt;
  }
  if (!trained) {
    throw Failure(trained.error());
  }
  VariantRun run;
  run.seed = seed;
  run.training_s = std::chrono::duration<double>(Clock::now() - start).count();
  run.parameters = trained->info.parameters;
  run.classes = trained->info.classes;
  const std::filesystem::path file = scratch.file("variant.reformer");
  if (const auto written = model::write_model(*trained, file); !written) {
    throw Failure(written.error());
  }
  const auto predictor = model::Predictor::load(file);
  if (!predictor) {
    throw Failure(predictor.error());
  }
  run.outcomes = judge_model(data, *trained, **predictor);
  time_inference(data, **predictor, run.outcomes);
  return run;
}

}  // namespace reformer::cli
