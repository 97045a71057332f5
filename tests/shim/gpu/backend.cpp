#include "examples/graph.h"

#include "core/problem_text.h"
#include "tests/shim/gpu/checks.h"
#include "tests/shim/gpu/device.h"
#include "tests/shim/gpu/reference.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

namespace gpu_check {
namespace {

namespace core = reformer::core;
using example::Descriptor;
// A list may hold dozens of engines that take a second each to compile.
constexpr std::size_t kAlwaysBuilt = 8;
constexpr std::chrono::seconds kBuildingLimit{4};

using Configurations = std::vector<std::unique_ptr<Descriptor>>;

// A count and a fetch, as cudnn-frontend does it (PyTorch and XLA ask no differently).
Configurations ask(const Descriptor& graph, cudnnBackendHeurMode_t mode, const Options& options) {
  Descriptor query(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
  query.set_descriptor(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph);
  query.set(CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode);
  if (options.properties != nullptr) {
    query.set_descriptor(CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, *options.properties);
  }
  query.finalize();
  const std::int64_t count =
      query.get(CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, 0, nullptr);
  Configurations configurations;
  std::vector<cudnnBackendDescriptor_t> pointers;
  for (std::int64_t i = 0; i < count; ++i) {
    configurations.push_back(std::make_unique<Descriptor>(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR));
    pointers.push_back(configurations.back()->get());
  }
  const std::int64_t fetched = query.get(
      CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, count, pointers.data());
  configurations.resize(static_cast<std::size_t>(std::min(fetched, count)));
  return configurations;
}

struct Notes {
  std::int64_t engine = -1;
  bool deterministic = true;
  bool down_converts = false;
  bool native_graph = false;
};

Notes notes_of(const Descriptor& configuration) {
  Descriptor engine(CUDNN_BACKEND_ENGINE_DESCRIPTOR);
  cudnnBackendDescriptor_t pointer = engine.get();
  configuration.get(CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &pointer);
  Notes notes;
  engine.get(CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64, 1, &notes.engine);
  std::array<cudnnBackendNumericalNote_t, 32> numerical{};
  const auto numericals =
      engine.get(CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE, 32, numerical.data());
  const auto has = [](const auto& list, std::int64_t count, auto note) {
    return std::find(list.begin(), list.begin() + count, note) != list.begin() + count;
  };
  notes.deterministic = !has(numerical, numericals, CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC);
  notes.down_converts = has(numerical, numericals, CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS);
  std::array<cudnnBackendBehaviorNote_t, 32> behavior{};
  const auto behaviors =
      engine.get(CUDNN_ATTR_ENGINE_BEHAVIOR_NOTE, CUDNN_TYPE_BEHAVIOR_NOTE, 32, behavior.data());
  notes.native_graph = has(behavior, behaviors, CUDNN_BEHAVIOR_NOTE_SUPPORTS_CUDA_GRAPH_NATIVE_API);
  return notes;
}

std::unique_ptr<Descriptor> make_plan(const Descriptor& configuration,
                                      cudnnHandle_t handle,
                                      const Options& options) {
  auto plan = std::make_unique<Descriptor>(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
  plan->set_descriptor(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, configuration);
  if (options.properties != nullptr) {
    plan->set_descriptor(CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, *options.properties);
  } else {
    plan->set(CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, &handle);
  }
  return plan->try_finalize() == CUDNN_STATUS_SUCCESS ? std::move(plan) : nullptr;
}

// A problem with its data on the GPU, and somewhere for results.
class Work {
 public:
  Work(const core::Problem& problem, Filling filling)
      : problem_(problem),
        tensors_(make_tensors(problem, filling)),
        inputs_{tensors_.x.empty() ? nullptr : std::make_unique<Buffer>(tensors_.x),
                tensors_.w.empty() ? nullptr : std::make_unique<Buffer>(tensors_.w),
                tensors_.y.empty() ? nullptr : std::make_unique<Buffer>(tensors_.y)} {}

  [[nodiscard]] std::unique_ptr<Buffer> make_output() const {
    return std::make_unique<Buffer>(bytes_of(computed_tensor(problem_)));
  }
  // x, w and y at the input buffers, the computed one at `output`.
  std::unique_ptr<Descriptor> pack(const Buffer& output, const Buffer& workspace) const {
    std::array<void*, 3> pointers{};
    for (std::size_t i = 0; i < 3; ++i) {
      pointers[i] = inputs_[i] == nullptr ? output.get() : inputs_[i]->get();
    }
    void* space = workspace.get();
    auto made = std::make_unique<Descriptor>(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
    made->set(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, 3, pointers.data());
    made->set_ints(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, {'x', 'w', 'y'});
    made->set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &space);
    made->finalize();
    return made;
  }
  void report(Report& report, const std::string& name, const Buffer& output) const {
    const std::vector<std::byte> bytes = output.content();
    const core::DataType type = computed_tensor(problem_).type;
    report.output(name + ": " + core::format_problem(problem_),
                  hash_of(bytes),
                  deviation(type, bytes, tensors_.expected),
                  tolerance(type));
  }

 private:
  const core::Problem& problem_;
  Tensors tensors_;
  std::array<std::unique_ptr<Buffer>, 3> inputs_;
};

std::size_t workspace_of(const Descriptor& plan) {
  std::int64_t bytes = 0;
  plan.get(CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64, 1, &bytes);
  return static_cast<std::size_t>(std::max<std::int64_t>(bytes, 0));
}

void execute(const Handle& handle, const Descriptor& plan, const Descriptor& pack) {
  example::check(cudnnBackendExecute(handle.get(), plan.get(), pack.get()), "cudnnBackendExecute");
}

// Executions 4 and 8 of a plan are those that the shim puts between events: the fourth is captured
// here, the eighth is not.
void run_directly_and_captured(const Handle& handle,
                               const Work& work,
                               const Descriptor& plan,
                               Report& report) {
  const Buffer workspace(workspace_of(plan));
  const auto output = work.make_output();
  const auto pack = work.pack(*output, workspace);
  for (int i = 0; i < 3; ++i) {
    output->clear();
    execute(handle, plan, *pack);
    handle.synchronise();
  }
  work.report(report, "direct", *output);
  output->clear();
  check_cuda(driver()->begin_capture(handle.stream(), CU_STREAM_CAPTURE_MODE_GLOBAL),
             "cuStreamBeginCapture");
  execute(handle, plan, *pack);
  CUgraph captured = nullptr;
  check_cuda(driver()->end_capture(handle.stream(), &captured), "cuStreamEndCapture");
  Graph(captured).run(handle, 3);
  work.report(report, "captured", *output);
  output->clear();
  for (int i = 0; i < 6; ++i) {
    execute(handle, plan, *pack);
  }
  handle.synchronise();
  work.report(report, "after the capture", *output);
}

// cuDNN's own way to a CUDA graph, and the same graph for other memory. Few engines have it.
bool run_as_native_graph(const Handle& handle,
                         const Work& work,
                         const Descriptor& plan,
                         const std::string& entry,
                         Report& report) {
  const Buffer workspace(workspace_of(plan));
  const auto output = work.make_output();
  const auto other = work.make_output();
  const Graph graph;
  if (cudnnBackendPopulateCudaGraph(
          handle.get(), plan.get(), work.pack(*output, workspace)->get(), graph.get()) !=
      CUDNN_STATUS_SUCCESS) {
    return false;
  }
  graph.run(handle);
  work.report(report, entry + " populated", *output);
  output->clear();
  const cudnnStatus_t updated = cudnnBackendUpdateCudaGraph(
      handle.get(), plan.get(), work.pack(*other, workspace)->get(), graph.get());
  report.expect(updated == CUDNN_STATUS_SUCCESS, entry + " update", cudnnGetErrorString(updated));
  if (updated == CUDNN_STATUS_SUCCESS) {
    graph.run(handle);
    work.report(report, entry + " updated", *other);
  }
  return true;
}

// PyTorch's way with deterministic algorithms: the first that may be used and makes a plan, run
// several times over the same data, whose sums are inexact.
void run_deterministic(const core::Problem& problem, const Handle& handle, Report& report) {
  const Options options;
  const auto graph = example::make_graph(problem, handle.get());
  const std::string name = core::format_problem(problem);
  for (const auto& configuration : ask(*graph, CUDNN_HEUR_MODE_INSTANT, options)) {
    const Notes notes = notes_of(*configuration);
    const auto plan = notes.deterministic && !notes.down_converts
                          ? make_plan(*configuration, handle.get(), options)
                          : nullptr;
    if (plan == nullptr) {
      continue;
    }
    const Work work(problem, Filling::kFractions);
    const Buffer workspace(workspace_of(*plan));
    const auto output = work.make_output();
    const auto pack = work.pack(*output, workspace);
    std::vector<std::byte> first;
    bool same = true;
    for (int i = 0; i < 8; ++i) {
      output->clear();
      execute(handle, *plan, *pack);
      handle.synchronise();
      const std::vector<std::byte> bytes = output->content();
      same = same && (i == 0 || bytes == first);
      first = bytes;
    }
    report.expect(same,
                  "eight runs of a deterministic engine: " + name,
                  "engine " + std::to_string(notes.engine));
    work.report(report, "deterministic", *output);
    return;
  }
  report.expect(false, "a deterministic engine: " + name);
}

// cudnn-frontend: count, fetch, notes of every configuration, every plan; each is run.
void use_whole_list(const core::Problem& problem,
                    cudnnBackendHeurMode_t mode,
                    const Handle* handle,
                    const Options& options,
                    Report& report) {
  const std::string name = core::format_problem(problem);
  const auto graph = example::make_graph(problem, handle == nullptr ? nullptr : handle->get());
  const Configurations configurations = ask(*graph, mode, options);
  std::size_t planned = 0;
  std::size_t native = 0;
  std::size_t graphs = 0;
  std::string engines;
  std::optional<Work> work;
  if (handle != nullptr) {
    work.emplace(problem, Filling::kWhole);
  }
  const auto started = std::chrono::steady_clock::now();
  std::size_t tried = 0;
  for (; tried < configurations.size(); ++tried) {
    const std::size_t i = tried;
    if (i >= kAlwaysBuilt && std::chrono::steady_clock::now() - started > kBuildingLimit) {
      break;
    }
    const Notes notes = notes_of(*configurations[i]);
    engines += (i == 0 ? "" : " ") + std::to_string(notes.engine);
    const auto plan =
        make_plan(*configurations[i], handle == nullptr ? nullptr : handle->get(), options);
    if (plan == nullptr) {
      continue;
    }
    ++planned;
    native += notes.native_graph ? 1 : 0;
    if (handle == nullptr) {
      continue;
    }
    const Buffer workspace(workspace_of(*plan));
    const auto output = work->make_output();
    execute(*handle, *plan, *work->pack(*output, workspace));
    handle->synchronise();
    const std::string entry = "mode " + std::to_string(mode) + " entry " + std::to_string(i);
    work->report(report, entry, *output);
    graphs +=
        notes.native_graph && run_as_native_graph(*handle, *work, *plan, entry, report) ? 1 : 0;
  }
  report.expect(
      planned > 0 && (planned == tried || !options.under_shim || mode == CUDNN_HEUR_MODE_FALLBACK),
      std::string("whole list, mode ") + std::to_string(mode) + ": " + name,
      std::to_string(planned) + " of " + std::to_string(tried) + " tried and " +
          std::to_string(configurations.size()) + " listed make a plan, " + std::to_string(graphs) +
          " of " + std::to_string(native) + " a graph; engines " + engines);
}

void use_first(const core::Problem& problem,
               const Handle& handle,
               const Options& options,
               Report& report) {
  const auto graph = example::make_graph(problem, handle.get());
  for (const auto& configuration : ask(*graph, CUDNN_HEUR_MODE_INSTANT, options)) {
    if (const auto plan = make_plan(*configuration, handle.get(), options)) {
      const Work work(problem, Filling::kWhole);
      run_directly_and_captured(handle, work, *plan, report);
      return;
    }
  }
  report.expect(false, "a plan: " + core::format_problem(problem));
}

}  // namespace

void check_backend(std::span<const core::Problem> problems,
                   const Options& options,
                   Report& report) {
  if (options.properties != nullptr) {
    for (const core::Problem& problem : problems) {
      use_whole_list(problem, CUDNN_HEUR_MODE_INSTANT, nullptr, options, report);
      use_whole_list(problem, CUDNN_HEUR_MODE_A, nullptr, options, report);
      use_whole_list(problem, CUDNN_HEUR_MODE_FALLBACK, nullptr, options, report);
    }
    return;
  }
  const Handle handle;
  for (const core::Problem& problem : problems) {
    use_first(problem, handle, options, report);
    run_deterministic(problem, handle, report);
  }
  // Building every plan takes seconds: engines that are compiled at run time are among them.
  for (std::size_t i = 0; !options.quick && i < problems.size(); i += 4) {
    use_whole_list(problems[i], CUDNN_HEUR_MODE_A, &handle, options, report);
    // The shim leaves these alone; only here cuDNN lists engines that make CUDA graphs themselves.
    use_whole_list(problems[i], CUDNN_HEUR_MODE_FALLBACK, &handle, options, report);
  }
}

void check_threads(std::span<const core::Problem> problems,
                   const Options& options,
                   Report& report) {
  std::vector<std::jthread> threads;
  for (std::size_t thread = 0; thread < 8; ++thread) {
    threads.emplace_back([&, thread] {
      if (options.properties != nullptr) {
        for (const core::Problem& problem : problems) {
          use_whole_list(problem, CUDNN_HEUR_MODE_A, nullptr, options, report);
        }
        return;
      }
      use_gpu();
      const Handle handle;
      for (std::size_t i = 0; i < problems.size(); ++i) {
        const core::Problem& problem = problems[(i + thread) % problems.size()];
        const auto graph = example::make_graph(problem, handle.get());
        const Work work(problem, Filling::kWhole);
        bool ran = false;
        for (const auto& configuration : ask(*graph, CUDNN_HEUR_MODE_A, options)) {
          const auto plan = make_plan(*configuration, handle.get(), options);
          if (plan == nullptr) {
            continue;
          }
          const Buffer workspace(workspace_of(*plan));
          const auto output = work.make_output();
          const auto pack = work.pack(*output, workspace);
          for (int repeat = 0; repeat < 20; ++repeat) {
            execute(handle, *plan, *pack);
          }
          handle.synchronise();
          work.report(report, "thread " + std::to_string(thread), *output);
          ran = true;
          break;
        }
        report.expect(ran, "thread " + std::to_string(thread) + " has a plan");
      }
    });
  }
}

}  // namespace gpu_check
