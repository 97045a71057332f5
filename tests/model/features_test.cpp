#include "model/features.h"

#include "model/dataset.h"
#include "tests/model/sample_model.h"

#include <boost/test/data/test_case.hpp>
#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <string>
#include <string_view>

namespace reformer::model {
namespace {

using testing::number;

constexpr std::int32_t kSmCount = 132;

std::map<std::string_view, float> named_features(const std::string& text) {
  NumericFeatures features{};
  numeric_features(testing::problem(text), kSmCount, features);
  std::map<std::string_view, float> named;
  for (std::size_t i = 0; i < kNumericFeatures; ++i) {
    named[numeric_feature_names()[i]] = features[i];
  }
  return named;
}

bool is_logarithm(std::string_view name) {
  return name.starts_with("log2");
}

// Anything that canonicalise() lets through: dims from 1 to 2^32 in any mixture.
core::Problem hostile_problem(std::uint64_t n) {
  std::uint64_t next = 0;
  const auto pick = [&](std::int64_t bound) {
    return static_cast<std::int64_t>((number(1000 + n, next++) + 1) / 2 *
                                     static_cast<double>(bound));
  };
  const auto dim = [&](std::int64_t bits) { return (std::int64_t{1} << pick(bits)) + pick(3); };
  core::Problem p;
  p.operation = static_cast<core::Operation>(pick(3));
  p.mode = static_cast<core::ConvolutionMode>(pick(2));
  p.x.type = static_cast<core::DataType>(pick(10));
  p.w.type = static_cast<core::DataType>(pick(10));
  p.y.type = static_cast<core::DataType>(pick(10));
  p.compute_type = core::DataType::kF32;
  p.spatial_rank = pick(2) == 0 ? 2 : 3;
  const std::int64_t groups = pick(3) == 0 ? dim(8) : 1;
  const std::int64_t in = dim(8);
  p.x.dims = {dim(12), in * groups, p.spatial_rank == 3 ? dim(6) : 1, dim(14), dim(14)};
  p.w.dims = {dim(8) * groups, in, p.spatial_rank == 3 ? dim(3) : 1, dim(8), dim(8)};
  for (std::size_t axis = 0; axis < core::kSpatialAxes; ++axis) {
    if (axis == 0 && p.spatial_rank == 2) {
      continue;
    }
    p.pad_before[axis] = static_cast<std::int32_t>(dim(16));
    p.pad_after[axis] = static_cast<std::int32_t>(dim(16));
    p.stride[axis] = static_cast<std::int32_t>(dim(10));
    p.dilation[axis] = static_cast<std::int32_t>(dim(6));
  }
  p.y.dims = core::output_dims(p);
  for (core::TensorSpec* tensor : {&p.x, &p.w, &p.y}) {
    tensor->strides = core::packed_strides(
        tensor->dims, pick(2) == 0 ? core::Layout::kNchw : core::Layout::kNhwc);
    tensor->alignment = static_cast<std::uint16_t>(1 << pick(6));
  }
  return p;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(features)

BOOST_AUTO_TEST_CASE(every_feature_has_a_name_of_its_own) {
  const std::span<const std::string_view> names = numeric_feature_names();
  BOOST_REQUIRE(names.size() == kNumericFeatures);
  BOOST_TEST(std::set<std::string_view>(names.begin(), names.end()).size() == kNumericFeatures);
}

// Computed by hand: x is [32, 64, 56, 56], w [128, 64, 3, 3], y [32, 128, 28, 28], of two bytes.
BOOST_AUTO_TEST_CASE(features_are_what_their_names_say) {
  const auto f = named_features("fwd f16 nhwc n32 c64 h56 w56 k128 r3 s3 pad1 str2");
  const std::map<std::string_view, double> expected{
      {"log2 n", 5},
      {"log2 c", 6},
      {"log2 k", 7},
      {"log2 d", 0},
      {"log2 h", std::log2(56)},
      {"log2 r", std::log2(3)},
      {"log2 out w", std::log2(28)},
      {"log2 (1 + pad h)", 1},
      {"log2 (1 + pad d)", 0},
      {"log2 (1 + pad skew)", 0},
      {"log2 stride h", 1},
      {"log2 stride d", 0},
      {"log2 dilation w", 0},
      {"log2 groups", 0},
      {"log2 gemm m", std::log2(32 * 28 * 28)},
      {"log2 gemm n", 7},
      {"log2 gemm k", std::log2(64 * 9)},
      {"log2 min(m, n)", 7},
      {"log2 flops", std::log2(2.0 * 32 * 28 * 28 * 128 * 64 * 9)},
      {"log2 x bytes", std::log2(2.0 * 32 * 64 * 56 * 56)},
      {"log2 tiles 128x128", std::log2(196)},
      {"log2 waves 128x128", std::log2(196.0 / 132)},
      {"wave fill 128x128", 196.0 / 264},
      {"tile fill m 128", 1},
      {"tile fill n 256", 0.5},
      {"tile fill k 64", 1},
      {"divisibility c", 6.0 / 8},
      {"divisibility w", 3.0 / 8},
      {"divisibility out w", 2.0 / 8},
      {"log2 k steps", std::log2(18)},
      {"log2 alignment", 4},
      {"log2 row stride slack", 0},
      {"pointwise", 0},
      {"strided", 1},
      {"unit stride", 0},
      {"dilated", 0},
      {"same padding", 1},
      {"no padding", 0},
      {"winograd shape", 0},
      {"stem", 0},
      {"square", 1},
      {"one-dimensional", 0}};
  for (const auto& [name, value] : expected) {
    BOOST_REQUIRE_MESSAGE(f.contains(name), name);
    BOOST_TEST(std::abs(f.at(name) - value) < 1e-5, name << " is " << f.at(name));
  }
}

BOOST_AUTO_TEST_CASE(the_matrix_product_is_that_of_the_operation) {
  const std::string rest = " f16 nhwc n32 c64 h56 w56 k128 r3 s3 pad1";
  const auto dgrad = named_features("dgrad" + rest);
  BOOST_TEST(std::abs(dgrad.at("log2 gemm n") - 6) < 1e-5);
  BOOST_TEST(std::abs(dgrad.at("log2 gemm k") - std::log2(128 * 9)) < 1e-5);
  const auto wgrad = named_features("wgrad" + rest);
  BOOST_TEST(std::abs(wgrad.at("log2 gemm m") - 7) < 1e-5);
  BOOST_TEST(std::abs(wgrad.at("log2 gemm n") - std::log2(64 * 9)) < 1e-5);
  BOOST_TEST(std::abs(wgrad.at("log2 gemm k") - std::log2(32 * 56 * 56)) < 1e-5);
}

BOOST_AUTO_TEST_CASE(groups_divide_the_channels_and_depthwise_is_told_apart) {
  const std::string dense = "fwd f32 nchw n1 c64 h14 w14 k64 r3 s3 pad1";
  const auto f = named_features(dense + " grp16");
  BOOST_TEST(std::abs(f.at("log2 groups") - 4) < 1e-5);
  BOOST_TEST(std::abs(f.at("log2 c / group") - 2) < 1e-5);
  BOOST_TEST(std::abs(f.at("log2 k / group") - 2) < 1e-5);
  const auto grouping = [](const std::string& text) {
    return combination_of(testing::problem(text)).grouping;
  };
  BOOST_TEST((grouping(dense) == Grouping::kDense));
  BOOST_TEST((grouping(dense + " grp16") == Grouping::kGrouped));
  BOOST_TEST((grouping(dense + " grp64") == Grouping::kDepthwise));
}

BOOST_AUTO_TEST_CASE(combinations_differ_in_all_that_decides_which_engines_run) {
  std::set<Combination> seen;
  for (const char* text : {"fwd f32 nchw n1 c8 h8 w8 k8 r3 s3",
                           "dgrad f32 nchw n1 c8 h8 w8 k8 r3 s3",
                           "fwd f16 nchw n1 c8 h8 w8 k8 r3 s3",
                           "fwd f32 nhwc n1 c8 h8 w8 k8 r3 s3",
                           "fwd f16+f16+f32 nchw n1 c8 h8 w8 k8 r3 s3",
                           "fwd f16 nchw n1 c8 h8 w8 k8 r3 s3 acc=f16",
                           "fwd f32 nhwc+nchw+nhwc n1 c8 h8 w8 k8 r3 s3",
                           "fwd f32 nchw n1 c8 h8 w8 k8 r3 s3 mode=conv",
                           "fwd f32 nchw n1 c8 h8 w8 k8 r3 s3 grp2",
                           "fwd f32 nchw n1 c8 h8 w8 k8 r3 s3 grp8",
                           "fwd f32 ncdhw n1 c8 d8 h8 w8 k8 t3 r3 s3"}) {
    BOOST_TEST(seen.insert(combination_of(testing::problem(text))).second, text);
  }
  const auto refused = [](const char* text) {
    return combination_of(testing::problem(text), View::kWithoutTensorCores);
  };
  const Combination f32 = refused("fwd f32 nchw n1 c8 h8 w8 k8 r3 s3");
  BOOST_TEST(seen.insert(f32).second);
  BOOST_TEST(to_string(f32) == "fwd f32 nchw 2d dense without tensor cores");
  BOOST_TEST(seen.contains(refused("fwd f16 nchw n1 c8 h8 w8 k8 r3 s3")));
  Combination with = f32;
  with.view = View::kAll;
  BOOST_TEST((indicator_features(f32) != indicator_features(with)));
  Combination deterministic = f32;
  deterministic.view = View::kDeterministic;
  BOOST_TEST(to_string(deterministic) ==
             "fwd f32 nchw 2d dense without tensor cores, deterministic");
  BOOST_TEST((indicator_features(f32) != indicator_features(deterministic)));

  const auto precompiled = [](const char* text) {
    return combination_of(testing::problem(text), View::kPrecompiled);
  };
  const Combination grouped = precompiled("fwd f16 nchw n1 c8 h8 w8 k8 r3 s3 grp8");
  BOOST_TEST(seen.insert(grouped).second);
  BOOST_TEST(to_string(grouped) == "fwd f16 nchw 2d depthwise precompiled");
  Combination whole = grouped;
  whole.view = View::kAll;
  BOOST_TEST((indicator_features(grouped) != indicator_features(whole)));
  BOOST_TEST(seen.contains(precompiled("fwd f16 nchw n1 c8 h8 w8 k8 r3 s3")));
  BOOST_TEST(seen.contains(precompiled("fwd f32 nchw n1 c8 h8 w8 k8 r3 s3 grp8")));
}

BOOST_AUTO_TEST_CASE(only_what_an_application_asks_for_has_a_name_to_ask_with) {
  for (const View view : kApplicationViews) {
    BOOST_TEST((parse_application_view(to_string(view)) == view));
  }
  BOOST_TEST(to_string(View::kPrecompiled) == "precompiled");
  BOOST_TEST((parse_application_view("precompiled") == std::nullopt));
  BOOST_TEST((parse_application_view("") == std::nullopt));
}

// A depthwise 1x1 filter is [k, 1, 1, 1, 1], the output of a head that sees the whole image with
// one channel [n, 1, 1, 1, 1].
BOOST_AUTO_TEST_CASE(a_tensor_that_fits_both_layouts_takes_that_of_the_others) {
  const auto of = [](const std::string& text) { return combination_of(testing::problem(text)); };
  const std::string depthwise = "f16 nhwc n8 c64 h14 w14 k64 grp64 ";
  const std::string head = "f32 nhwc n8 c64 h4 w4 k1 ";
  for (const std::string operation : {"fwd ", "dgrad ", "wgrad "}) {
    BOOST_TEST((of(operation + depthwise + "r1 s1") == of(operation + depthwise + "r3 s3 pad1")));
    BOOST_TEST((of(operation + head + "r4 s4") == of(operation + head + "r3 s3")));
  }
  BOOST_TEST((of("fwd f16 nchw n8 c64 h14 w14 k64 r1 s1 grp64").layout == core::Layout::kNchw));
  BOOST_TEST((of("fwd f16 nchw n8 c1 h1 w1 k1 r1 s1").layout == core::Layout::kNchw));
}

BOOST_AUTO_TEST_CASE(tensors_without_a_common_packed_layout_are_a_combination_of_their_own) {
  core::Problem problem = testing::problem("fwd f16 nhwc n8 c64 h14 w14 k64 r1 s1 grp64");
  BOOST_TEST((combination_of(problem).layout == core::Layout::kNhwc));
  problem.w.strides[0] = 2;
  BOOST_TEST((combination_of(problem).layout == core::Layout::kStrided));
  problem = testing::problem("fwd f16 nhwc n8 c64 h14 w14 k64 r3 s3");
  problem.x.strides[0] *= 2;
  BOOST_TEST((combination_of(problem).layout == core::Layout::kStrided));
}

BOOST_AUTO_TEST_CASE(hostile_problems_give_features_in_range) {
  std::size_t accepted = 0;
  float largest = 0;
  for (std::uint64_t n = 0; n < 40000; ++n) {
    const auto problem = core::canonicalise(hostile_problem(n));
    if (!problem) {
      continue;
    }
    ++accepted;
    NumericFeatures features{};
    numeric_features(*problem, n % 2 == 0 ? 1 : kSmCount, features);
    for (std::size_t i = 0; i < kNumericFeatures; ++i) {
      const std::string_view name = numeric_feature_names()[i];
      const float low = is_logarithm(name) ? -64 : 0;
      const float high = is_logarithm(name) ? 128 : 1;
      BOOST_REQUIRE_MESSAGE(features[i] >= low && features[i] <= high,
                            name << " is " << features[i] << " of problem " << n);
      largest = std::max(largest, features[i]);
    }
    for (const float indicator : indicator_features(combination_of(*problem))) {
      BOOST_REQUIRE((indicator == 0 || indicator == 1));
    }
  }
  BOOST_TEST(accepted > 2000U);
  BOOST_TEST(largest > 60);  // there were extreme ones among them
}

BOOST_AUTO_TEST_CASE(normalised_features_are_clipped_and_constant_ones_vanish) {
  const Corpus corpus = testing::made_up_corpus(300);
  const Normaliser normaliser = fit_normaliser(corpus, testing::all_of(corpus));
  std::array<double, kNumericFeatures> sum{};
  std::array<double, kNumericFeatures> squares{};
  for (const CorpusProblem& p : corpus.problems()) {
    NumericFeatures features{};
    numeric_features(p.problem, kSmCount, features);
    for (std::size_t i = 0; i < kNumericFeatures; ++i) {
      const double value = (features[i] - normaliser.mean[i]) * normaliser.scale[i];
      sum[i] += value;
      squares[i] += value * value;
    }
  }
  const auto n = static_cast<double>(corpus.problems().size());
  for (std::size_t i = 0; i < kNumericFeatures; ++i) {
    const bool constant = normaliser.scale[i] == 0;
    BOOST_TEST(std::abs(sum[i] / n) < 1e-3, numeric_feature_names()[i]);
    BOOST_TEST(std::abs(squares[i] / n - (constant ? 0 : 1)) < 1e-2, numeric_feature_names()[i]);
  }
  BOOST_TEST(normaliser.scale[0] > 0);   // log2 n
  BOOST_TEST(normaliser.scale[3] == 0);  // log2 d: 2-D problems only
  for (std::uint64_t h = 0; h < 2000; ++h) {
    if (const auto problem = core::canonicalise(hostile_problem(h))) {
      NumericFeatures features{};
      numeric_features(*problem, kSmCount, features);
      normaliser.apply(features);
      for (const float value : features) {
        BOOST_REQUIRE(std::abs(value) <= Normaliser::kClip);
      }
    }
  }
}

// A changed hash means that every model file is refused: on purpose, or not at all.
BOOST_AUTO_TEST_CASE(the_schema_hash_is_that_of_the_shipped_model) {
  const auto shipped = Predictor::load(REFORMER_SOURCE_DIR "/data/h200.reformer");
  BOOST_TEST(shipped.ok(), (shipped.ok() ? "" : shipped.error().message));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace reformer::model
