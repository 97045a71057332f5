#include "model/training_run.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <memory>
#include <mutex>

#define XXH_INLINE_ALL
#include "model/folds.h"
#include "model/half.h"
#include "model/model_file.h"

#include <xxhash.h>

namespace reformer::model {
namespace {

constexpr std::size_t kFewestProblems = 50;

FitOptions fit_options(const TrainOptions& options, std::size_t inputs) {
  FitOptions fit;
  fit.shape = options.paper_widths ? paper_shape(options.block, options.blocks, inputs)
                                   : default_shape(options.block, options.blocks, inputs);
  fit.loss = options.loss;
  fit.epochs = options.epochs;
  fit.batch = options.batch;
  fit.rate = options.rate;
  fit.decay = options.decay;
  fit.seed = options.seed;
  fit.shards = options.shards;
  return fit;
}

std::vector<std::size_t> samples_of(const Dataset& data, std::span<const std::size_t> problems) {
  std::vector<std::size_t> samples;
  for (const View view : kViews) {
    for (const std::size_t problem : problems) {
      if (const std::int64_t sample = data.sample_of(problem, view); sample >= 0) {
        samples.push_back(static_cast<std::size_t>(sample));
      }
    }
  }
  return samples;
}

// Weights as the model file keeps them: whatever judges a network judges these.
Weights rounded_weights(const Dataset& data,
                        const ConfigFeatures& features,
                        const NetworkShape& shape,
                        const FitResult& fitted) {
  Weights weights = weights_of(data, features, shape, fitted.parameters);
  round_to_half(weights.trunk);
  round_to_half(weights.rows);
  return weights;
}

// What the calibration learns from predictions for `samples`, none of which was trained on; in the
// order of predict().
std::vector<JudgeSample> judge_samples(const Corpus& corpus,
                                       const ClassList& classes,
                                       const Dataset& data,
                                       const ConfigFeatures& features,
                                       const NetworkShape& shape,
                                       const Weights& weights,
                                       std::span<const std::size_t> samples) {
  std::vector<JudgeSample> result;
  predict(data,
          features,
          shape,
          weights,
          samples,
          [&](std::size_t index, std::span<const float>, std::span<const float> logits) {
            const Sample& sample = data.samples()[index];
            const CorpusTimes& times = corpus.problems()[sample.problem].times(sample.view);
            NumericFeatures numeric{};
            std::copy_n(data.input(index), kNumericFeatures, numeric.begin());
            RankFeatures rank{};
            rank_features(logits, numeric, rank);
            JudgeSample judged;
            judged.view = sample.view;
            judged.shape = corpus.problems()[sample.problem].shape;
            auto next = std::ranges::copy(numeric, judged.inputs.begin()).out;
            next =
                std::ranges::copy(
                    indicator_features(classes.combinations[sample.combination].combination), next)
                    .out;
            std::ranges::copy(rank, next);
            judged.log_slowdown = choose(data.existing(sample), logits).log_slowdown;
            if (times.heuristic_a_us > 0) {
              judged.heuristic_log_slowdown = std::log(times.heuristic_a_us / times.best_us);
            }
            result.push_back(judged);
          });
  return result;
}

// What `samples` took.
TimeNetwork times_of(const Corpus& corpus,
                     const Dataset& data,
                     std::span<const std::size_t> samples,
                     std::uint64_t seed) {
  std::vector<TimeSample> measured;
  measured.reserve(samples.size());
  for (const std::size_t index : samples) {
    const Sample& sample = data.samples()[index];
    const float best_us = corpus.problems()[sample.problem].times(sample.view).best_us;
    measured.push_back({data.input(index), std::log2(best_us)});
  }
  return fit_times(measured, seed);
}

std::string to_hex(const XXH128_hash_t& digest) {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, digest);
  core::KeyHash hash;
  std::ranges::copy(canonical.digest, hash.bytes.begin());
  return core::format_hash(hash);
}

std::string data_hash(const Corpus& corpus, std::span<const std::size_t> indices) {
  XXH3_state_t state;
  XXH3_128bits_reset(&state);
  for (const std::size_t index : indices) {
    const core::KeyHash& key = corpus.problems()[index].key;
    XXH3_128bits_update(&state, key.bytes.data(), key.bytes.size());
  }
  return to_hex(XXH3_128bits_digest(&state));
}

// "gamma3-ratio-s4-5f0c1a2b": what it is, and the beginning of a hash of the model as it would be
// in a file without a name. Equal trainings give equal files, and the accuracy log, which knows
// models by their names, never takes two models for one.
std::string default_name(const ModelData& unnamed) {
  const ModelInfo& info = unnamed.info;
  std::string sharpness = std::to_string(info.sharpness);
  sharpness.erase(sharpness.find_last_not_of('0') + 1);
  if (sharpness.back() == '.') {
    sharpness.pop_back();
  }
  const std::vector<std::byte> bytes = encode_model(unnamed);
  return info.block + std::to_string(info.blocks) + "-" + info.target + "-s" + sharpness + "-" +
         to_hex(XXH3_128bits(bytes.data(), bytes.size())).substr(0, 8);
}

class Run {
 public:
  Run(const Corpus& corpus,
      std::span<const std::size_t> indices,
      const TrainOptions& options,
      const ParallelFor& parallel_for,
      const OnProgress& on_progress)
      : corpus_(corpus),
        options_(options),
        parallel_for_(parallel_for),
        on_progress_(on_progress),
        split_(split_by_shape(corpus, indices, options.validation_share, options.seed)),
        classes_(make_class_list(corpus, split_.train, options.classes)),
        features_(classes_,
                  options.head,
                  options.own_vector_from > 0 ? options.own_vector_from
                                              : std::numeric_limits<std::uint32_t>::max()) {}

  core::Result<ModelData> run() {
    const Normaliser normaliser = fit_normaliser(corpus_, split_.train);
    const Dataset data(corpus_, classes_, normaliser, options_.loss);
    const std::vector<std::size_t> train = samples_of(data, split_.train);
    const std::vector<std::size_t> validation = samples_of(data, split_.held_out);
    if (train.size() < kFewestProblems) {
      return core::make_error(core::ErrorCode::kInvalidArgument,
                              std::to_string(train.size()) + " problems to train on; at least " +
                                  std::to_string(kFewestProblems) + " are needed");
    }
    const FitOptions fit_with = fit_options(options_, data.width());
    const FitResult fitted =
        fit(data,
            features_,
            train,
            validation,
            fit_with,
            parallel_for_,
            [this](const EpochReport& report) {
              stopped_ = !on_progress_({TrainProgress::Stage::kNetwork, report, 0, 0});
              return !stopped_;
            });
    const Weights weights = rounded_weights(data, features_, fit_with.shape, fitted);
    ModelData model = assemble(fit_with.shape, normaliser, weights);
    const std::vector<JudgeSample> judged_validation =
        judge_samples(corpus_, classes_, data, features_, fit_with.shape, weights, validation);
    std::vector<JudgeSample> judged = cross_fit();
    if (judged.empty()) {
      judged = judged_validation;
    }
    model.calibration = fit_calibration(judged, judged_validation, options_.seed);
    model.times = times_of(corpus_, data, train, options_.seed);
    add_metrics(model, judged_validation, fitted);
    model.info.name = options_.name.empty() ? default_name(model) : options_.name;
    return model;
  }

 private:
  ModelData assemble(const NetworkShape& shape,
                     const Normaliser& normaliser,
                     const Weights& weights) const {
    ModelData model;
    model.shape = shape;
    model.normaliser = normaliser;
    model.classes = classes_;
    for (std::size_t c = 0; c < classes_.combinations.size(); ++c) {
      const std::span<const std::uint32_t> rows = features_.combination_rows(c);
      model.combination_rows.emplace_back(rows.begin(), rows.end());
    }
    model.trunk = weights.trunk;
    model.rows = weights.rows;
    for (const std::size_t index : split_.train) {
      model.seen_shapes.push_back(static_cast<std::uint32_t>(corpus_.problems()[index].shape));
    }
    std::ranges::sort(model.seen_shapes);
    model.seen_shapes.erase(std::unique(model.seen_shapes.begin(), model.seen_shapes.end()),
                            model.seen_shapes.end());

    ModelInfo& info = model.info;
    info.block = to_string(options_.block);
    info.target = to_string(options_.loss.target);
    info.blocks = static_cast<int>(options_.blocks);
    info.sharpness = options_.loss.sharpness;
    info.seed = options_.seed;
    info.parameters = model.trunk.size() + model.rows.size();
    info.classes = classes_.classes.size();
    info.data_hash = data_hash(corpus_, split_.train);
    info.training_problems = split_.train.size();
    info.contexts = {corpus_.context()};
    return model;
  }

  struct Fold {
    const std::vector<std::uint32_t>* assignment = nullptr;
    std::uint32_t number = 0;
  };

  // Predictions for every training problem by networks that did not see its shape, and once more by
  // networks that saw nothing of its region. Folds run side by side.
  std::vector<JudgeSample> cross_fit() {
    if (options_.folds < 2 || stopped_) {
      return {};
    }
    const auto by_shape = shape_folds(corpus_, split_.train, options_.folds, options_.seed + 1);
    const auto by_region = region_folds(corpus_, split_.train, options_.folds, options_.seed + 2);
    std::vector<Fold> folds;
    for (std::uint32_t f = 0; f < options_.folds; ++f) {
      folds.push_back({&by_shape, f});
      folds.push_back({&by_region, f});
    }
    std::vector<std::vector<JudgeSample>> parts(folds.size());
    std::mutex mutex;
    std::size_t done = 0;
    parallel_for_(folds.size(), [&](std::size_t i) {
      if (!stopped_) {
        parts[i] = run_fold(folds[i]);
      }
      const std::scoped_lock lock(mutex);
      TrainProgress progress;
      progress.stage = TrainProgress::Stage::kCalibration;
      progress.folds_done = ++done;
      progress.folds = folds.size();
      stopped_ = !on_progress_(progress) || stopped_;
    });
    std::vector<JudgeSample> all;
    for (const std::vector<JudgeSample>& part : parts) {
      all.insert(all.end(), part.begin(), part.end());
    }
    return all;
  }

  std::vector<JudgeSample> run_fold(const Fold& fold) const {
    std::vector<std::size_t> train;
    std::vector<std::size_t> held_out;
    for (std::size_t i = 0; i < split_.train.size(); ++i) {
      ((*fold.assignment)[i] == fold.number ? held_out : train).push_back(split_.train[i]);
    }
    if (train.size() < kFewestProblems || held_out.empty()) {
      return {};
    }
    const Dataset data(corpus_, classes_, fit_normaliser(corpus_, train), options_.loss);
    FitOptions fit_with = fit_options(options_, data.width());
    fit_with.shards = 1;
    fit_with.epochs = std::max<std::size_t>(
        1, static_cast<std::size_t>(static_cast<double>(options_.epochs) * options_.fold_epochs));
    const ParallelFor inline_for = [](std::size_t count,
                                      const std::function<void(std::size_t)>& body) {
      for (std::size_t i = 0; i < count; ++i) {
        body(i);
      }
    };
    const FitResult fitted = fit(data,
                                 features_,
                                 samples_of(data, train),
                                 {},
                                 fit_with,
                                 inline_for,
                                 [this](const EpochReport&) { return !stopped_.load(); });
    return judge_samples(corpus_,
                         classes_,
                         data,
                         features_,
                         fit_with.shape,
                         rounded_weights(data, features_, fit_with.shape, fitted),
                         samples_of(data, held_out));
  }

  // Figures over the validation problems: of the view that all have, and of the narrower ones.
  static void add_metrics(ModelData& model,
                          std::span<const JudgeSample> judged,
                          const FitResult& fitted) {
    double problems = 0;
    double chosen = 0;
    double heuristic = 0;
    double served = 0;
    double abstained = 0;
    double narrower = 0;
    double chosen_of_narrower = 0;
    for (const JudgeSample& sample : judged) {
      if (sample.view != View::kAll) {
        narrower += 1;
        chosen_of_narrower += static_cast<double>(sample.log_slowdown);
        continue;
      }
      const float a = std::max(0.0F, sample.heuristic_log_slowdown);
      const bool abstain = model.calibration.abstains(judge(model.calibration, sample.inputs));
      problems += 1;
      abstained += abstain ? 1 : 0;
      chosen += static_cast<double>(sample.log_slowdown);
      heuristic += static_cast<double>(a);
      served += static_cast<double>(
          abstain && sample.heuristic_log_slowdown >= 0 ? a : sample.log_slowdown);
    }
    const double n = std::max(1.0, problems);
    model.info.metrics = {{"validation_problems", problems},
                          {"validation_model_geomean_slowdown", std::exp(chosen / n)},
                          {"validation_served_geomean_slowdown", std::exp(served / n)},
                          {"validation_heuristic_a_geomean_slowdown", std::exp(heuristic / n)},
                          {"validation_abstained", abstained},
                          {"best_epoch", static_cast<double>(fitted.best_epoch)}};
    if (narrower > 0) {
      model.info.metrics.emplace_back("validation_views", narrower);
      model.info.metrics.emplace_back("validation_views_geomean_slowdown",
                                      std::exp(chosen_of_narrower / narrower));
    }
  }

  const Corpus& corpus_;
  const TrainOptions& options_;
  const ParallelFor& parallel_for_;
  const OnProgress& on_progress_;
  Split split_;
  ClassList classes_;
  ConfigFeatures features_;
  std::atomic<bool> stopped_ = false;
};

}  // namespace

std::optional<TrainOptions> preset(std::string_view name) {
  TrainOptions options;
  if (name == "default") {
    options.loss = {TargetKind::kRatio, 4, 0.5F, 10};
    options.batch = 256;
    options.epochs = 160;
    options.fold_epochs = 0.25;
    return options;
  }
  if (name == "paper") {
    options.loss = {TargetKind::kRatio, 1, 0, 0};
    options.head = HeadKind::kPlain;
    options.classes = {.choice = ClassChoice::kCover, .min_sightings = 1};
    options.paper_widths = true;
    options.decay = 0.01F;
    return options;
  }
  return std::nullopt;
}

core::Result<ModelData> train_model(const Corpus& corpus,
                                    std::span<const std::size_t> indices,
                                    const TrainOptions& options,
                                    const ParallelFor& parallel_for,
                                    const OnProgress& on_progress) {
  if (options.blocks == 0 || options.blocks > 16) {
    return core::make_error(core::ErrorCode::kInvalidArgument, "blocks: 1 to 16");
  }
  if (options.epochs == 0 || options.batch == 0 || options.shards == 0) {
    return core::make_error(core::ErrorCode::kInvalidArgument,
                            "epochs, batch and shards must be positive");
  }
  return Run(corpus, indices, options, parallel_for, on_progress).run();
}

}  // namespace reformer::model
