// A plain user of cuDNN's backend API, which knows nothing of reformerd: for each convolution of a
// list it asks cuDNN's heuristic (mode A) for its whole list, takes the first configuration that
// makes a plan, and, with a GPU, runs it. Prints one JSON object a line:
//   problem, config, decision_us (asking and fetching), plan_us, workspace_bytes, time_us (null
//   without a GPU), choices (how many configurations were on offer).
//
//   reformer_example [--device-prop FILE] [--repeat N] LIST
//
// --device-prop: device properties in JSON to use instead of a GPU; nothing is executed then.
// LIST: one convolution a line in the form of docs/problems.md; '#' begins a comment.
#include "examples/backend.h"
#include "examples/gpu.h"
#include "examples/graph.h"

#include "core/engine_config.h"
#include "core/problem_text.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>

namespace example {

void check(cudnnStatus_t status, const char* what) {
  if (status != CUDNN_STATUS_SUCCESS) {
    std::fprintf(stderr, "reformer_example: %s: %s\n", what, cudnnGetErrorString(status));
    std::exit(1);
  }
}

namespace {

namespace core = reformer::core;
using Clock = std::chrono::steady_clock;

double microseconds_since(Clock::time_point start) {
  return std::chrono::duration<double, std::micro>(Clock::now() - start).count();
}

core::EngineConfig read_config(const Descriptor& configuration) {
  Descriptor engine(CUDNN_BACKEND_ENGINE_DESCRIPTOR);
  cudnnBackendDescriptor_t pointer = engine.get();
  configuration.get(CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &pointer);
  std::int64_t index = -1;
  engine.get(CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64, 1, &index);
  core::EngineConfig config(static_cast<std::int32_t>(index));
  std::vector<std::unique_ptr<Descriptor>> choices;
  std::vector<cudnnBackendDescriptor_t> pointers;
  for (std::size_t i = 0; i < core::kMaxKnobs; ++i) {
    choices.push_back(std::make_unique<Descriptor>(CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR));
    pointers.push_back(choices.back()->get());
  }
  const std::int64_t count = configuration.get(CUDNN_ATTR_ENGINECFG_KNOB_CHOICES,
                                               CUDNN_TYPE_BACKEND_DESCRIPTOR,
                                               static_cast<std::int64_t>(pointers.size()),
                                               pointers.data());
  for (std::int64_t i = 0; i < count; ++i) {
    const Descriptor& choice = *choices[static_cast<std::size_t>(i)];
    cudnnBackendKnobType_t type{};
    std::int64_t value = 0;
    choice.get(CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, CUDNN_TYPE_KNOB_TYPE, 1, &type);
    choice.get(CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE, CUDNN_TYPE_INT64, 1, &value);
    (void)config.add_knob({static_cast<std::int32_t>(type), static_cast<std::int32_t>(value)});
  }
  return config;
}

// What the program runs with: a GPU, or the properties of one.
struct Target {
  std::unique_ptr<Gpu> gpu;
  std::unique_ptr<Descriptor> properties;
  int repeat = 20;
};

// The heuristic's list for one graph.
class Heuristic {
 public:
  Heuristic(const Descriptor& graph, const Target& target)
      : query_(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR) {
    const cudnnBackendHeurMode_t mode = CUDNN_HEUR_MODE_A;
    query_.set_descriptor(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph);
    query_.set(CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode);
    if (target.properties != nullptr) {
      query_.set_descriptor(CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, *target.properties);
    }
    query_.finalize();
    count_ = query_.get(CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, 0, nullptr);
  }
  [[nodiscard]] std::int64_t count() const { return count_; }
  std::vector<std::unique_ptr<Descriptor>> fetch() {
    std::vector<std::unique_ptr<Descriptor>> configurations;
    std::vector<cudnnBackendDescriptor_t> pointers;
    for (std::int64_t i = 0; i < count_; ++i) {
      configurations.push_back(std::make_unique<Descriptor>(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR));
      pointers.push_back(configurations.back()->get());
    }
    const std::int64_t fetched = query_.get(CUDNN_ATTR_ENGINEHEUR_RESULTS,
                                            CUDNN_TYPE_BACKEND_DESCRIPTOR,
                                            static_cast<std::int64_t>(pointers.size()),
                                            pointers.data());
    configurations.resize(static_cast<std::size_t>(fetched));
    return configurations;
  }

 private:
  Descriptor query_;
  std::int64_t count_ = 0;
};

std::unique_ptr<Descriptor> make_plan(const Descriptor& configuration, const Target& target) {
  auto plan = std::make_unique<Descriptor>(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
  plan->set_descriptor(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, configuration);
  if (target.properties != nullptr) {
    plan->set_descriptor(CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, *target.properties);
  } else {
    cudnnHandle_t handle = target.gpu->handle();
    plan->set(CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, &handle);
  }
  return plan->try_finalize() == CUDNN_STATUS_SUCCESS ? std::move(plan) : nullptr;
}

std::size_t bytes_of(const core::TensorSpec& tensor) {
  std::int64_t elements = 1;
  for (std::size_t axis = 0; axis < core::kTensorAxes; ++axis) {
    elements += (tensor.dims[axis] - 1) * tensor.strides[axis];
  }
  return static_cast<std::size_t>(elements) * static_cast<std::size_t>(core::size_of(tensor.type));
}

bool run_problem(const core::Problem& problem, const Target& target) {
  const std::string text = core::format_problem(problem);
  const auto graph = make_graph(problem, target.gpu ? target.gpu->handle() : nullptr);
  const auto asked = Clock::now();
  Heuristic heuristic(*graph, target);
  const auto configurations = heuristic.fetch();
  const double decision_us = microseconds_since(asked);
  std::unique_ptr<Descriptor> plan;
  std::size_t chosen = 0;
  double plan_us = 0;
  for (; chosen < configurations.size(); ++chosen) {
    const auto started = Clock::now();
    plan = make_plan(*configurations[chosen], target);
    plan_us = microseconds_since(started);
    if (plan != nullptr) {
      break;
    }
  }
  if (plan == nullptr) {
    std::fprintf(stderr, "reformer_example: %s: no configuration makes a plan\n", text.c_str());
    return false;
  }
  std::int64_t workspace = 0;
  plan->get(CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64, 1, &workspace);
  const std::string config = core::format_engine_config(read_config(*configurations[chosen]));
  std::string time = "null";
  if (target.gpu != nullptr) {
    const double us =
        target.gpu->time(plan->get(),
                         {bytes_of(problem.x), bytes_of(problem.w), bytes_of(problem.y)},
                         static_cast<std::size_t>(workspace),
                         target.repeat);
    if (us < 0) {
      std::fprintf(stderr, "reformer_example: %s: did not run\n", text.c_str());
      return false;
    }
    time = std::to_string(us);
  }
  std::printf(
      "{\"problem\":\"%s\",\"config\":\"%s\",\"decision_us\":%.1f,\"plan_us\":%.1f,"
      "\"workspace_bytes\":%lld,\"time_us\":%s,\"choices\":%lld}\n",
      text.c_str(),
      config.c_str(),
      decision_us,
      plan_us,
      static_cast<long long>(workspace),
      time.c_str(),
      static_cast<long long>(heuristic.count()));
  std::fflush(stdout);
  return true;
}

std::unique_ptr<Descriptor> read_properties(const char* path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  const std::string json = text.str();
  if (!file || json.empty()) {
    std::fprintf(stderr, "reformer_example: %s: cannot be read\n", path);
    std::exit(1);
  }
  return device_properties(json);
}

int run_list(const char* path, const Target& target) {
  std::ifstream file(path);
  if (!file) {
    std::fprintf(stderr, "reformer_example: %s: cannot be read\n", path);
    return 1;
  }
  bool ok = true;
  int number = 0;
  for (std::string line; std::getline(file, line);) {
    ++number;
    line.erase(std::min(line.find('#'), line.size()));
    if (line.find_first_not_of(" \t\r") == std::string::npos) {
      continue;
    }
    const auto problem = core::parse_problem(line);
    if (!problem) {
      std::fprintf(
          stderr, "reformer_example: %s:%d: %s\n", path, number, problem.error().message.c_str());
      return 1;
    }
    ok = run_problem(*problem, target) && ok;
  }
  return ok ? 0 : 1;
}

}  // namespace
}  // namespace example

int main(int argc, char** argv) {
  const char* list = nullptr;
  const char* properties = nullptr;
  example::Target target;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--device-prop") == 0 && i + 1 < argc) {
      properties = argv[++i];
    } else if (std::strcmp(argv[i], "--repeat") == 0 && i + 1 < argc) {
      target.repeat = std::max(1, std::atoi(argv[++i]));
    } else if (argv[i][0] != '-' && list == nullptr) {
      list = argv[i];
    } else {
      list = nullptr;
      break;
    }
  }
  if (list == nullptr) {
    std::fprintf(stderr, "usage: reformer_example [--device-prop FILE] [--repeat N] LIST\n");
    return 2;
  }
  if (properties != nullptr) {
    target.properties = example::read_properties(properties);
  } else if ((target.gpu = example::Gpu::find()) == nullptr) {
    std::fprintf(stderr, "reformer_example: no GPU here; use --device-prop FILE\n");
    return 1;
  }
  return example::run_list(list, target);
}
