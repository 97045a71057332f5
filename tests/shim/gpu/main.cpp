// An application of cuDNN that checks what it gets: chooses convolutions by every interface, runs
// them on the GPU and compares the results with plain loops in double precision. It knows nothing
// of the shim, but that it may be told that it is there.
//
//   shim_gpu [--shim] [--quick] [--against FILE [--same-bits]] [--device-prop FILE]
//
// --shim         answers must keep the shim's promises too
// --quick        without building every plan of a list; the older API for every fourth problem only
// --against      compares bits with what an earlier run printed; --same-bits: those of
//                deterministic engines must be the same
// --device-prop  device properties in JSON instead of a GPU: lists and plans only
// Prints a JSON line a check. Exit code 0 if all is well, 1 if not, 77 without a GPU.
#include "examples/graph.h"

#include "core/problem_text.h"
#include "tests/shim/gpu/checks.h"
#include "tests/shim/gpu/device.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <sstream>
#include <vector>

void example::check(cudnnStatus_t status, const char* what) {
  if (status != CUDNN_STATUS_SUCCESS) {
    std::fprintf(stderr, "shim_gpu: %s: %s\n", what, cudnnGetErrorString(status));
    std::exit(1);
  }
}

namespace {

// Kept small, because the reference is computed on the CPU; all of them are among the shipped
// measurements. Every fourth has its whole list built.
constexpr const char* kProblems[] = {
    "fwd f16 nhwc n2 c128 h14 w14 k32 r3 s3 pad1 str1 dil1 grp1",
    "fwd f32 nchw n1 c128 h14 w14 k32 r3 s3 pad1 str1 dil1 grp1",
    "fwd bf16 nhwc n2 c36 h28 w28 k72 r3 s3 pad1 str2 dil1 grp1",
    "dgrad f16 nhwc n4 c32 h35 w35 k32 r3 s3 pad1 str1 dil1 grp1",
    "dgrad f32 nchw n4 c36 h14 w14 k144 r3 s3 pad1 str2 dil1 grp1",
    "dgrad bf16 nhwc n4 c32 h14 w14 k256 r3 s3 pad1 str2 dil1 grp1",
    "wgrad bf16 nhwc n1 c192 h7 w7 k192 r3 s3 pad1 str1 dil1 grp1",
    "wgrad f32 nchw n1 c32 h28 w28 k32 r3 s3 pad1 str1 dil1 grp1",
    "wgrad f16 nhwc n2 c144 h7 w7 k144 r3 s3 pad1 str1 dil1 grp1",  // fastest as a native graph
};

std::unique_ptr<example::Descriptor> read_properties(const char* path) {
  std::stringstream text;
  text << std::ifstream(path).rdbuf();
  return example::device_properties(text.str());
}

}  // namespace

int main(int argc, char** argv) {
  gpu_check::Options options;
  gpu_check::Report report;
  const char* against = nullptr;
  bool same_bits = false;
  std::unique_ptr<example::Descriptor> properties;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--shim") == 0) {
      options.under_shim = true;
    } else if (std::strcmp(argv[i], "--quick") == 0) {
      options.quick = true;
    } else if (std::strcmp(argv[i], "--same-bits") == 0) {
      same_bits = true;
    } else if (std::strcmp(argv[i], "--against") == 0 && i + 1 < argc) {
      against = argv[++i];
    } else if (std::strcmp(argv[i], "--device-prop") == 0 && i + 1 < argc) {
      properties = read_properties(argv[++i]);
      options.properties = properties.get();
    } else {
      std::fprintf(stderr,
                   "usage: shim_gpu [--shim] [--quick] [--against FILE [--same-bits]] "
                   "[--device-prop FILE]\n");
      return 2;
    }
  }
  if (against != nullptr && !report.compare_with(against, same_bits)) {
    std::fprintf(stderr, "shim_gpu: %s: nothing to compare with\n", against);
    return 2;
  }
  if (options.properties == nullptr && gpu_check::driver() == nullptr) {
    std::fprintf(stderr, "shim_gpu: no GPU here: skipped\n");
    return 77;
  }
  std::vector<reformer::core::Problem> problems;
  for (const char* text : kProblems) {
    problems.push_back(reformer::core::parse_problem(text).value());
  }
  if (options.properties == nullptr) {
    gpu_check::check_legacy(problems, options, report);
  }
  gpu_check::check_backend(problems, options, report);
  gpu_check::check_threads(problems, options, report);
  return report.finish();
}
