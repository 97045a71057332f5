// An application of the fake cuDNN in one of several predicaments:
//
//   application SCENARIO
//
// Exit code 0 if everything was as it should be; what was not is on stderr.
#include "tests/shim/fake/legacy_use.h"
#include "tests/shim/fake/scenarios.h"
#include "tests/shim/fake/use.h"

#include <dlfcn.h>

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <map>
#include <string>

using namespace fake_cudnn;

// Every allocation of the process passes here, those of the shim too.
namespace {
std::atomic<bool> counting{false};
std::atomic<std::size_t> allocations{0};
}  // namespace

extern "C" {
void* __libc_malloc(std::size_t);
void* __libc_calloc(std::size_t, std::size_t);
void* __libc_realloc(void*, std::size_t);
__attribute__((visibility("default"))) void* malloc(std::size_t bytes) {
  allocations += counting ? 1 : 0;
  return __libc_malloc(bytes);
}
__attribute__((visibility("default"))) void* calloc(std::size_t count, std::size_t bytes) {
  allocations += counting ? 1 : 0;
  return __libc_calloc(count, bytes);
}
__attribute__((visibility("default"))) void* realloc(void* old, std::size_t bytes) {
  allocations += counting ? 1 : 0;
  return __libc_realloc(old, bytes);
}
// What the shim has inside it under the same names, as an application may have another version of
// it: not to be called.
__attribute__((visibility("default"))) void application_hash_problem() __asm__(
    "_ZN8reformer4core12hash_problemEmRKNS0_7ProblemE");
void application_hash_problem() {
  std::abort();
}
__attribute__((visibility("default"))) void application_hash_context() __asm__(
    "_ZN8reformer4core12hash_contextERKNS0_7ContextE");
void application_hash_context() {
  std::abort();
}
}

namespace {

// Any function of cuDNN fails at any time: the application sees an error at worst, and is served
// again when all is well.
void failures() {
  std::int64_t n = 1;
  for (const int function : {kCreate, kSet, kGet, kFinalize, kExecute}) {
    for (std::int64_t after = 0; after < 60; ++after) {
      State& state = *fake_cudnn_state();
      (void)device_properties();
      state.countdown = after;
      state.failures = 1;
      state.failing = function;
      const Got got = use(++n);
      state.failing = -1;
      const std::string when =
          "function " + std::to_string(function) + " failing after " + std::to_string(after);
      expect(got.filled >= 0 && got.filled <= 16, when + ": a count out of bounds");
      expect(std::find(got.engines.begin(), got.engines.end(), -1) == got.engines.end(),
             when + ": a plan of an unfinalised configuration");
      expect(got.status != CUDNN_STATUS_SUCCESS || got.planned > 0,
             when + ": success with nothing");
      expect(served(use(++n)), when + ": not served afterwards");
    }
  }
  // An answered query leaves nothing behind, whatever failed: only the device properties stay.
  const std::int64_t live = fake_cudnn_state()->live;
  expect(live == 1, "descriptors left: " + std::to_string(live));
}

// cuDNN says counts that cannot be.
void lies() {
  std::int64_t n = 1;
  for (const std::int64_t lie : {std::int64_t{0},
                                 std::int64_t{-1},
                                 std::int64_t{17},
                                 std::int64_t{1} << 40,
                                 std::numeric_limits<std::int64_t>::max(),
                                 std::numeric_limits<std::int64_t>::min()}) {
    for (const cudnnDataType_t type : {CUDNN_DATA_HALF, CUDNN_DATA_FLOAT}) {
      State& state = *fake_cudnn_state();
      state.lie = lie;
      state.lies = true;
      const Got got = use(++n, type);
      state.lies = false;
      const std::string when = "cuDNN says " + std::to_string(lie);
      if (served(got)) {
        expect(got.count > 0 && got.filled > 0 && got.filled <= 16,
               when + ": served out of bounds");
      }
      expect(use(++n).planned > 0, when + ": nothing works afterwards");
    }
  }
}

// Calls that the shim passes on allocate nothing in it, once it has seen as many before.
void allocations_of_passed_calls() {
  LegacyDescriptors app;
  const Graph graph(1);
  const Graph kept(2);
  (void)use(kept);
  void* cudnn = ::dlopen("libcudnn.so.9", RTLD_NOW | RTLD_NOLOAD);
  Results<cudnnConvolutionFwdAlgoPerf_t> results;
  cudnnBackendDescriptor_t plan = nullptr;
  (void)cudnnBackendCreateDescriptor(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR, &plan);
  const auto round = [&] {
    for (int type = CUDNN_BACKEND_POINTWISE_DESCRIPTOR; type < 40; ++type) {
      cudnnBackendDescriptor_t made = nullptr;
      (void)cudnnBackendCreateDescriptor(static_cast<cudnnBackendDescriptorType_t>(type), &made);
      const std::int64_t dims[] = {1, 2, 3, 4};
      (void)cudnnBackendSetAttribute(made, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 4, dims);
      (void)cudnnBackendFinalize(made);
      std::int64_t count = 0;
      std::int64_t value = 0;
      (void)cudnnBackendGetAttribute(
          made, CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64, 1, &count, &value);
      (void)cudnnBackendDestroyDescriptor(made);
    }
    cudnnBackendDescriptor_t query = nullptr;
    (void)cudnnBackendCreateDescriptor(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR, &query);
    const auto mode = CUDNN_HEUR_MODE_FALLBACK;
    cudnnBackendDescriptor_t of = graph.get();
    (void)cudnnBackendSetAttribute(
        query, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode);
    (void)cudnnBackendSetAttribute(
        query, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &of);
    (void)cudnnBackendFinalize(query);
    (void)cudnnBackendDestroyDescriptor(query);
    (void)cudnnBackendExecute(app.handle, plan, nullptr);
    (void)cudnnBackendPopulateCudaGraph(app.handle, plan, nullptr, nullptr);
    (void)app.get(results);
    (void)app.find(results);
    cudnnHandle_t other = nullptr;
    (void)cudnnCreate(&other);
    (void)::dlsym(cudnn, "cudnnBackendExecute");
    (void)::dlsym(cudnn, "cudnnGetVersion");
  };
  for (int i = 0; i < 300; ++i) {
    round();
  }
  counting = true;
  for (int i = 0; i < 100; ++i) {
    round();
  }
  counting = false;
  expect(allocations == 0, "allocations: " + std::to_string(allocations));
}

}  // namespace

int main(int argc, char** argv) {
  const std::map<std::string, void (*)()> scenarios{
      {"failures", failures},
      {"lies", lies},
      {"legacy", legacy},
      {"allocations", allocations_of_passed_calls},
      {"fork", fork_in_the_middle},
      {"exit", [] { end_during_a_query(false); }},
      {"_exit", [] { end_during_a_query(true); }},
      {"daemon", daemon_comes_and_goes},
      {"executions", executions_are_timed},
      {"rarely_listed", rarely_listed_entries},
      {"compiled_plans", compiled_plans},
      {"searched", an_answer_that_is_searched},
      {"compiles_itself", compiles_itself},
      {"loads_its_plan", loads_its_plan},
      {"refused", everything_is_refused},
      {"refused_configuration", a_refused_configuration},
      {"cancelled", a_thread_is_cancelled},
      {"handles", handles_of_two_gpus},
      {"hooked", dlsym_is_hooked},
      {"shared_configuration", threads_share_a_configuration},
      {"unusable_descriptor", an_unusable_descriptor},
  };
  const auto chosen = scenarios.find(argc == 2 ? argv[1] : "");
  if (chosen == scenarios.end()) {
    return 2;
  }
  // Applications of a GPU have its driver.
  expect(::dlopen("libcuda.so.1", RTLD_NOW | RTLD_GLOBAL) != nullptr, "the fake driver");
  chosen->second();
  return finish();
}
