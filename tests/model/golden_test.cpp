#include "model/calibration.h"
#include "model/inference.h"
#include "model/kernels.h"
#include "model/layers.h"
#include "model/network.h"
#include "model/stack_trainer.h"
#include "model/targets.h"
#include "model/time_network.h"
#include "tests/model/golden_values.h"
#include "tests/model/sample_model.h"

#include <boost/test/data/test_case.hpp>
#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <span>
#include <vector>

// Values that golden.py computed without any of this code.
namespace reformer::model {
namespace {

using testing::number;
using testing::numbers;

constexpr double kTolerance = 1e-5;

template <typename Actual>
void check_close(std::span<const Actual> actual, std::span<const double> expected) {
  BOOST_REQUIRE(actual.size() == expected.size());
  for (std::size_t i = 0; i < expected.size(); ++i) {
    BOOST_TEST(std::abs(static_cast<double>(actual[i]) - expected[i]) < kTolerance,
               "value " << i << " is " << actual[i] << ", not " << expected[i]);
  }
}

template <typename T>
void check_block(const Layer<T>& layer, std::span<const double> expected) {
  constexpr std::size_t kSamples = 2;
  std::vector<T> x;
  for (std::size_t i = 0; i < kSamples * layer.inputs(); ++i) {
    x.push_back(static_cast<T>(number(1, i)));
  }
  std::vector<T> parameters;
  for (std::size_t i = 0; i < layer.parameters(); ++i) {
    parameters.push_back(static_cast<T>(0.5 * number(2, i)));
  }
  std::vector<T> y(kSamples * layer.outputs());
  std::vector<T> cache(kSamples * layer.cache_per_sample());
  layer.forward(parameters.data(), kSamples, x.data(), y.data(), cache.data());
  check_close(std::span<const T>(y), expected);
}

// The networks of golden.py: 5 class rows, of which the first combination uses three.
ModelData golden_model(const NetworkShape& shape) {
  ModelData data = testing::fixed_ranking_model(5);
  data.shape = shape;
  data.classes.combinations.clear();
  for (const char* text :
       {"fwd f16 nhwc n1 c8 h8 w8 k8 r3 s3", "wgrad f32 ncdhw n1 c8 d4 h8 w8 k8 t3 r3 s3 grp8"}) {
    data.classes.combinations.push_back(
        {combination_of(testing::problem(text), View::kDeterministic), {}});  // of f32
  }
  data.combination_rows = {{0, 1, 2}, {3, 4}};
  data.classes.combinations[0].classes = {0, 1, 2};
  data.classes.combinations[1].classes = {3, 4};
  std::size_t parameters = 0;
  for (const auto& layer : make_layers<float>(shape, input_width(2))) {
    parameters += layer->parameters();
  }
  data.trunk = numbers(2, parameters, 0.125);
  data.rows = numbers(3, 5 * (data.embedding() + 1), 0.25);
  return data;
}

NetworkShape golden_shape(BlockKind kind) {
  NetworkShape shape;
  shape.block = kind;
  switch (kind) {
    case BlockKind::kGamma:
      return paper_shape(kind, 3, input_width(2));
    case BlockKind::kMlp:
      shape.widths = {{48, 40}, {33, 17}};
      break;
    case BlockKind::kTransformer:
      shape.transformer_blocks = 2;
      shape.embedding = 32;
      break;
  }
  return shape;
}

std::span<const double> golden_logits(BlockKind kind, std::size_t combination) {
  switch (kind) {
    case BlockKind::kGamma:
      return combination == 0 ? std::span<const double>(golden::kGammaNetwork0)
                              : std::span<const double>(golden::kGammaNetwork1);
    case BlockKind::kMlp:
      return combination == 0 ? std::span<const double>(golden::kMlpNetwork0)
                              : std::span<const double>(golden::kMlpNetwork1);
    case BlockKind::kTransformer:
      break;
  }
  return combination == 0 ? std::span<const double>(golden::kTransformerNetwork0)
                          : std::span<const double>(golden::kTransformerNetwork1);
}

constexpr std::array kKinds = {BlockKind::kGamma, BlockKind::kMlp, BlockKind::kTransformer};

std::vector<Existing> golden_existing(TargetKind kind, float sharpness) {
  const std::vector<float> log_slowdown = {0.25F, 0, 1, 0.0625F};
  std::vector<float> target(log_slowdown.size());
  target_distribution(kind, sharpness, log_slowdown, 400, target);
  const std::vector<std::uint32_t> rows = {1, 2, 4, 5};
  std::vector<Existing> existing;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    existing.push_back({rows[i], log_slowdown[i], target[i]});
  }
  return existing;
}

template <typename T>
T golden_loss(const LossOptions& options) {
  const std::vector<T> logits = {0.5, -1, 2, 0.25, 1.5, -0.75};
  std::vector<T> gradient(logits.size());
  return loss_and_gradient<T>(
      options, golden_existing(options.target, options.sharpness), logits, gradient);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(golden_values)

BOOST_AUTO_TEST_CASE(every_block_computes_what_its_formula_says) {
  const TransformerShape transformer{3, 8, 2, 12};
  check_block(*gamma_block<float>(5, {16, 8}), golden::kGammaBlock);
  check_block(*mlp_block<float>(5, {16, 8}), golden::kMlpBlock);
  check_block(*transformer_block<float>(transformer), golden::kTransformerBlock);
  check_block(*gamma_block<double>(5, {16, 8}), golden::kGammaBlock);
  check_block(*mlp_block<double>(5, {16, 8}), golden::kMlpBlock);
  check_block(*transformer_block<double>(transformer), golden::kTransformerBlock);
}

// The network that answers, on every instruction set that this machine has, sample by sample and
// in a batch that mixes the combinations.
BOOST_DATA_TEST_CASE(inference_gives_the_golden_logits, kKinds, kind) {
  const ModelData data = golden_model(golden_shape(kind));
  BOOST_REQUIRE(validate(data).ok());
  for (const Kernels* kernels : supported_kernels()) {
    BOOST_TEST_CONTEXT(kernels->name) {
      const InferenceNetwork network(data, *kernels);
      std::vector<float> workspace(network.workspace_floats());
      const std::vector<float> one = numbers(1, kNumericFeatures, 1);
      std::vector<float> features;
      std::vector<std::uint32_t> combinations;
      for (std::size_t i = 0; i < InferenceNetwork::kMaxBatch; ++i) {
        features.insert(features.end(), one.begin(), one.end());
        combinations.push_back(i < 10 ? 0 : 1);
      }
      for (const std::size_t batch : {std::size_t{1}, InferenceNetwork::kMaxBatch}) {
        for (std::uint32_t combination = 0; combination < 2; ++combination) {
          const auto asked = std::span<const std::uint32_t>(combinations)
                                 .subspan(batch == 1 ? 20 * combination : 0, batch);
          const float* embeddings = network.embed(asked, features.data(), workspace);
          const std::size_t at = batch == 1 ? 0 : 13 * combination + 3;
          std::vector<float> logits(network.logit_stride());
          network.logits(
              combination, embeddings + at * padded_columns(network.embedding()), 1, logits.data());
          const auto expected = golden_logits(kind, combination);
          check_close(std::span<const float>(logits).first(expected.size()), expected);
        }
      }
    }
  }
}

BOOST_DATA_TEST_CASE(the_trainable_network_agrees, kKinds, kind) {
  const ModelData data = golden_model(golden_shape(kind));
  const ConfigFeatures features(data.classes, HeadKind::kPlain, 0);
  const Network<float> network(data.shape, input_width(2), features);
  BOOST_REQUIRE(features.rows() == 5U);
  std::vector<float> parameters = data.trunk;
  parameters.insert(parameters.end(), data.rows.begin(), data.rows.end());
  BOOST_REQUIRE(parameters.size() == network.parameters());
  std::vector<float> rows(features.rows() * network.row_width());
  network.compute_rows(parameters, rows);
  for (std::size_t combination = 0; combination < 2; ++combination) {
    std::vector<float> x = numbers(1, kNumericFeatures, 1);
    const std::vector<float> rest = combination_input(data.classes.combinations, combination);
    x.insert(x.end(), rest.begin(), rest.end());
    Network<float>::Workspace workspace;
    const float* embedding = network.forward(parameters, 1, x.data(), workspace);
    std::vector<float> logits;
    for (const std::uint32_t row : features.combination_rows(combination)) {
      const float* weights = &rows[row * network.row_width()];
      float sum = weights[network.embedding()];
      for (std::size_t i = 0; i < network.embedding(); ++i) {
        sum += weights[i] * embedding[i];
      }
      logits.push_back(sum);
    }
    check_close(std::span<const float>(logits), golden_logits(kind, combination));
  }
}

BOOST_AUTO_TEST_CASE(targets_are_the_published_distributions) {
  const auto check = [](TargetKind kind, float sharpness, std::span<const double> expected) {
    std::vector<float> target;
    for (const Existing& existing : golden_existing(kind, sharpness)) {
      target.push_back(existing.target);
    }
    check_close(std::span<const float>(target), expected);
  };
  check(TargetKind::kRatio, 1, golden::kRatioTarget);
  check(TargetKind::kRatio, 4, golden::kSharpRatioTarget);
  check(TargetKind::kOneHot, 1, golden::kOneHotTarget);
  check(TargetKind::kSoftmax, 1, golden::kSoftmaxTarget);
}

BOOST_AUTO_TEST_CASE(the_loss_is_what_its_three_terms_add_up_to) {
  const std::array<LossOptions, 4> options{{{TargetKind::kRatio, 1, 0, 0},
                                            {TargetKind::kRatio, 4, 0.25F, 2},
                                            {TargetKind::kOneHot, 1, 0, 0},
                                            {TargetKind::kSoftmax, 3, 1, 0}}};
  std::vector<double> losses;
  std::vector<float> in_float;
  for (const LossOptions& o : options) {
    losses.push_back(golden_loss<double>(o));
    in_float.push_back(golden_loss<float>(o));
  }
  check_close(std::span<const double>(losses), golden::kLosses);
  check_close(std::span<const float>(in_float), golden::kLosses);
}

BOOST_AUTO_TEST_CASE(the_judge_is_two_layers_and_a_sigmoid) {
  std::array<float, kJudgeInputs> inputs{};
  std::ranges::copy(numbers(4, kJudgeInputs, 1), inputs.begin());
  const std::vector<float> p =
      numbers(5, (kJudgeInputs + 1) * kJudgeHidden + (kJudgeHidden + 1) * kJudgeOutputs, 0.25);
  Calibration calibration;
  Pieces pieces(p);
  calibration.hidden_weights = pieces.take(kJudgeInputs * kJudgeHidden);
  calibration.hidden_bias = pieces.take(kJudgeHidden);
  calibration.output_weights = pieces.take(kJudgeHidden * kJudgeOutputs);
  calibration.output_bias = pieces.take(kJudgeOutputs);
  const Judgement judgement = judge(calibration, inputs);
  const std::array<float, 3> actual{
      judgement.confidence, judgement.model_log_slowdown, judgement.heuristic_log_slowdown};
  check_close(std::span<const float>(actual), golden::kJudgement);
}

BOOST_AUTO_TEST_CASE(the_time_network_is_three_layers) {
  std::array<float, kTimeInputs> inputs{};
  std::ranges::copy(numbers(6, kTimeInputs, 1), inputs.begin());
  const std::vector<float> p =
      numbers(7,
              (kTimeInputs + 1) * kTimeHidden[0] + (kTimeHidden[0] + 1) * kTimeHidden[1] +
                  kTimeHidden[1] + 1,
              0.25);
  const TimeNetwork network = time_network_of(p);
  const std::array<float, 1> actual{expected_log2_us(network, inputs)};
  check_close(std::span<const float>(actual), golden::kExpectedLog2Us);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace reformer::model
