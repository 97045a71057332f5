#include "tests/shim/fake/scenarios.h"

#include "tests/shim/fake/legacy_use.h"
#include "tests/shim/fake/use.h"

#include <dlfcn.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <barrier>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

namespace fake_cudnn {

// The older API: a search is run once for each question, and only its own results are repeated.
void legacy() {
  LegacyDescriptors app;
  State& state = *fake_cudnn_state();
  Results<cudnnConvolutionFwdAlgoPerf_t> forward;
  Results<cudnnConvolutionBwdDataAlgoPerf_t> data;
  Results<cudnnConvolutionBwdFilterAlgoPerf_t> filter;
  for (int i = 0; i < 3; ++i) {
    expect(app.find(forward) == CUDNN_STATUS_SUCCESS && forward.returned == 4, "find");
    expect(app.find_data(data) == CUDNN_STATUS_SUCCESS && data.returned == 4, "find data");
    expect(app.find_filter(filter) == CUDNN_STATUS_SUCCESS && filter.returned == 4, "find filter");
    expect(app.find_ex(forward, 1000) == CUDNN_STATUS_SUCCESS, "find ex");
    expect(app.find_ex(forward, 2000) == CUDNN_STATUS_SUCCESS, "find ex with more workspace");
    expect(forward.asked[3].algo == 3 && forward.asked[3].time == 4, "results of the search");
  }
  expect(state.calls[kFind] == 5, "searches run: " + std::to_string(state.calls[kFind]));
  app.x.dims[0] = app.y.dims[0] = 9;
  expect(app.find(forward) == CUDNN_STATUS_SUCCESS && state.calls[kFind] == 6, "another problem");
  // One that failed is not remembered.
  app.x.dims[0] = app.y.dims[0] = 10;
  state.failures = 1;
  state.failing = kFind;
  expect(app.find(forward) == CUDNN_STATUS_EXECUTION_FAILED, "a failure is the application's");
  state.failing = -1;
  expect(app.find(forward) == CUDNN_STATUS_SUCCESS && state.calls[kFind] == 8, "after a failure");
  // Descriptors that cannot be read.
  state.failures = 1000;
  state.failing = kRead;
  expect(app.get(forward) == CUDNN_STATUS_SUCCESS && app.find(forward) == CUDNN_STATUS_SUCCESS,
         "descriptors that cannot be read");
  state.failing = -1;
  for (const std::int64_t lie : {-1L, 0L, 5L, 400000L, 2147483647L}) {
    for (const bool about_reading : {false, true}) {
      app.x.dims[0] = app.y.dims[0] = app.x.dims[0] + 1;
      state.lie = lie;
      (about_reading ? state.lies_reading : state.lies) = true;
      expect(app.get(forward) == CUDNN_STATUS_SUCCESS, "get with a lie");
      expect(app.find(forward) == CUDNN_STATUS_SUCCESS, "find with a lie");
      state.lies = state.lies_reading = false;
      expect(std::all_of(forward.guard.begin(), forward.guard.end(), [](auto b) { return b == 0; }),
             "results beyond those asked for");
    }
  }
  expect(app.get(forward) == CUDNN_STATUS_SUCCESS && forward.returned == 4 &&
             forward.asked[0].time == -1,
         "get afterwards");
}

void fork_in_the_middle() {
  const Got before = use(1);
  expect(served(before), "served before the fork");
  // Other threads hold the shim's locks while the process is forked, now and then.
  std::atomic<bool> stop{false};
  std::vector<std::jthread> busy;
  for (int thread = 0; thread < 4; ++thread) {
    busy.emplace_back([&] {
      LegacyDescriptors app;
      Results<cudnnConvolutionFwdAlgoPerf_t> results;
      for (std::int64_t n = 0; !stop; ++n) {
        (void)use(n % 64 + 100);
        for (int i = 0; i < 8; ++i) {
          (void)app.find(results);
        }
      }
    });
  }
  for (int i = 0; i < 200; ++i) {
    const pid_t child = ::fork();
    if (child == 0) {
      ::alarm(5);
      if (use(1).engines != before.engines) {
        ::_exit(2);  // another answer than the parent's
      }
      if (!served(use(1000 + i))) {
        ::_exit(3);  // no answer to a question of its own
      }
      LegacyDescriptors app;
      Results<cudnnConvolutionFwdAlgoPerf_t> results;
      ::_exit(app.find(results) == CUDNN_STATUS_SUCCESS ? 0 : 4);
    }
    int status = -1;
    const bool ended = ::waitpid(child, &status, 0) == child;
    expect(ended && status == 0,
           "child " + std::to_string(i) + " ends with " + std::to_string(status));
    expect(use(1).engines == before.engines, "the parent's answer after the fork");
    expect(served(use(2000 + i)), "a new question of the parent after the fork");
  }
  stop = true;
}

void end_during_a_query(bool at_once) {
  std::thread([] {
    for (std::int64_t n = 1;; ++n) {
      (void)use(n);
    }
  }).detach();
  std::this_thread::sleep_for(std::chrono::milliseconds(200));  // it waits for the daemon now
  if (at_once) {
    ::_exit(finish());
  }
  std::exit(finish());
}

void daemon_comes_and_goes() {
  char line[16];
  const Got first = use(1);
  expect(served(first), "served by the first daemon");
  std::puts("asked");
  std::fflush(stdout);
  expect(std::fgets(line, sizeof line, stdin) != nullptr, "told that it is gone");
  expect(use(1).engines == first.engines, "the answer stays when the daemon is gone");
  const Got alone = use(2);
  expect(alone.planned > 0 && !served(alone), "cuDNN's own list without a daemon");
  std::puts("asked");
  std::fflush(stdout);
  expect(std::fgets(line, sizeof line, stdin) != nullptr, "told that it is back");
  expect(use(1).engines == first.engines && use(2).engines == alone.engines, "both answers stay");
  bool again = false;
  for (std::int64_t n = 3; n < 300 && !again; ++n) {  // the shim backs off for a while
    again = served(use(n));
    std::this_thread::sleep_for(std::chrono::milliseconds(again ? 0 : 100));
  }
  expect(again, "served by the second daemon");
}

void executions_are_timed() {
  const auto events = reinterpret_cast<int (*)()>(::dlsym(RTLD_DEFAULT, "fake_cuda_events"));
  expect(events != nullptr, "the fake driver");
  const Graph graph(1);
  cudnnHandle_t handle = nullptr;
  (void)cudnnCreate(&handle);
  const Got got = use(graph);
  expect(served(got), "served");
  // use() executes without a handle: nothing is timed then.
  expect(events() == 0, "no events without a handle");
  cudnnBackendDescriptor_t query = nullptr;
  cudnnBackendDescriptor_t configuration = nullptr;
  cudnnBackendDescriptor_t plan = nullptr;
  cudnnBackendDescriptor_t of = graph.get();
  cudnnBackendDescriptor_t properties = device_properties();
  const cudnnBackendHeurMode_t mode = CUDNN_HEUR_MODE_INSTANT;
  (void)cudnnBackendCreateDescriptor(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR, &query);
  (void)cudnnBackendCreateDescriptor(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, &configuration);
  (void)cudnnBackendCreateDescriptor(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR, &plan);
  (void)cudnnBackendSetAttribute(
      query, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &of);
  (void)cudnnBackendSetAttribute(query, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode);
  (void)cudnnBackendSetAttribute(
      query, CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &properties);
  (void)cudnnBackendFinalize(query);
  std::int64_t count = 0;
  (void)cudnnBackendGetAttribute(query,
                                 CUDNN_ATTR_ENGINEHEUR_RESULTS,
                                 CUDNN_TYPE_BACKEND_DESCRIPTOR,
                                 1,
                                 &count,
                                 &configuration);
  (void)cudnnBackendSetAttribute(plan,
                                 CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG,
                                 CUDNN_TYPE_BACKEND_DESCRIPTOR,
                                 1,
                                 &configuration);
  (void)cudnnBackendFinalize(plan);
  for (int i = 0; i < 5000; ++i) {
    expect(cudnnBackendExecute(handle, plan, nullptr) == CUDNN_STATUS_SUCCESS, "execute");
  }
  // Executions 4, 8, ..., 4096, which is a multiple of 1024 as are 3072 and the two powers before.
  expect(events() == 2 * 12, "events: " + std::to_string(events()));
}

// The daemon says engines 1, 2, 103 and 104, all but 2 rarely listed; of f32 first 2, the only one
// with tensor cores; of bf16 that 2 is far behind.
void rarely_listed_entries() {
  using Engines = std::vector<std::int64_t>;
  const auto finalised = [] { return fake_cudnn_state()->calls[kFinalize].load(); };
  const auto finalised_by = [&finalised](const Graph& graph, const Engines& expected) {
    const std::uint64_t before = finalised();
    const Engines engines = use(graph).engines;
    expect(engines == expected, "the entries of an answer");
    return finalised() - before;
  };
  (void)device_properties();
  const Graph graph(1);
  const std::uint64_t first = finalised_by(graph, {1, 2, 103, 104});
  const std::uint64_t again = finalised_by(graph, {1, 2, 103, 104});
  constexpr std::uint64_t kTrial = 2;  // a knob and a configuration
  expect(again + 4 * kTrial == first, "whatever cuDNN lists; each entry is tried once");

  fake_cudnn_state()->refused_configuration = 1;
  const Graph refusing(2);
  const std::uint64_t refused = finalised_by(refusing, {2, 103, 104});
  constexpr std::uint64_t kEngine = 1;
  expect(finalised_by(refusing, {2, 103, 104}) + 4 * kTrial + kEngine == refused,
         "what was refused is not tried again");
  (void)finalised_by(Graph(4, CUDNN_DATA_BFLOAT16), {103, 104});  // 2 is far behind

  const Engines f32 = use(Graph(3, CUDNN_DATA_FLOAT)).engines;
  expect(f32.size() > 3 && f32[0] == 2 && f32[1] == kOwnEngine && f32[2] == kOwnEngine + 1,
         "cuDNN's own list for those who refuse the first");
  fake_cudnn_state()->refused_configuration = 103;
  expect(use(Graph(3, CUDNN_DATA_FLOAT)).engines == f32, "the same for the life of the process");
  expect(use(Graph(5, CUDNN_DATA_FLOAT)).engines == Engines({2, 1, 2, 104}),
         "the first in the place of another that is refused");
}

// The first entry of each answer is of an engine that is compiled; a plan of it lies in the
// daemon's folder for all problems but that of n = 2.
void compiled_plans() {
  State& state = *fake_cudnn_state();
  cudnnHandle_t handle = nullptr;
  (void)cudnnCreate(&handle);
  const auto make = [&](std::int64_t n, auto with_plan, bool on_gpu = true) {
    const Graph graph(n, CUDNN_DATA_HALF, on_gpu ? handle : nullptr);
    Query query(graph, CUDNN_HEUR_MODE_A, 2, on_gpu ? nullptr : device_properties());
    expect(query.fetch() == 2 && fake_cudnn_engine_of(query.configurations()[0]) == 1, "served");
    const std::int64_t before = state.loaded;
    with_plan(query);
    return state.loaded - before;
  };
  const auto is_planned = [&](Query& query) {
    expect(plan(query.configurations()[0], handle) == CUDNN_STATUS_SUCCESS, "a plan");
  };
  expect(make(1, is_planned) == 2, "loaded on trial and for good");
  const std::string_view json = state.json.data();
  for (const char* part : {R"("name":"1016")",
                           R"("X":"1016")",
                           R"("name":"64003")",
                           R"("W":"64003")",
                           R"("Y":"1016")",
                           R"("cudaDeviceId":3)",
                           R"("cubin":"f0VM")"}) {
    expect(json.find(part) != json.npos, std::string("the plan says ") + part);
  }
  expect(make(2, is_planned) == 0, "there is none");
  expect(make(1,
              [&](Query& query) {
                expect(plan(query.configurations()[1], handle) == CUDNN_STATUS_SUCCESS,
                       "the second");
              }) == 0,
         "of another configuration");
  const auto is_planned_without_handle = [](Query& query) {
    expect(plan(query.configurations()[0]) == CUDNN_STATUS_SUCCESS, "a plan without a handle");
  };
  expect(make(1, is_planned_without_handle) == 2, "the graph's handle is enough");
  expect(make(1, is_planned_without_handle, false) == 0, "for a GPU that is not here");
  // The application's configuration is gone when its plan turns out not to be loadable.
  state.refuses_json = true;
  const std::int64_t live = state.live;
  expect(make(3,
              [&](Query& query) {
                cudnnBackendDescriptor_t made = nullptr;
                cudnnBackendDescriptor_t& configuration = query.configurations()[0];
                (void)cudnnBackendCreateDescriptor(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR, &made);
                (void)cudnnBackendSetAttribute(
                    made, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, &handle);
                (void)cudnnBackendSetAttribute(made,
                                               CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG,
                                               CUDNN_TYPE_BACKEND_DESCRIPTOR,
                                               1,
                                               &configuration);
                (void)cudnnBackendDestroyDescriptor(std::exchange(configuration, nullptr));
                expect(cudnnBackendFinalize(made) == CUDNN_STATUS_SUCCESS, "built after all");
                (void)cudnnBackendDestroyDescriptor(made);
              }) == 0,
         "cuDNN refuses what is stored");
  expect(state.live == live, "nothing is left behind");
  state.refuses_json = false;
  // What is asked of a plan before it is finalised is cuDNN's to answer.
  expect(make(1,
              [&](Query& query) {
                cudnnBackendDescriptor_t made = nullptr;
                std::int64_t workspace = 0;
                (void)cudnnBackendCreateDescriptor(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR, &made);
                (void)cudnnBackendSetAttribute(made,
                                               CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG,
                                               CUDNN_TYPE_BACKEND_DESCRIPTOR,
                                               1,
                                               query.configurations().data());
                (void)cudnnBackendGetAttribute(made,
                                               CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE,
                                               CUDNN_TYPE_INT64,
                                               1,
                                               nullptr,
                                               &workspace);
                expect(cudnnBackendFinalize(made) == CUDNN_STATUS_SUCCESS, "built by cuDNN");
                (void)cudnnBackendDestroyDescriptor(made);
              }) == 0,
         "cuDNN was told of the configuration");
}

void an_answer_that_is_searched() {
  const auto engines = [](cudnnBackendHeurMode_t mode) {
    const Graph graph(1);
    Query query(graph, mode, 32);
    std::vector<std::int64_t> listed;
    for (std::int64_t i = 0, filled = query.fetch(); i < filled; ++i) {
      cudnnBackendDescriptor_t configuration = query.configurations()[static_cast<std::size_t>(i)];
      expect(plan(configuration) == CUDNN_STATUS_SUCCESS, "a plan of each");
      listed.push_back(fake_cudnn_engine_of(configuration));
    }
    return listed;
  };
  expect(engines(CUDNN_HEUR_MODE_A) == std::vector<std::int64_t>{1, 2, 3, 4, 5}, "the answer");
  // Those that are cheap to build and not far behind, again.
  expect(
      engines(CUDNN_HEUR_MODE_INSTANT) == std::vector<std::int64_t>{1, 2, 3, 4, 5, 2, 3, 2, 3, 2},
      "ten for a search of ten");
}

namespace {
// How often cuDNN was given a stored plan for the first entry's.
std::int64_t loaded_for_a_plan() {
  cudnnHandle_t handle = nullptr;
  (void)cudnnCreate(&handle);
  const Graph graph(1, CUDNN_DATA_HALF, handle);
  Query query(graph, CUDNN_HEUR_MODE_A, 2, nullptr);
  expect(query.fetch() == 2 && fake_cudnn_engine_of(query.configurations()[0]) == 1, "served");
  expect(plan(query.configurations()[0], handle) == CUDNN_STATUS_SUCCESS, "a plan");
  return fake_cudnn_state()->loaded;
}
}  // namespace

void compiles_itself() {
  expect(loaded_for_a_plan() == 0, "built by cuDNN");
}

void loads_its_plan() {
  expect(loaded_for_a_plan() == 2, "loaded on trial and for good");
}

// The first entry has fewer knobs than the one that it stands in for.
void a_refused_configuration() {
  fake_cudnn_state()->refused_configuration = 3;
  const Got got = use(1);
  expect(served(got) && got.filled >= 5, "an answer of five");
  expect(std::cmp_equal(got.planned, got.filled), "a plan of each");
  expect(std::count(got.engines.begin(), got.engines.end(), 1) == 2, "the first in its place");
}

void threads_share_a_configuration() {
  fake_cudnn_state()->slow_configuration_us = 300;
  for (std::int64_t round = 1; round <= 20; ++round) {
    const Graph graph(round);
    Query query(graph, CUDNN_HEUR_MODE_A, 4);
    expect(query.fetch() == 4, "four configurations");
    const cudnnBackendDescriptor_t shared = query.configurations()[1];
    std::barrier together(4);
    std::atomic<int> planned{0};
    {
      std::vector<std::jthread> threads;
      for (int thread = 0; thread < 4; ++thread) {
        threads.emplace_back([&] {
          together.arrive_and_wait();
          planned += plan(shared) == CUDNN_STATUS_SUCCESS ? 1 : 0;
        });
      }
    }
    expect(planned == 4, "plans of one configuration: " + std::to_string(planned));
    expect(fake_cudnn_engine_of(shared) == 2, "the second entry");
  }
}

// A configuration that something else has filled: the list stays what it was.
void an_unusable_descriptor() {
  const Graph graph(1);
  Query other(graph, CUDNN_HEUR_MODE_FALLBACK, 1);
  expect(other.fetch() == 1, "cuDNN's own");
  Query query(graph, CUDNN_HEUR_MODE_A, 3);
  std::swap(query.configurations()[0], other.configurations()[0]);
  expect(query.fetch() == 0, "nothing for a descriptor that is full");
  std::swap(query.configurations()[0], other.configurations()[0]);
  expect(query.fetch() == 3, "three configurations");
  expect(fake_cudnn_engine_of(query.configurations()[0]) == 1, "the first entry");
  for (const cudnnBackendDescriptor_t configuration : query.configurations()) {
    expect(plan(configuration) == CUDNN_STATUS_SUCCESS, "a plan of each");
  }
}

void a_thread_is_cancelled() {
  std::atomic<bool> answered{false};
  std::atomic<bool> went_on{false};
  std::thread thread([&] {
    (void)::pthread_cancel(::pthread_self());  // takes effect at the next point of cancellation
    answered = served(use(1));
    ::pthread_testcancel();
    went_on = true;
  });
  thread.join();
  expect(answered, "served before it was cancelled");
  expect(!went_on, "cancelled all the same");
  expect(served(use(2)), "another thread is served");
}

// The GPU is that of the graph's handle, not the one that is current when the question is asked.
void handles_of_two_gpus() {
  const auto set_current =
      reinterpret_cast<void (*)(int)>(::dlsym(RTLD_DEFAULT, "fake_cuda_set_current"));
  expect(set_current != nullptr, "the fake driver");
  std::array<cudnnHandle_t, 2> handles{};
  for (int device = 0; device < 2; ++device) {
    set_current(device);
    (void)cudnnCreate(&handles[static_cast<std::size_t>(device)]);
  }
  expect(handles[0] != handles[1], "two handles");
  const auto first_engine = [&](int device, int current) {
    set_current(current);
    const Graph graph(1, CUDNN_DATA_HALF, handles[static_cast<std::size_t>(device)]);
    Query query(graph, CUDNN_HEUR_MODE_A, 1, nullptr);
    return query.fetch() == 1 ? fake_cudnn_engine_of(query.configurations()[0]) : -1;
  };
  for (const int current : {0, 1, -1}) {
    const std::string when = " with " + std::to_string(current) + " current";
    expect(first_engine(0, current) == 1, "the H200's answer" + when);
    expect(first_engine(1, current) == 2, "the L4's answer" + when);
  }
}

void dlsym_is_hooked() {
  expect(::dlsym(RTLD_DEFAULT, "only_the_hook_knows_this") != nullptr, "the other interposer");
  void* cudnn = ::dlopen("libcudnn.so.9", RTLD_NOW | RTLD_NOLOAD);
  const auto finalize =
      reinterpret_cast<decltype(&::cudnnBackendFinalize)>(::dlsym(cudnn, "cudnnBackendFinalize"));
  expect(finalize == &cudnnBackendFinalize, "the shim's stand-in");
  expect(served(use(1)), "served");
}

void everything_is_refused() {
  fake_cudnn_state()->refused = 0;
  const Got got = use(1);
  expect(got.planned > 0 && !served(got), "cuDNN's own list");
  std::this_thread::sleep_for(std::chrono::milliseconds(5100));  // reports are due every 5 s
  (void)use(2);
  std::puts("asked");
  std::fflush(stdout);
  char line[16];
  (void)std::fgets(line, sizeof line, stdin);
}

}  // namespace fake_cudnn
