#include "model/half.h"
#include "model/model_file.h"
#include "model/score.h"
#include "model/training_run.h"
#include "tests/model/sample_model.h"

#include <boost/test/data/test_case.hpp>
#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <cmath>
#include <string_view>
#include <thread>
#include <vector>

namespace reformer::model {
namespace {

const Corpus& corpus() {
  static const Corpus made = testing::made_up_corpus(500);
  return made;
}

TrainOptions quick(std::size_t epochs = 4) {
  TrainOptions options = *preset("default");
  options.epochs = epochs;
  options.folds = 2;
  options.shards = 3;
  return options;
}

ModelData train(
    const TrainOptions& options,
    const ParallelFor& parallel_for = testing::run_inline,
    const OnProgress& on_progress = [](const TrainProgress&) { return true; }) {
  const auto trained =
      train_model(corpus(), testing::all_of(corpus()), options, parallel_for, on_progress);
  BOOST_REQUIRE_MESSAGE(trained.ok(), (trained.ok() ? "" : trained.error().message));
  return *trained;
}

void run_backwards(std::size_t count, const std::function<void(std::size_t)>& body) {
  for (std::size_t i = count; i-- > 0;) {
    body(i);
  }
}

void run_at_once(std::size_t count, const std::function<void(std::size_t)>& body) {
  std::vector<std::jthread> threads;
  for (std::size_t i = 0; i < count; ++i) {
    threads.emplace_back([&body, i] { body(i); });
  }
}

// 0 where the model has no such figure.
double figure(const ModelData& data, std::string_view wanted) {
  double found = 0;
  for (const auto& [name, value] : data.info.metrics) {
    found = name == wanted ? value : found;
  }
  return found;
}

// Geometric means of a model's and heuristic A's slowdown on problems that it has not seen.
std::pair<double, double> slowdowns(const ModelData& data) {
  const auto predictor = testing::predictor_of(data);
  Predictor::Scratch scratch(*predictor);
  std::vector<Score> model;
  std::vector<Score> heuristic;
  for (std::uint32_t n = 10'000; n < 10'400; ++n) {
    const core::Record record = testing::made_up_record(n);
    Ranking ranking;
    predictor->rank(record.key.problem, kMaxRanked, scratch, ranking);
    model.push_back(score_ranking(record, ranking, predictor->classes()));
    heuristic.push_back(score_heuristic_a(record));
  }
  return {summarise(model).geomean_slowdown, summarise(heuristic).geomean_slowdown};
}

constexpr std::array kTargets = {TargetKind::kRatio, TargetKind::kOneHot, TargetKind::kSoftmax};
constexpr std::array kKinds = {BlockKind::kGamma, BlockKind::kMlp, BlockKind::kTransformer};

}  // namespace

BOOST_AUTO_TEST_SUITE(training)

BOOST_AUTO_TEST_CASE(the_loss_falls_and_the_model_beats_the_heuristic) {
  std::vector<EpochReport> reports;
  const ModelData data = train(quick(12), testing::run_inline, [&](const TrainProgress& progress) {
    if (progress.stage == TrainProgress::Stage::kNetwork) {
      reports.push_back(progress.epoch);
    }
    return true;
  });
  BOOST_REQUIRE(reports.size() == 12U);
  BOOST_TEST(reports.back().loss < 0.9 * reports.front().loss);
  BOOST_TEST(reports.back().validation_slowdown < reports.front().validation_slowdown);
  const auto [model, heuristic] = slowdowns(data);
  BOOST_TEST(model < 1.1);
  BOOST_TEST(model < 0.9 * heuristic);
}

BOOST_AUTO_TEST_CASE(the_same_seed_and_shards_give_the_same_file_however_threads_run) {
  const auto file = encode_model(train(quick()));
  BOOST_TEST((encode_model(train(quick(), run_backwards)) == file));
  BOOST_TEST((encode_model(train(quick(), run_at_once)) == file));
  TrainOptions other_seed = quick();
  other_seed.seed = 2;
  BOOST_TEST((encode_model(train(other_seed)) != file));
}

BOOST_DATA_TEST_CASE(every_kind_of_block_learns, kKinds, kind) {
  TrainOptions options = quick(8);
  options.block = kind;
  options.folds = 0;
  const ModelData data = train(options);
  BOOST_TEST(validate(data).ok());
  BOOST_TEST(data.info.block == to_string(kind));
  const auto [model, heuristic] = slowdowns(data);
  BOOST_TEST(model < heuristic);
}

BOOST_DATA_TEST_CASE(every_target_learns, kTargets, target) {
  TrainOptions options = *preset("paper");
  options.loss.target = target;
  options.epochs = 20;
  options.folds = 0;
  const ModelData data = train(options);
  BOOST_TEST(validate(data).ok());
  BOOST_TEST(data.info.target == to_string(target));
  const auto [model, heuristic] = slowdowns(data);
  BOOST_TEST(model < heuristic);
}

// Engines 0, 3, 6 and 9 use tensor cores.
BOOST_AUTO_TEST_CASE(f32_is_learnt_without_tensor_cores_too) {
  TrainOptions options = quick(12);
  options.folds = 0;
  const ModelData data = train(options);
  const auto predictor = testing::predictor_of(data);
  Predictor::Scratch scratch(*predictor);
  std::vector<Score> learnt;
  std::vector<Score> heuristic;
  std::size_t answered = 0;
  core::Constraints refuse;
  refuse.forbidden_numerical_notes = core::numerical_note::kTensorCore;
  for (std::uint32_t n = 0; n < 500; ++n) {
    const core::Record whole = testing::made_up_record(n);
    const core::Record record = core::without_notes(whole, core::numerical_note::kTensorCore);
    if (record.key.problem.x.type != core::DataType::kF32) {
      continue;
    }
    Ranking ranking;
    predictor->rank(record.key.problem, kMaxRanked, scratch, ranking, View::kWithoutTensorCores);
    learnt.push_back(score_ranking(record, ranking, predictor->classes()));
    heuristic.push_back(score_heuristic_a(record));
    const core::Decision decision =
        predictor->decide(record.key.context, record.key.problem, refuse, {}, 4, 4, scratch);
    if (ranking.abstained) {
      BOOST_TEST(decision.entries.empty());
      continue;
    }
    BOOST_REQUIRE(!decision.entries.empty());
    ++answered;
    BOOST_TEST((decision.entries[0].config ==
                predictor->classes()[static_cast<std::size_t>(ranking.classes[0].class_index)]));
    for (const core::DecisionEntry& entry : decision.entries) {
      BOOST_TEST(entry.config.engine() % 3 != 0);
    }
  }
  BOOST_TEST(learnt.size() > 100U);
  BOOST_TEST(answered > learnt.size() / 2);
  const double slowdown = summarise(learnt).geomean_slowdown;
  BOOST_TEST(slowdown < 1.1);
  BOOST_TEST(slowdown < 0.9 * summarise(heuristic).geomean_slowdown);
  BOOST_TEST(figure(data, "validation_views") > 10);
}

BOOST_AUTO_TEST_CASE(the_papers_configuration_has_the_papers_widths) {
  TrainOptions options = *preset("paper");
  options.epochs = 1;
  options.folds = 0;
  const ModelData data = train(options);
  const std::vector<BlockWidth> widths = {{64, 128}, {256, 64}, {64, 32}};
  BOOST_TEST((data.shape.widths == widths));
  BOOST_TEST(data.info.sharpness == 1);
  BOOST_TEST(!preset("no such preset").has_value());
}

BOOST_AUTO_TEST_CASE(validation_shapes_are_not_trained_on_and_the_model_says_what_it_saw) {
  const ModelData data = train(quick(1));
  const auto predictor = testing::predictor_of(data);
  std::size_t seen = 0;
  for (const CorpusProblem& problem : corpus().problems()) {
    seen += predictor->has_seen_shape(problem.problem) ? 1 : 0;
  }
  BOOST_TEST(seen == data.info.training_problems);
  const double validation = figure(data, "validation_problems");
  BOOST_TEST(static_cast<double>(seen) + validation ==
             static_cast<double>(corpus().problems().size()));
  BOOST_TEST(validation > 20);
}

BOOST_AUTO_TEST_CASE(the_last_epoch_that_is_as_good_as_the_best_is_kept) {
  EpochChoice choice;
  BOOST_TEST(choice.keeps(1.5));
  BOOST_TEST(choice.keeps(1.1));
  BOOST_TEST(!choice.keeps(1.2));
  BOOST_TEST(choice.keeps(1.101));   // within 0.2 % of 1.1
  BOOST_TEST(!choice.keeps(1.103));  // of the lowest, not of the last that was kept
  BOOST_TEST(choice.keeps(1.05));
  BOOST_TEST(!choice.keeps(1.1));

  EpochChoice without_validation;
  BOOST_TEST(without_validation.keeps(0));
  BOOST_TEST(without_validation.keeps(0));
}

// f32 in its views and f16: what is predicted comes in the order of the combinations.
BOOST_AUTO_TEST_CASE(the_validation_figures_are_of_whole_problems_as_the_model_answers_them) {
  const ModelData data = train(quick(8));
  const auto predictor = testing::predictor_of(data);
  Predictor::Scratch scratch(*predictor);
  Corpus once;
  std::vector<Score> model;
  std::vector<Score> heuristic;
  double abstained = 0;
  for (std::uint32_t n = 0; n < 500; ++n) {
    const core::Record record = testing::made_up_record(n);
    if (once.add(record) != Corpus::Added::kYes || predictor->has_seen_shape(record.key.problem)) {
      continue;
    }
    Ranking ranking;
    predictor->rank(record.key.problem, kMaxRanked, scratch, ranking);
    abstained += ranking.abstained ? 1 : 0;
    model.push_back(score_ranking(record, ranking, predictor->classes()));
    heuristic.push_back(score_heuristic_a(record));
  }
  const auto equal = [&](const char* name, double expected) {
    BOOST_TEST(std::abs(figure(data, name) - expected) < 1e-5, name << " is " << expected);
  };
  equal("validation_problems", static_cast<double>(model.size()));
  equal("validation_model_geomean_slowdown", summarise(model).geomean_slowdown);
  equal("validation_heuristic_a_geomean_slowdown", summarise(heuristic).geomean_slowdown);
  equal("validation_abstained", abstained);
  BOOST_TEST(figure(data, "validation_views") > 10);
  BOOST_TEST(all_are_halves(data.trunk));
  BOOST_TEST(all_are_halves(data.rows));
}

BOOST_AUTO_TEST_CASE(a_stopped_training_keeps_the_best_so_far) {
  std::size_t epochs = 0;
  const ModelData data = train(quick(50), testing::run_inline, [&](const TrainProgress& progress) {
    BOOST_TEST((progress.stage == TrainProgress::Stage::kNetwork));  // no calibration any more
    return ++epochs < 3;
  });
  BOOST_TEST(epochs == 3U);
  BOOST_TEST(validate(data).ok());
}

BOOST_AUTO_TEST_CASE(too_little_to_learn_from_is_an_error) {
  const Corpus few = testing::made_up_corpus(30);
  const auto trained = train_model(
      few, testing::all_of(few), quick(), testing::run_inline, [](const TrainProgress&) {
        return true;
      });
  BOOST_REQUIRE(!trained.ok());
  BOOST_TEST((trained.error().code == core::ErrorCode::kInvalidArgument));
  BOOST_TEST(trained.error().message.find("at least 50") != std::string::npos);
  for (const auto& change :
       std::vector<std::function<void(TrainOptions&)>>{[](TrainOptions& o) { o.blocks = 0; },
                                                       [](TrainOptions& o) { o.blocks = 17; },
                                                       [](TrainOptions& o) { o.epochs = 0; },
                                                       [](TrainOptions& o) { o.batch = 0; },
                                                       [](TrainOptions& o) { o.shards = 0; }}) {
    TrainOptions options = quick();
    change(options);
    BOOST_TEST(!train_model(corpus(),
                            testing::all_of(corpus()),
                            options,
                            testing::run_inline,
                            [](const TrainProgress&) { return true; })
                    .ok());
  }
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace reformer::model
