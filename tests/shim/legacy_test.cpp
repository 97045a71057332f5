// What the shim does to the answers of cuDNN's older calls.
#include "libclient/shim/legacy.h"

#include <boost/test/unit_test.hpp>

#include <array>
#include <limits>
#include <span>
#include <vector>

namespace {

using namespace reformer::shim;
namespace core = reformer::core;

core::DecisionEntry entry(float time_us, std::uint32_t notes) {
  core::DecisionEntry made;
  made.time_us = time_us;
  made.numerical_notes = notes;
  return made;
}

core::Decision measured(std::vector<core::DecisionEntry> entries) {
  core::Decision decision;
  decision.source = core::Source::kMeasured;
  decision.entries = std::move(entries);
  return decision;
}

using Result = cudnnConvolutionFwdAlgoPerf_t;
Result result(cudnnConvolutionFwdAlgo_t algorithm, cudnnStatus_t status = CUDNN_STATUS_SUCCESS) {
  Result made{};
  made.algo = algorithm;
  made.status = status;
  made.time = -1;
  return made;
}

constexpr auto kTensorCore = core::numerical_note::kTensorCore;
constexpr auto kWinogradNote = core::numerical_note::kWinograd;

std::vector<Result> cudnns_list() {
  return {result(CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM),
          result(CUDNN_CONVOLUTION_FWD_ALGO_GEMM),
          result(CUDNN_CONVOLUTION_FWD_ALGO_WINOGRAD, CUDNN_STATUS_NOT_SUPPORTED),
          result(CUDNN_CONVOLUTION_FWD_ALGO_WINOGRAD_NONFUSED)};
}

std::vector<Result> ordered(const core::Decision& decision,
                            cudnnMathType_t math = CUDNN_DEFAULT_MATH) {
  std::vector<Result> results = cudnns_list();
  order_by_measurements(core::Operation::kForward, decision, math, std::span(results));
  return results;
}

bool unchanged(const std::vector<Result>& results) {
  const std::vector<Result> before = cudnns_list();
  for (std::size_t i = 0; i < before.size(); ++i) {
    if (results[i].algo != before[i].algo) {
      return false;
    }
  }
  return true;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(legacy)

BOOST_AUTO_TEST_CASE(the_method_that_was_measured_to_be_faster_comes_first) {
  const auto results = ordered(measured({entry(50, kWinogradNote), entry(80, 0)}));
  BOOST_TEST(results[0].algo == CUDNN_CONVOLUTION_FWD_ALGO_WINOGRAD_NONFUSED);
  BOOST_TEST(results[1].algo == CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM);
  BOOST_TEST(results.size() == 4u);
  for (const Result& each : results) {
    BOOST_TEST(each.time == -1);
  }
}

BOOST_AUTO_TEST_CASE(a_small_gain_changes_nothing) {
  BOOST_TEST(unchanged(ordered(measured({entry(75, kWinogradNote), entry(80, 0)}))));
}

BOOST_AUTO_TEST_CASE(a_method_without_a_time_is_not_overtaken) {
  BOOST_TEST(unchanged(ordered(measured({entry(50, kWinogradNote)}))));
}

BOOST_AUTO_TEST_CASE(predictions_change_nothing) {
  auto decision = measured({entry(50, kWinogradNote), entry(80, 0)});
  decision.source = core::Source::kPredicted;
  BOOST_TEST(unchanged(ordered(decision)));
}

// The fastest gemm uses tensor cores, which this application forbids: its own is slower.
BOOST_AUTO_TEST_CASE(mathematics_that_are_forbidden_do_not_count) {
  const auto decision = measured({entry(30, kTensorCore), entry(50, kWinogradNote), entry(80, 0)});
  BOOST_TEST(unchanged(ordered(decision)));
  BOOST_TEST(ordered(decision, CUDNN_FMA_MATH)[0].algo ==
             CUDNN_CONVOLUTION_FWD_ALGO_WINOGRAD_NONFUSED);
}

BOOST_AUTO_TEST_CASE(what_a_search_found_is_remembered_for_the_same_question) {
  FoundAlgorithms found;
  core::KeyHash key{};
  key.bytes[0] = 1;
  const std::vector<Result> results = cudnns_list();
  std::array<Result, 8> recalled{};
  int returned = 0;
  BOOST_TEST(!found.recall(key, 8, &returned, recalled.data()));
  found.keep(key, std::span<const Result>(results));
  BOOST_TEST(found.recall(key, 8, &returned, recalled.data()));
  BOOST_TEST(returned == 4);
  BOOST_TEST(recalled[3].algo == CUDNN_CONVOLUTION_FWD_ALGO_WINOGRAD_NONFUSED);
  BOOST_TEST(!found.recall(key, 2, &returned, recalled.data()));
  core::KeyHash other{};
  BOOST_TEST(!found.recall(other, 8, &returned, recalled.data()));
}

BOOST_AUTO_TEST_SUITE_END()
