#include "cudnn/driver.h"

#include "cudnn/driver_functions.h"

#include <boost/test/unit_test.hpp>

#include <string>
#include <vector>

using namespace reformer;

namespace {

cudnn::DriverFunctions driver() {
  cudnn::DriverFunctions functions;
  functions.get_error_name = [](CUresult result, const char** name) {
    *name = result == CUDA_ERROR_ECC_UNCORRECTABLE ? "CUDA_ERROR_ECC_UNCORRECTABLE" : nullptr;
    return CUDA_SUCCESS;
  };
  return functions;
}

core::ErrorCode code_of(int result) {
  return cudnn::cuda_error(driver(), "launch", static_cast<CUresult>(result)).code;
}

// After each of these every call of the process fails.
const std::vector<int> kSticky{
    201, 214, 220, 226, 700, 702, 709, 710, 714, 715, 716, 717, 718, 719, 721, 806, 810, 999};
const std::vector<int> kPassing{1, 3, 46, 100, 101, 209, 400, 701, 720, 801, 802, 900, 912};

}  // namespace

BOOST_AUTO_TEST_SUITE(driver_errors)

BOOST_AUTO_TEST_CASE(an_error_after_which_nothing_works_ends_the_process) {
  for (const int error : kSticky) {
    BOOST_TEST_CONTEXT(error) {
      BOOST_TEST((code_of(error) == core::ErrorCode::kInternal));
    }
  }
}

BOOST_AUTO_TEST_CASE(an_error_of_one_call_does_not) {
  for (const int error : kPassing) {
    BOOST_TEST_CONTEXT(error) {
      BOOST_TEST((code_of(error) == core::ErrorCode::kUnavailable));
    }
  }
}

BOOST_AUTO_TEST_CASE(want_of_memory_is_told_apart_and_errors_have_their_names) {
  BOOST_TEST((code_of(CUDA_ERROR_OUT_OF_MEMORY) == core::ErrorCode::kExhausted));
  BOOST_TEST(cudnn::cuda_error(driver(), "launch", CUDA_ERROR_ECC_UNCORRECTABLE).message ==
             "launch: CUDA_ERROR_ECC_UNCORRECTABLE");
}

BOOST_AUTO_TEST_SUITE_END()
