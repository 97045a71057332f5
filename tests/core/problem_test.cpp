#include "core/problem.h"

#include "core/key.h"
#include "core/problem_text.h"

#include <boost/test/unit_test.hpp>

#include <random>

namespace {

using namespace reformer::core;

Problem parsed(std::string_view text) {
  Result<Problem> problem = parse_problem(text);
  BOOST_REQUIRE_MESSAGE(problem.ok(), text);
  return *problem;
}

Context h200() {
  return {{"NVIDIA H200", 90, 132}, 91900};
}

KeyHash hash_of(const Problem& problem) {
  return hash_key({h200(), problem});
}

// A random valid problem, over everything that problem text can say.
Problem random_problem(std::mt19937& random) {
  const auto below = [&random](int limit) {
    return std::uniform_int_distribution<int>(0, limit - 1)(random);
  };
  while (true) {
    Problem problem;
    problem.operation = static_cast<Operation>(below(3));
    problem.mode = static_cast<ConvolutionMode>(below(2));
    problem.compute_type = static_cast<DataType>(below(kDataTypeCount));
    problem.spatial_rank = static_cast<std::uint8_t>(2 + below(2));
    const bool deep = problem.spatial_rank == 3;
    const int groups = 1 + below(3);
    problem.x.dims = {
        1 + below(9), groups * (1 + below(5)), deep ? 1 + below(9) : 1, 1 + below(9), 1 + below(9)};
    problem.w.dims = {groups * (1 + below(4)),
                      problem.x.dims[1] / groups,
                      deep ? 1 + below(3) : 1,
                      1 + below(3),
                      1 + below(3)};
    for (std::size_t axis = deep ? 0 : 1; axis < kSpatialAxes; ++axis) {
      problem.pad_before[axis] = below(3);
      problem.pad_after[axis] = below(3);
      problem.stride[axis] = 1 + below(3);
      problem.dilation[axis] = 1 + below(2);
    }
    problem.fusion = below(4) == 0 ? random() : 0;
    problem.y.dims = output_dims(problem);
    for (TensorSpec* tensor : {&problem.x, &problem.w, &problem.y}) {
      tensor->type = static_cast<DataType>(below(kDataTypeCount - 1));
      tensor->alignment = static_cast<std::uint16_t>(1 << below(6));
      tensor->strides = packed_strides(tensor->dims, below(2) == 0 ? Layout::kNchw : Layout::kNhwc);
      if (below(3) == 0) {
        for (std::int64_t& stride : tensor->strides) {
          stride *= 2;
        }
      }
    }
    if (Result<Problem> canonical = canonicalise(problem)) {
      return *canonical;
    }
  }
}

}  // namespace

BOOST_AUTO_TEST_SUITE(problem)

BOOST_AUTO_TEST_CASE(text_of_a_plain_problem_is_what_the_documentation_shows) {
  const std::string text = "fwd f16 nhwc n32 c64 h56 w56 k64 r3 s3 pad1 str1 dil1 grp1";
  BOOST_TEST(format_problem(parsed(text)) == text);
}

BOOST_AUTO_TEST_CASE(every_problem_survives_printing_and_parsing) {
  std::mt19937 random(7);
  for (int i = 0; i < 5000; ++i) {
    const Problem problem = random_problem(random);
    const std::string text = format_problem(problem);
    const Result<Problem> back = parse_problem(text);
    BOOST_REQUIRE_MESSAGE(back.ok(), text << ": " << (back ? "" : back.error().message));
    BOOST_REQUIRE_MESSAGE(*back == problem, text);
  }
}

BOOST_AUTO_TEST_CASE(canonicalising_twice_changes_nothing) {
  std::mt19937 random(8);
  for (int i = 0; i < 2000; ++i) {
    const Problem problem = random_problem(random);
    BOOST_REQUIRE(*canonicalise(problem) == problem);
  }
}

BOOST_AUTO_TEST_CASE(strides_of_axes_of_size_one_do_not_make_another_problem) {
  Problem problem = parsed("fwd f16 nhwc n1 c64 h56 w56 k64 r1 s1");
  Problem other = problem;
  other.x.strides[0] = 12345;  // batch of one
  other.w.strides[3] = 7;
  BOOST_TEST((hash_of(*canonicalise(other)) == hash_of(problem)));
}

BOOST_AUTO_TEST_CASE(dilation_of_a_filter_axis_of_size_one_does_not_make_another_problem) {
  BOOST_TEST((parsed("fwd f16 nhwc n1 c8 h5 w5 k8 r1 s3 dil2") ==
              parsed("fwd f16 nhwc n1 c8 h5 w5 k8 r1 s3 dil1x2")));
}

BOOST_AUTO_TEST_CASE(alignment_beyond_sixteen_counts_as_sixteen) {
  BOOST_TEST((parsed("fwd f16 nhwc n1 c8 h5 w5 k8 r1 s1 align=256") ==
              parsed("fwd f16 nhwc n1 c8 h5 w5 k8 r1 s1")));
  BOOST_TEST((parsed("fwd f16 nhwc n1 c8 h5 w5 k8 r1 s1 align=8") !=
              parsed("fwd f16 nhwc n1 c8 h5 w5 k8 r1 s1")));
}

BOOST_AUTO_TEST_CASE(what_makes_another_problem_makes_another_key) {
  const std::vector<std::string> texts{"fwd f16 nhwc n2 c8 h9 w9 k8 r3 s3",
                                       "dgrad f16 nhwc n2 c8 h9 w9 k8 r3 s3",
                                       "fwd bf16 nhwc n2 c8 h9 w9 k8 r3 s3",
                                       "fwd f16 nchw n2 c8 h9 w9 k8 r3 s3",
                                       "fwd f16 nhwc n2 c8 h9 w9 k8 r3 s3 pad1",
                                       "fwd f16 nhwc n2 c8 h9 w9 k8 r3 s3 pad1x0",
                                       "fwd f16 nhwc n2 c8 h9 w9 k8 r3 s3 post1",
                                       "fwd f16 nhwc n2 c8 h9 w9 k8 r3 s3 str2",
                                       "fwd f16 nhwc n2 c8 h9 w9 k8 r3 s3 dil2",
                                       "fwd f16 nhwc n2 c8 h9 w9 k8 r3 s3 grp2",
                                       "fwd f16 nhwc n2 c8 h9 w9 k8 r3 s3 acc=f16",
                                       "fwd f16 nhwc n2 c8 h9 w9 k8 r3 s3 mode=conv",
                                       "fwd f16 nhwc n2 c8 h9 w9 k8 r3 s3 graph=1f",
                                       "fwd f16 ndhwc n2 c8 d1 h9 w9 k8 t1 r3 s3"};
  for (std::size_t i = 0; i < texts.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      BOOST_TEST((hash_of(parsed(texts[i])) != hash_of(parsed(texts[j]))),
                 texts[i] << " and " << texts[j]);
    }
  }
  const Problem problem = parsed(texts[0]);
  Context other = h200();
  other.device.sm_count = 66;  // a slice of the GPU
  BOOST_TEST((hash_key({other, problem}) != hash_of(problem)));
  other = h200();
  other.cudnn_version = 91400;
  BOOST_TEST((hash_key({other, problem}) != hash_of(problem)));
}

BOOST_AUTO_TEST_CASE(text_that_is_wrong_is_refused_and_the_token_named) {
  for (const std::string_view text : {"",
                                      "fwd",
                                      "fwd f16 nhwc n2 c8 h9 w9 k8 r3",
                                      "fwd f16 nhwc n2 n2 c8 h9 w9 k8 r3 s3",
                                      "fwd f16 nhwc n2 c8 h9 w9 k8 r3 s3 pad-1",
                                      "fwd f16 nhwc n2 c8 h9 w9 k8 r3 s3 str0",
                                      "fwd f16 nhwc n2 c8 h9 w9 k8 r3 s3 grp3",
                                      "fwd f16 nhwc n2 c8 h1 w1 k8 r3 s3",
                                      "fwd f16 nhwc n99999999999999999999 c8 h9 w9 k8 r3 s3",
                                      "fwd f99 nhwc n2 c8 h9 w9 k8 r3 s3",
                                      "fwd f16 strided n2 c8 h9 w9 k8 r3 s3",
                                      "fwd f16 nhwc n2 c8 d3 h9 w9 k8 r3 s3"}) {
    BOOST_TEST(!parse_problem(text).ok(), text);
  }
  BOOST_TEST(parse_problem("fwd f16 nhwc bogus").error().message.find("bogus") !=
             std::string::npos);
}

BOOST_AUTO_TEST_CASE(flops_count_multiply_and_add) {
  BOOST_TEST(flops(parsed("fwd f16 nhwc n2 c8 h9 w9 k16 r3 s3 pad1")) ==
             2.0 * 2 * 9 * 9 * 16 * 8 * 9);
}

BOOST_AUTO_TEST_SUITE_END()
