#include "tests/shim/consumer.h"

#include "examples/graph.h"

#include "core/problem_text.h"

#include <array>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace {

namespace core = reformer::core;

std::atomic<int> failures{0};

void expect(bool ok, const std::string& what) {
  if (!ok) {
    ++failures;
    std::fprintf(stderr, "consumer: %s\n", what.c_str());
  }
}

class Descriptor {
 public:
  Descriptor(const CudnnTable& cudnn, cudnnBackendDescriptorType_t type) : cudnn_(cudnn) {
    expect(cudnn.create(type, &descriptor_) == CUDNN_STATUS_SUCCESS, "create");
  }
  Descriptor(Descriptor&& other) noexcept
      : cudnn_(other.cudnn_), descriptor_(std::exchange(other.descriptor_, nullptr)) {}
  Descriptor& operator=(Descriptor&&) = delete;
  ~Descriptor() {
    if (descriptor_ != nullptr) {
      cudnn_.destroy(descriptor_);
    }
  }
  [[nodiscard]] const cudnnBackendDescriptor_t& get() const { return descriptor_; }
  bool set(cudnnBackendAttributeName_t name,
           cudnnBackendAttributeType_t type,
           std::int64_t count,
           const void* values) {
    const bool ok = cudnn_.set(descriptor_, name, type, count, values) == CUDNN_STATUS_SUCCESS;
    expect(ok, "set " + std::to_string(name));
    return ok;
  }
  template <typename T>
  void set_one(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, T value) {
    set(name, type, 1, &value);
  }
  void set_ints(cudnnBackendAttributeName_t name, const std::vector<std::int64_t>& values) {
    set(name, CUDNN_TYPE_INT64, static_cast<std::int64_t>(values.size()), values.data());
  }
  bool finalize() { return cudnn_.finalize(descriptor_) == CUDNN_STATUS_SUCCESS; }

 private:
  const CudnnTable& cudnn_;
  cudnnBackendDescriptor_t descriptor_ = nullptr;
};

cudnnDataType_t data_type(core::DataType type) {
  return type == core::DataType::kF16    ? CUDNN_DATA_HALF
         : type == core::DataType::kBf16 ? CUDNN_DATA_BFLOAT16
                                         : CUDNN_DATA_FLOAT;
}

// 2-D problems only.
template <typename Array>
std::vector<std::int64_t> flat(const Array& values) {
  std::vector<std::int64_t> chosen(values.begin(), values.end());
  chosen.erase(chosen.end() - 3);
  return chosen;
}

Descriptor make_tensor(const CudnnTable& cudnn, const core::TensorSpec& spec, std::int64_t uid) {
  Descriptor tensor(cudnn, CUDNN_BACKEND_TENSOR_DESCRIPTOR);
  tensor.set_one(CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, data_type(spec.type));
  tensor.set_ints(CUDNN_ATTR_TENSOR_DIMENSIONS, flat(spec.dims));
  tensor.set_ints(CUDNN_ATTR_TENSOR_STRIDES, flat(spec.strides));
  tensor.set_ints(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, {spec.alignment});
  tensor.set_ints(CUDNN_ATTR_TENSOR_UNIQUE_ID, {uid});
  expect(tensor.finalize(), "finalise tensor");
  return tensor;
}

Descriptor make_graph(const CudnnTable& cudnn, const core::Problem& problem) {
  const Descriptor x = make_tensor(cudnn, problem.x, 'x');
  const Descriptor w = make_tensor(cudnn, problem.w, 'w');
  const Descriptor y = make_tensor(cudnn, problem.y, 'y');
  Descriptor convolution(cudnn, CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
  convolution.set_one(
      CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, data_type(problem.compute_type));
  convolution.set_one(
      CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, CUDNN_CROSS_CORRELATION);
  convolution.set_ints(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, {2});
  convolution.set_ints(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, flat(problem.pad_before));
  convolution.set_ints(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, flat(problem.pad_after));
  convolution.set_ints(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, flat(problem.stride));
  convolution.set_ints(CUDNN_ATTR_CONVOLUTION_DILATIONS, flat(problem.dilation));
  expect(convolution.finalize(), "finalise convolution");
  const example::OperationNames& names =
      example::kOperations.at(static_cast<std::size_t>(problem.operation));
  Descriptor operation(cudnn, names.type);
  const Descriptor* parts[] = {&convolution, &x, &w, &y};
  for (std::size_t i = 0; i < 4; ++i) {
    operation.set(names.attributes[i], CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &parts[i]->get());
  }
  operation.set_one(names.attributes[4], CUDNN_TYPE_FLOAT, 1.0F);
  operation.set_one(names.attributes[5], CUDNN_TYPE_FLOAT, 0.0F);
  expect(operation.finalize(), "finalise operation");
  Descriptor graph(cudnn, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
  graph.set(CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &operation.get());
  expect(graph.finalize(), "finalise graph");
  return graph;
}

struct Fetched {
  std::vector<Descriptor> configurations;
  std::vector<cudnnBackendDescriptor_t> pointers;
  std::int64_t count = 0;
};

// The whole list, by a count and a fetch.
Fetched fetch(const CudnnTable& cudnn, const Descriptor& graph, const Descriptor& properties) {
  Descriptor query(cudnn, CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
  query.set(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &graph.get());
  query.set_one(CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, CUDNN_HEUR_MODE_A);
  query.set(CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &properties.get());
  expect(query.finalize(), "finalise heuristics");
  std::int64_t count = -1;
  expect(cudnn.get(query.get(),
                   CUDNN_ATTR_ENGINEHEUR_RESULTS,
                   CUDNN_TYPE_BACKEND_DESCRIPTOR,
                   0,
                   &count,
                   nullptr) == CUDNN_STATUS_SUCCESS &&
             count > 0,
         "count");
  Fetched fetched;
  for (std::int64_t i = 0; i < count; ++i) {
    fetched.configurations.emplace_back(cudnn, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
    fetched.pointers.push_back(fetched.configurations.back().get());
  }
  expect(cudnn.get(query.get(),
                   CUDNN_ATTR_ENGINEHEUR_RESULTS,
                   CUDNN_TYPE_BACKEND_DESCRIPTOR,
                   count,
                   &fetched.count,
                   fetched.pointers.data()) == CUDNN_STATUS_SUCCESS &&
             fetched.count > 0 && fetched.count <= count,
         "fetch");
  fetched.pointers.resize(static_cast<std::size_t>(fetched.count));
  // A list goes into a configuration once.
  expect(cudnn.get(query.get(),
                   CUDNN_ATTR_ENGINEHEUR_RESULTS,
                   CUDNN_TYPE_BACKEND_DESCRIPTOR,
                   fetched.count,
                   &count,
                   fetched.pointers.data()) == CUDNN_STATUS_SUCCESS &&
             count == 0,
         "fetch into filled configurations");
  return fetched;
}

std::int64_t engine_of(const CudnnTable& cudnn, cudnnBackendDescriptor_t configuration) {
  Descriptor engine(cudnn, CUDNN_BACKEND_ENGINE_DESCRIPTOR);
  cudnnBackendDescriptor_t pointer = engine.get();
  std::int64_t count = 0;
  if (cudnn.get(configuration,
                CUDNN_ATTR_ENGINECFG_ENGINE,
                CUDNN_TYPE_BACKEND_DESCRIPTOR,
                1,
                &count,
                &pointer) != CUDNN_STATUS_SUCCESS) {
    return -1;
  }
  std::array<cudnnBackendNumericalNote_t, 32> notes{};
  expect(cudnn.get(pointer,
                   CUDNN_ATTR_ENGINE_NUMERICAL_NOTE,
                   CUDNN_TYPE_NUMERICAL_NOTE,
                   static_cast<std::int64_t>(notes.size()),
                   &count,
                   notes.data()) == CUDNN_STATUS_SUCCESS,
         "notes");
  std::int64_t index = -1;
  expect(cudnn.get(pointer, CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64, 1, &count, &index) ==
             CUDNN_STATUS_SUCCESS,
         "engine index");
  return index;
}

bool makes_plan(const CudnnTable& cudnn,
                cudnnBackendDescriptor_t configuration,
                const Descriptor& properties) {
  Descriptor plan(cudnn, CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
  return plan.set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG,
                  CUDNN_TYPE_BACKEND_DESCRIPTOR,
                  1,
                  &configuration) &&
         plan.set(CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP,
                  CUDNN_TYPE_BACKEND_DESCRIPTOR,
                  1,
                  &properties.get()) &&
         plan.finalize();
}

void consume_problem(const CudnnTable& cudnn,
                     const core::Problem& problem,
                     const Descriptor& properties,
                     bool print) {
  const std::string text = core::format_problem(problem);
  std::vector<std::int64_t> first_answer;
  for (int round = 0; round < 2; ++round) {
    // The graph goes first in one round, the plans in the other: both orders are allowed.
    auto graph = std::make_unique<Descriptor>(make_graph(cudnn, problem));
    const Fetched fetched = fetch(cudnn, *graph, properties);
    if (round == 1) {
      graph.reset();
    }
    std::vector<std::int64_t> answer;
    for (const cudnnBackendDescriptor_t configuration : fetched.pointers) {
      answer.push_back(engine_of(cudnn, configuration));
      expect(answer.back() >= 0 && makes_plan(cudnn, configuration, properties),
             text + ": entry " + std::to_string(answer.size() - 1) + " makes no plan");
    }
    expect(round == 0 || answer == first_answer, text + ": two answers differ");
    first_answer = answer;
  }
  if (print) {
    std::printf("{\"problem\":\"%s\",\"config\":\"%lld\",\"choices\":%zu}\n",
                text.c_str(),
                static_cast<long long>(first_answer.at(0)),
                first_answer.size());
  }
}

}  // namespace

int consume(const CudnnTable& cudnn, const char* device_properties, const char* list, int threads) {
  std::stringstream json;
  json << std::ifstream(device_properties).rdbuf();
  const std::string text = json.str();
  Descriptor properties(cudnn, CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR);
  properties.set(CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION,
                 CUDNN_TYPE_CHAR,
                 static_cast<std::int64_t>(text.size()),
                 text.data());
  expect(properties.finalize(), "device properties");
  std::vector<core::Problem> problems;
  std::ifstream file(list);
  for (std::string line; std::getline(file, line);) {
    if (!line.empty() && line[0] != '#') {
      problems.push_back(*core::parse_problem(line));
    }
  }
  std::vector<std::jthread> workers;
  for (int worker = 0; worker < threads; ++worker) {
    workers.emplace_back([&, worker] {
      for (const core::Problem& problem : problems) {
        consume_problem(cudnn, problem, properties, worker == 0);
      }
    });
  }
  workers.clear();
  return failures;
}
