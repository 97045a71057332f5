// What the shim costs an application, over a cuDNN that does nothing (tests/shim/fake): a whole
// heuristics query (descriptor, three attributes, Finalize, count, fetch of one configuration), by
// cuDNN's own functions, passed on by the shim, and served by it again and again. Starts itself
// with the shim preloaded.
#include "tests/libclient/fake_daemon.h"
#include "tests/shim/fake/use.h"

#include <benchmark/benchmark.h>
#include <unistd.h>

#include <array>
#include <cstdlib>

namespace {

namespace core = reformer::core;

constexpr std::size_t kKnobs = 4;

core::Decision decide(const core::Context&, const core::Problem&) {
  core::Decision decision;
  decision.source = core::Source::kMeasured;
  for (std::int32_t i = 0; i < 8; ++i) {
    core::DecisionEntry entry;
    entry.config = core::EngineConfig(i);
    for (std::size_t knob = 0; knob < kKnobs; ++knob) {
      (void)entry.config.add_knob({static_cast<std::int32_t>(knob) * 5, i});
    }
    decision.entries.push_back(entry);
  }
  return decision;
}

const fake_cudnn::Table& through_the_shim() {
  static const fake_cudnn::Table table{&cudnnBackendCreateDescriptor,
                                       &cudnnBackendDestroyDescriptor,
                                       &cudnnBackendSetAttribute,
                                       &cudnnBackendGetAttribute,
                                       &cudnnBackendFinalize};
  return table;
}

// The first engine that the query gives.
std::int64_t query(const fake_cudnn::Table& cudnn,
                   cudnnBackendDescriptor_t graph,
                   cudnnBackendDescriptor_t properties,
                   cudnnBackendHeurMode_t mode) {
  std::array<cudnnBackendDescriptor_t, 2> made{};
  auto& [heuristics, configuration] = made;
  (void)cudnn.create(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR, &heuristics);
  (void)cudnn.create(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, &configuration);
  (void)cudnn.set(
      heuristics, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &graph);
  (void)cudnn.set(heuristics, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode);
  (void)cudnn.set(
      heuristics, CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &properties);
  (void)cudnn.finalize(heuristics);
  std::int64_t count = 0;
  (void)cudnn.get(
      heuristics, CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, 0, &count, nullptr);
  (void)cudnn.get(heuristics,
                  CUDNN_ATTR_ENGINEHEUR_RESULTS,
                  CUDNN_TYPE_BACKEND_DESCRIPTOR,
                  1,
                  &count,
                  &configuration);
  const std::int64_t engine = fake_cudnn::fake_cudnn_engine_of(configuration);
  (void)cudnn.destroy(configuration);
  (void)cudnn.destroy(heuristics);
  return engine;
}

// The calls of cuDNN that a served answer is built with, without a shim.
void build(const fake_cudnn::Table& cudnn,
           cudnnBackendDescriptor_t graph,
           cudnnBackendDescriptor_t properties) {
  std::array<cudnnBackendDescriptor_t, 3> made{};
  auto& [heuristics, configuration, engine] = made;
  const std::int64_t value = 0;
  const auto set = [&](auto descriptor, auto name, auto type, const void* what) {
    (void)cudnn.set(descriptor, name, type, 1, what);
  };
  (void)cudnn.create(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR, &heuristics);
  (void)cudnn.create(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, &configuration);
  set(heuristics, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, CUDNN_TYPE_BACKEND_DESCRIPTOR, &graph);
  set(heuristics, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, &value);
  set(heuristics, CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, CUDNN_TYPE_BACKEND_DESCRIPTOR, &properties);
  (void)cudnn.create(CUDNN_BACKEND_ENGINE_DESCRIPTOR, &engine);
  set(engine, CUDNN_ATTR_ENGINE_OPERATION_GRAPH, CUDNN_TYPE_BACKEND_DESCRIPTOR, &graph);
  set(engine, CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64, &value);
  set(engine, CUDNN_ATTR_ENGINE_DEVICEPROP, CUDNN_TYPE_BACKEND_DESCRIPTOR, &properties);
  (void)cudnn.finalize(engine);
  std::array<cudnnBackendDescriptor_t, kKnobs> knobs{};
  for (cudnnBackendDescriptor_t& knob : knobs) {
    (void)cudnn.create(CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR, &knob);
    set(knob, CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, CUDNN_TYPE_KNOB_TYPE, &value);
    set(knob, CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE, CUDNN_TYPE_INT64, &value);
    (void)cudnn.finalize(knob);
  }
  set(configuration, CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, &engine);
  set(configuration, CUDNN_ATTR_ENGINECFG_KNOB_CHOICES, CUDNN_TYPE_BACKEND_DESCRIPTOR, &knobs);
  (void)cudnn.finalize(configuration);
  for (cudnnBackendDescriptor_t descriptor : knobs) {
    (void)cudnn.destroy(descriptor);
  }
  for (cudnnBackendDescriptor_t descriptor : made) {
    (void)cudnn.destroy(descriptor);
  }
}

void measure(benchmark::State& state,
             const fake_cudnn::Table& cudnn,
             cudnnBackendHeurMode_t mode,
             std::int64_t expected) {
  const fake_cudnn::Graph graph(8);
  cudnnBackendDescriptor_t properties = fake_cudnn::device_properties();
  auto& calls = fake_cudnn::fake_cudnn_state()->calls;
  std::uint64_t before = 0;
  for (const auto& count : calls) {
    before += count;
  }
  for (auto _ : state) {
    if (query(cudnn, graph.get(), properties, mode) != expected) {
      state.SkipWithError("another engine than expected");
      break;
    }
  }
  std::uint64_t after = 0;
  for (const auto& count : calls) {
    after += count;
  }
  state.counters["cudnn_calls"] =
      static_cast<double>(after - before) / static_cast<double>(state.iterations());
}

void cudnns_own(benchmark::State& state) {
  measure(state, *fake_cudnn::fake_cudnn_table(), CUDNN_HEUR_MODE_FALLBACK, fake_cudnn::kOwnEngine);
}
void passed_on(benchmark::State& state) {
  measure(state, through_the_shim(), CUDNN_HEUR_MODE_FALLBACK, fake_cudnn::kOwnEngine);
}
void served_again(benchmark::State& state) {
  measure(state, through_the_shim(), CUDNN_HEUR_MODE_A, 0);
}
void calls_of_an_answer(benchmark::State& state) {
  const fake_cudnn::Graph graph(8);
  cudnnBackendDescriptor_t properties = fake_cudnn::device_properties();
  for (auto _ : state) {
    build(*fake_cudnn::fake_cudnn_table(), graph.get(), properties);
  }
}
BENCHMARK(cudnns_own);
BENCHMARK(passed_on);
BENCHMARK(calls_of_an_answer);
BENCHMARK(served_again);

}  // namespace

int main(int argc, char** argv) {
  if (std::getenv("LD_PRELOAD") == nullptr) {
    ::setenv("LD_PRELOAD", SHIM_PATH, 1);
    ::execv("/proc/self/exe", argv);
    return 1;
  }
  const reformer::test::TemporaryFolder folder;
  reformer::test::FakeDaemon daemon(
      folder.file("socket"), reformer::test::Behaviour::kAnswer, decide);
  ::setenv("REFORMER_SOCKET", folder.file("socket").c_str(), 1);
  ::setenv("REFORMER_DEADLINE_US", "1000000", 1);
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
