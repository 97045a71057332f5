#include "cli/sweep_space.h"

#include "cli/sweep_networks.h"
#include "core/problem_text.h"

#include <boost/test/unit_test.hpp>

#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <set>
#include <string>
#include <vector>

namespace reformer::cli {
namespace {

std::vector<std::string> drawn(std::size_t count, std::uint64_t seed) {
  const auto problems = draw_mix(count, {}, seed);
  BOOST_REQUIRE(problems.ok());
  std::vector<std::string> texts;
  for (const core::Problem& problem : *problems) {
    texts.push_back(core::format_problem(problem));
  }
  return texts;
}

std::filesystem::path written(const std::string& text) {
  const auto path = std::filesystem::temp_directory_path() /
                    ("sweep-space-test-" + std::to_string(::getpid()) + ".csv");
  std::ofstream(path) << text;
  return path;
}

constexpr const char* kHeader =
    "c,h,w,k,r,s,pad_h,pad_w,stride_h,stride_w,dilation_h,dilation_w,groups,networks\n";

}  // namespace

BOOST_AUTO_TEST_SUITE(sweep_space)

BOOST_AUTO_TEST_CASE(the_same_seed_draws_the_same_problems_and_another_seed_others) {
  BOOST_TEST(drawn(200, 3) == drawn(200, 3), boost::test_tools::per_element());
  BOOST_TEST((drawn(200, 3) != drawn(200, 4)));
}

BOOST_AUTO_TEST_CASE(problems_as_networks_have_them_are_canonical_and_within_the_limits) {
  NetworkSpace space(5, {});
  for (int i = 0; i < 3000; ++i) {
    const core::Problem problem = space.draw();
    const auto again = core::canonicalise(problem);
    BOOST_REQUIRE(again.ok());
    BOOST_TEST((*again == problem));
    BOOST_TEST(core::flops(problem) <= NetworkSpace::kMaxFlops);
    BOOST_TEST(tensor_bytes(problem) <= NetworkSpace::kMaxTensorBytes);
  }
}

BOOST_AUTO_TEST_CASE(every_kind_of_layer_is_drawn) {
  std::size_t lines = 0;
  std::size_t volumes = 0;
  std::size_t depthwise = 0;
  std::size_t grouped = 0;
  std::size_t dilated = 0;
  std::size_t large = 0;
  std::size_t patches = 0;
  std::size_t wide = 0;
  NetworkSpace space(6, {});
  constexpr int kDraws = 4000;
  for (int i = 0; i < kDraws; ++i) {
    const core::Problem p = space.draw();
    volumes += p.spatial_rank == 3 ? 1 : 0;
    lines += p.x.dims[3] == 1 && p.x.dims[4] > 1 ? 1 : 0;
    depthwise += p.groups() > 1 && p.w.dims[1] == 1 ? 1 : 0;
    grouped += p.groups() > 1 && p.w.dims[1] > 1 ? 1 : 0;
    dilated += p.dilation[2] > 1 ? 1 : 0;
    large += std::max(p.w.dims[3], p.w.dims[4]) > 7 ? 1 : 0;
    patches += p.w.dims[4] > 1 && p.stride[2] == p.w.dims[4] ? 1 : 0;
    wide += std::max(p.x.dims[1], p.w.dims[0]) > 2048 ? 1 : 0;
  }
  for (const std::size_t n : {lines, volumes, depthwise, grouped, dilated, large, patches, wide}) {
    BOOST_TEST(n > kDraws / 100);
  }
}

// The output's size was once computed before the padding was complete, so that padded problems
// contradicted themselves and were never drawn.
BOOST_AUTO_TEST_CASE(the_whole_space_has_padded_filters) {
  RandomSpace space(8);
  int filters = 0;
  int padded = 0;
  for (int i = 0; i < 1000; ++i) {
    const core::Problem p = space.draw();
    filters += p.w.dims[4] > 1 ? 1 : 0;
    padded += p.w.dims[4] > 1 && p.pad_before[2] > 0 && p.pad_after[2] > 0 ? 1 : 0;
  }
  BOOST_TEST(padded > filters / 2);
}

BOOST_AUTO_TEST_CASE(known_shapes_come_at_other_widths_and_sizes) {
  const auto path = written(std::string(kHeader) + "64,56,56,64,3,3,1,1,1,1,1,1,1,net\n");
  const auto shapes = read_shapes(path);
  std::filesystem::remove(path);
  BOOST_REQUIRE(shapes.ok());
  NetworkSpace with(7, *shapes);
  // Factors up to two of 64 channels and 56 pixels.
  std::set<std::pair<std::int64_t, std::int64_t>> siblings;
  for (int i = 0; i < 2000; ++i) {
    const core::Problem p = with.draw();
    const bool same = p.w.dims[3] == 3 && p.w.dims[4] == 3 && p.pad_before[1] == 1 &&
                      p.stride[1] == 1 && p.dilation[1] == 1 && p.groups() == 1 &&
                      p.spatial_rank == 2;
    if (same && p.x.dims[1] >= 32 && p.x.dims[1] <= 128 && p.x.dims[3] >= 28 &&
        p.x.dims[3] <= 112) {
      siblings.insert({p.x.dims[1], p.x.dims[3]});
    }
  }
  BOOST_TEST(siblings.size() > 40);
}

BOOST_AUTO_TEST_CASE(a_file_of_shapes_that_is_wrong_is_refused_with_the_line) {
  const auto path = written(std::string(kHeader) + "64,56,56,64,3,3,1,1,1,1,1,1,1\n64,56,x\n");
  const auto shapes = read_shapes(path);
  std::filesystem::remove(path);
  BOOST_REQUIRE(!shapes.ok());
  BOOST_TEST(shapes.error().message.find(":3:") != std::string::npos);
  BOOST_TEST(!read_shapes("/nowhere/shapes.csv").ok());
}

// A stride of 0 once ended the sweep by a division.
BOOST_AUTO_TEST_CASE(shapes_that_no_layer_has_are_refused_with_the_line) {
  const std::string good = "64,56,56,64,3,3,1,1,1,1,1,1,1\n";
  for (const std::string bad : {"64,56,56,64,3,3,1,1,0,1,1,1,1",
                                "64,56,56,64,3,3,1,1,1,-2,1,1,1",
                                "64,56,56,64,3,3,1,1,1,1,0,1,1",
                                "64,56,56,64,3,3,-1,1,1,1,1,1,1",
                                "64,56,56,64,3,3,1,1,1,1,1,1,0",
                                "64,56,56,64,3,3,1,1,1,1,1,1,3",
                                "64,56,56,96,3,3,1,1,1,1,1,1,64",
                                "0,56,56,64,3,3,1,1,1,1,1,1,1",
                                "64,56,-56,64,3,3,1,1,1,1,1,1,1",
                                "64,56,56,64,0,3,1,1,1,1,1,1,1"}) {
    const auto path = written(kHeader + good + bad + "\n" + good);
    const auto mix = draw_mix(500, path, 1);
    std::filesystem::remove(path);
    BOOST_REQUIRE_MESSAGE(!mix.ok(), bad);
    BOOST_TEST(mix.error().message.find(":3:") != std::string::npos);
  }
}

BOOST_AUTO_TEST_CASE(a_problem_without_a_stride_is_refused) {
  core::Problem problem = *core::parse_problem("fwd f16 nhwc n4 c8 h9 w9 k8 r3 s3 pad1");
  BOOST_TEST(complete_problem(problem, kSweepKinds[0]).ok());
  for (const std::int32_t stride : {0, -1}) {
    problem.stride[2] = stride;
    BOOST_TEST(!complete_problem(problem, kSweepKinds[0]).ok());
  }
}

BOOST_AUTO_TEST_CASE(batches_of_shapes_are_kept_within_limits) {
  const std::string shapes = REFORMER_SOURCE_DIR "/data/conv-shapes.csv";
  const auto drawn = [&shapes](Batches batches) {
    const auto problems = draw_from_shapes(shapes, 200, 4, batches);
    BOOST_REQUIRE(problems);
    BOOST_REQUIRE_EQUAL(problems->size(), 200);
    std::set<std::int64_t> found;
    for (const auto& problem : *problems) {
      found.insert(problem.x.dims[0]);
    }
    return found;
  };
  BOOST_TEST(drawn({.smallest = 32}) == (std::set<std::int64_t>{32, 64, 128}));
  BOOST_TEST(drawn({.smallest = 129, .largest = 1000}) == (std::set<std::int64_t>{256, 512}));
  BOOST_TEST(drawn({}) == (std::set<std::int64_t>{1, 2, 4, 8, 16, 32, 64, 128}));
  for (const Batches wrong :
       {Batches{0, 128}, {256, 128}, {1, 4097}, {-1, 1}, {1, -5}, {129, 255}, {INT64_MAX, 128}}) {
    BOOST_TEST(!draw_from_shapes(shapes, 1, 4, wrong));
  }
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace reformer::cli
