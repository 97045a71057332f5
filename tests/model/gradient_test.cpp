#include "model/class_list.h"
#include "model/layers.h"
#include "model/network.h"
#include "model/targets.h"
#include "tests/model/sample_model.h"

#include <boost/test/data/test_case.hpp>
#include <boost/test/unit_test.hpp>

#include <cmath>
#include <functional>
#include <memory>
#include <span>
#include <vector>

// Hand-written gradients against central differences, in double.
namespace reformer::model {
namespace {

using testing::number;

constexpr double kStep = 1e-6;
constexpr double kTolerance = 1e-4;

std::vector<double> random_values(std::uint64_t stream, std::size_t count, double scale) {
  std::vector<double> values;
  for (std::size_t i = 0; i < count; ++i) {
    values.push_back(scale * number(stream, i));
  }
  return values;
}

// Every component of `gradient` against (f(v + h) - f(v - h)) / 2 h.
void check_gradient(std::vector<double>& values,
                    std::span<const double> gradient,
                    const std::function<double()>& f,
                    const char* of) {
  BOOST_REQUIRE(values.size() == gradient.size());
  double largest = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double value = values[i];
    values[i] = value + kStep;
    const double above = f();
    values[i] = value - kStep;
    const double below = f();
    values[i] = value;
    const double expected = (above - below) / (2 * kStep);
    const double scale = std::max(1.0, std::abs(expected));
    BOOST_TEST(std::abs(gradient[i] - expected) < kTolerance * scale,
               of << ' ' << i << " is " << gradient[i] << ", not " << expected);
    largest = std::max(largest, std::abs(expected));
  }
  BOOST_TEST(largest > 0.01, "the gradient of " << of << " vanishes: nothing was tested");
}

// The layer's output against fixed weights, so that it has one number to differentiate.
void check_layer(const Layer<double>& layer) {
  constexpr std::size_t kSamples = 3;
  std::vector<double> x = random_values(31, kSamples * layer.inputs(), 1);
  std::vector<double> parameters(layer.parameters());
  Random random(7);
  layer.initialise(random, parameters.data());
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    parameters[i] += 0.1 * number(32, i);  // biases are initialised to 0
  }
  const std::vector<double> weights = random_values(33, kSamples * layer.outputs(), 1);
  std::vector<double> y(kSamples * layer.outputs());
  std::vector<double> cache(kSamples * layer.cache_per_sample());
  const auto value = [&] {
    layer.forward(parameters.data(), kSamples, x.data(), y.data(), cache.data());
    double sum = 0;
    for (std::size_t i = 0; i < y.size(); ++i) {
      sum += weights[i] * y[i];
    }
    return sum;
  };
  (void)value();
  std::vector<double> dy = weights;
  std::vector<double> dx(x.size());
  std::vector<double> gradient(parameters.size(), 1.0);  // backward adds
  layer.backward(parameters.data(),
                 kSamples,
                 x.data(),
                 y.data(),
                 cache.data(),
                 dy.data(),
                 dx.data(),
                 gradient.data());
  for (double& component : gradient) {
    component -= 1;
  }
  check_gradient(parameters, gradient, value, "parameter");
  check_gradient(x, dx, value, "input");
}

ClassList small_class_list() {
  ClassList list;
  for (const char* text : {"3:2=1,5=3", "3:2=2,5=3", "4", "7:1=4,2=1,9=12"}) {
    KernelClass kernel;
    kernel.entry.config = *core::parse_engine_config(text);
    kernel.sightings = 10;
    list.classes.push_back(kernel);
  }
  Combination combination = combination_of(testing::problem("fwd f16 nhwc n1 c8 h8 w8 k8 r3 s3"));
  list.combinations.push_back({combination, {0, 1, 2, 3}});
  combination.operation = core::Operation::kDataGradient;
  list.combinations.push_back({combination, {1, 3}});
  return list;
}

constexpr std::array kKinds = {BlockKind::kGamma, BlockKind::kMlp, BlockKind::kTransformer};
constexpr std::array kHeads = {HeadKind::kPlain, HeadKind::kGenerated};

NetworkShape small_shape(BlockKind kind) {
  NetworkShape shape;
  shape.block = kind;
  shape.embedding = 4;
  if (kind == BlockKind::kTransformer) {
    shape.transformer_blocks = 1;
    shape.transformer = {2, 4, 2, 6};
  } else {
    shape.widths = {{5, 6}, {7, 4}};
  }
  return shape;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(gradients)

BOOST_AUTO_TEST_CASE(of_a_gamma_block) {
  check_layer(*gamma_block<double>(6, {5, 4}));
}

BOOST_AUTO_TEST_CASE(of_an_mlp_block) {
  check_layer(*mlp_block<double>(6, {5, 4}));
}

BOOST_AUTO_TEST_CASE(of_an_affine_layer) {
  check_layer(*affine<double>(6, 5, false));
  check_layer(*affine<double>(6, 5, true));
}

BOOST_AUTO_TEST_CASE(of_a_transformer_block) {
  check_layer(*transformer_block<double>({3, 8, 2, 10}));
}

BOOST_AUTO_TEST_CASE(of_every_target_and_term_of_the_loss) {
  const std::vector<float> log_slowdown = {0.3F, 0, 0.9F, 0.05F};
  for (const TargetKind target : {TargetKind::kRatio, TargetKind::kOneHot, TargetKind::kSoftmax}) {
    for (const float all_share : {0.0F, 0.3F, 1.0F}) {
      for (const float regret : {0.0F, 2.0F}) {
        const LossOptions options{target, 2, all_share, regret};
        std::vector<float> p(log_slowdown.size());
        target_distribution(target, 2, log_slowdown, 700, p);
        std::vector<Existing> existing;
        for (std::uint32_t i = 0; i < p.size(); ++i) {
          existing.push_back({i == 3 ? 6 : i, log_slowdown[i], p[i]});
        }
        std::vector<double> logits = random_values(41, 8, 2);
        std::vector<double> gradient(logits.size());
        (void)loss_and_gradient<double>(options, existing, logits, gradient);
        check_gradient(
            logits,
            gradient,
            [&] {
              std::vector<double> ignored(logits.size());
              return loss_and_gradient<double>(options, existing, logits, ignored);
            },
            "logit");
      }
    }
  }
}

// Everything together: trunk, class rows as sums of vectors, loss.
BOOST_DATA_TEST_CASE(of_a_whole_network, kKinds* kHeads, kind, head) {
  const ClassList list = small_class_list();
  const ConfigFeatures features(list, head, 5);
  constexpr std::size_t kInputs = 7;
  constexpr std::size_t kSamples = 4;
  const Network<double> network(small_shape(kind), kInputs, features);
  std::vector<double> parameters(network.parameters());
  Random random(3);
  network.initialise(random, parameters);
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    parameters[i] += 0.3 * number(51, i);
  }
  const std::vector<double> x = random_values(52, kSamples * kInputs, 1);
  const LossOptions options{TargetKind::kRatio, 2, 0.2F, 1};
  const std::size_t width = network.row_width();

  const auto run = [&](std::vector<double>* gradient) {
    std::vector<double> rows(features.rows() * width);
    std::vector<double> d_rows(rows.size());
    network.compute_rows(parameters, rows);
    Network<double>::Workspace workspace;
    const double* embeddings = network.forward(parameters, kSamples, x.data(), workspace);
    std::vector<double> d_embeddings(kSamples * network.embedding());
    double loss = 0;
    for (std::size_t s = 0; s < kSamples; ++s) {
      const std::span<const std::uint32_t> used = features.combination_rows(s % 2);
      const double* e = embeddings + s * network.embedding();
      std::vector<double> logits;
      for (const std::uint32_t row : used) {
        double sum = rows[row * width + width - 1];
        for (std::size_t i = 0; i + 1 < width; ++i) {
          sum += rows[row * width + i] * e[i];
        }
        logits.push_back(sum);
      }
      const std::vector<Existing> existing = {{0, 0.2F, 0.4F}, {1, 0, 0.6F}};
      std::vector<double> d_logits(logits.size());
      loss += loss_and_gradient<double>(options, existing, logits, d_logits);
      for (std::size_t c = 0; c < used.size(); ++c) {
        for (std::size_t i = 0; i + 1 < width; ++i) {
          d_rows[used[c] * width + i] += d_logits[c] * e[i];
          d_embeddings[s * network.embedding() + i] += d_logits[c] * rows[used[c] * width + i];
        }
        d_rows[used[c] * width + width - 1] += d_logits[c];
      }
    }
    if (gradient != nullptr) {
      gradient->assign(parameters.size(), 0);
      network.backward(parameters, kSamples, x.data(), d_embeddings, workspace, *gradient);
      network.scatter_rows(d_rows, *gradient);
    }
    return loss;
  };
  std::vector<double> gradient;
  (void)run(&gradient);
  check_gradient(
      parameters, gradient, [&] { return run(nullptr); }, "parameter");
}

BOOST_AUTO_TEST_CASE(a_generated_row_is_the_sum_of_the_vectors_of_what_it_is_made_of) {
  const ClassList list = small_class_list();
  const ConfigFeatures features(list, HeadKind::kGenerated, 100);
  BOOST_TEST(features.rows() == 6U);  // an engine is another kernel for another operation
  BOOST_TEST(features.features() == features.first_own_feature());  // none was seen often enough
  // Engine; for each of the two knobs its value with and without engine and its scale; the pair.
  BOOST_TEST(features.row(0).size() == 1U + 2 * 3 + 1);
  BOOST_TEST(features.row(2).size() == 1U);
  const auto shared = [&](std::size_t a, std::size_t b) {
    std::size_t count = 0;
    for (const auto& one : features.row(a)) {
      for (const auto& other : features.row(b)) {
        count += one.feature == other.feature ? 1 : 0;
      }
    }
    return count;
  };
  // "3:2=1,5=3" and "3:2=2,5=3": engine, both scales, knob 5's value with and without engine.
  BOOST_TEST(shared(0, 1) == 5U);
  const ConfigFeatures own(list, HeadKind::kGenerated, 10);
  BOOST_TEST(own.features() - own.first_own_feature() == own.rows());
  const ConfigFeatures plain(list, HeadKind::kPlain, 0);
  BOOST_TEST(plain.features() == plain.rows());
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace reformer::model
