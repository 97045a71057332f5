#include "tests/shim/fake/use.h"

#include <algorithm>
#include <cstdio>

namespace fake_cudnn {
namespace {

int failures = 0;

bool ok(cudnnStatus_t status) {
  return status == CUDNN_STATUS_SUCCESS;
}

bool set_ints(cudnnBackendDescriptor_t descriptor,
              cudnnBackendAttributeName_t name,
              const std::vector<std::int64_t>& values) {
  return ok(cudnnBackendSetAttribute(
      descriptor, name, CUDNN_TYPE_INT64, static_cast<std::int64_t>(values.size()), values.data()));
}

template <typename T>
bool set_one(cudnnBackendDescriptor_t descriptor,
             cudnnBackendAttributeName_t name,
             cudnnBackendAttributeType_t type,
             T value) {
  return ok(cudnnBackendSetAttribute(descriptor, name, type, 1, &value));
}

bool fill_tensor(cudnnBackendDescriptor_t tensor,
                 cudnnDataType_t type,
                 std::int64_t n,
                 std::int64_t c,
                 std::int64_t size) {
  return set_one(tensor, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, type) &&
         set_ints(tensor, CUDNN_ATTR_TENSOR_DIMENSIONS, {n, c, size, size}) &&
         set_ints(tensor, CUDNN_ATTR_TENSOR_STRIDES, {c * size * size, size * size, size, 1}) &&
         set_ints(tensor, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, {16}) &&
         set_ints(tensor, CUDNN_ATTR_TENSOR_UNIQUE_ID, {n * 1000 + size}) &&
         ok(cudnnBackendFinalize(tensor));
}

bool fill_convolution(cudnnBackendDescriptor_t convolution) {
  return set_one(convolution,
                 CUDNN_ATTR_CONVOLUTION_COMP_TYPE,
                 CUDNN_TYPE_DATA_TYPE,
                 CUDNN_DATA_FLOAT) &&
         set_one(convolution,
                 CUDNN_ATTR_CONVOLUTION_CONV_MODE,
                 CUDNN_TYPE_CONVOLUTION_MODE,
                 CUDNN_CROSS_CORRELATION) &&
         set_ints(convolution, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, {2}) &&
         set_ints(convolution, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, {1, 1}) &&
         set_ints(convolution, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, {1, 1}) &&
         set_ints(convolution, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, {1, 1}) &&
         set_ints(convolution, CUDNN_ATTR_CONVOLUTION_DILATIONS, {1, 1}) &&
         ok(cudnnBackendFinalize(convolution));
}

void plan_and_note(cudnnBackendDescriptor_t configuration, Got& got) {
  const cudnnStatus_t status = plan(configuration);
  if (ok(status)) {
    ++got.planned;
    got.engines.push_back(fake_cudnn_engine_of(configuration));
  } else if (ok(got.status)) {
    got.status = status;
  }
}

}  // namespace

void expect(bool holds, const std::string& what) {
  if (!holds) {
    ++failures;
    std::fprintf(stderr, "fake application: %s\n", what.c_str());
  }
}

int finish() {
  return failures == 0 ? 0 : 1;
}

Graph::Graph(std::int64_t n, cudnnDataType_t type, cudnnHandle_t handle) {
  constexpr cudnnBackendDescriptorType_t kTypes[] = {
      CUDNN_BACKEND_TENSOR_DESCRIPTOR,
      CUDNN_BACKEND_TENSOR_DESCRIPTOR,
      CUDNN_BACKEND_TENSOR_DESCRIPTOR,
      CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR,
      CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
      CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR};
  parts_.reserve(std::size(kTypes));
  for (const cudnnBackendDescriptorType_t kind : kTypes) {
    cudnnBackendDescriptor_t part = nullptr;
    complete_ = complete_ && ok(cudnnBackendCreateDescriptor(kind, &part));
    if (part != nullptr) {
      parts_.push_back(part);
    }
  }
  if (!complete_) {
    return;
  }
  cudnnBackendDescriptor_t operation = parts_[4];
  const cudnnBackendAttributeName_t names[] = {CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
                                               CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
                                               CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
                                               CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC};
  complete_ = fill_tensor(parts_[0], type, n, 32, 16) && fill_tensor(parts_[1], type, 64, 32, 3) &&
              fill_tensor(parts_[2], type, n, 64, 16) && fill_convolution(parts_[3]);
  for (std::size_t i = 0; i < 4; ++i) {
    complete_ = complete_ && set_one(operation, names[i], CUDNN_TYPE_BACKEND_DESCRIPTOR, parts_[i]);
  }
  if (handle != nullptr) {
    complete_ =
        complete_ && set_one(get(), CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, handle);
  }
  complete_ =
      complete_ && ok(cudnnBackendFinalize(operation)) &&
      set_one(get(), CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, operation) &&
      ok(cudnnBackendFinalize(get()));
}

Graph::~Graph() {
  for (const cudnnBackendDescriptor_t part : parts_) {
    (void)cudnnBackendDestroyDescriptor(part);
  }
}

cudnnBackendDescriptor_t device_properties() {
  static cudnnBackendDescriptor_t made = [] {
    static constexpr char kJson[] =
        R"({"deviceVer":900,"smVersion":900,"multiProcessorCount":132,"deviceName":"NVIDIA H200"})";
    cudnnBackendDescriptor_t properties = nullptr;
    (void)cudnnBackendCreateDescriptor(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR, &properties);
    (void)cudnnBackendSetAttribute(properties,
                                   CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION,
                                   CUDNN_TYPE_CHAR,
                                   sizeof kJson - 1,
                                   kJson);
    (void)cudnnBackendFinalize(properties);
    return properties;
  }();
  return made;
}

Query::Query(const Graph& graph,
             cudnnBackendHeurMode_t mode,
             int configurations,
             cudnnBackendDescriptor_t properties)
    : status_(cudnnBackendCreateDescriptor(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR, &query_)) {
  if (!ok(status_)) {
    query_ = nullptr;
    return;
  }
  if (!set_one(query_,
               CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH,
               CUDNN_TYPE_BACKEND_DESCRIPTOR,
               graph.get()) ||
      !set_one(query_, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, mode) ||
      (properties != nullptr &&
       !set_one(
           query_, CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, CUDNN_TYPE_BACKEND_DESCRIPTOR, properties)) ||
      !ok(cudnnBackendFinalize(query_))) {
    status_ = CUDNN_STATUS_INTERNAL_ERROR;
    return;
  }
  for (int i = 0; i < configurations; ++i) {
    cudnnBackendDescriptor_t configuration = nullptr;
    if (ok(cudnnBackendCreateDescriptor(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, &configuration))) {
      configurations_.push_back(configuration);
    }
  }
}

Query::~Query() {
  if (query_ != nullptr) {
    (void)cudnnBackendDestroyDescriptor(query_);
  }
  for (const cudnnBackendDescriptor_t configuration : configurations_) {
    if (configuration != nullptr) {
      (void)cudnnBackendDestroyDescriptor(configuration);
    }
  }
}

std::int64_t Query::fetch() {
  std::int64_t filled = 0;
  status_ = cudnnBackendGetAttribute(query_,
                                     CUDNN_ATTR_ENGINEHEUR_RESULTS,
                                     CUDNN_TYPE_BACKEND_DESCRIPTOR,
                                     static_cast<std::int64_t>(configurations_.size()),
                                     &filled,
                                     configurations_.data());
  return ok(status_) ? filled : -1;
}

cudnnStatus_t plan(cudnnBackendDescriptor_t configuration, cudnnHandle_t handle) {
  cudnnBackendDescriptor_t made = nullptr;
  cudnnStatus_t status =
      cudnnBackendCreateDescriptor(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR, &made);
  if (!ok(status)) {
    return status;
  }
  status = cudnnBackendSetAttribute(made,
                                    CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG,
                                    CUDNN_TYPE_BACKEND_DESCRIPTOR,
                                    1,
                                    &configuration);
  if (handle != nullptr && ok(status)) {
    status = cudnnBackendSetAttribute(
        made, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, &handle);
  }
  status = ok(status) ? cudnnBackendFinalize(made) : status;
  status = ok(status) ? cudnnBackendExecute(nullptr, made, nullptr) : status;
  (void)cudnnBackendDestroyDescriptor(made);
  return status;
}

Got use(const Graph& graph, cudnnBackendHeurMode_t mode, int most) {
  Got got;
  Query query(graph, mode, most);
  got.status = query.status();
  if (!ok(got.status)) {
    return got;
  }
  got.status = cudnnBackendGetAttribute(query.get(),
                                        CUDNN_ATTR_ENGINEHEUR_RESULTS,
                                        CUDNN_TYPE_BACKEND_DESCRIPTOR,
                                        0,
                                        &got.count,
                                        nullptr);
  if (!ok(got.status)) {
    return got;
  }
  got.filled = std::max<std::int64_t>(query.fetch(), 0);
  got.status = query.status();
  const std::vector<cudnnBackendDescriptor_t>& configurations = query.configurations();
  const std::int64_t usable =
      std::min(got.filled, static_cast<std::int64_t>(configurations.size()));
  for (std::int64_t i = 0; i < usable; ++i) {
    plan_and_note(configurations[static_cast<std::size_t>(i)], got);
  }
  return got;
}

Got use(std::int64_t n, cudnnDataType_t type) {
  const Graph graph(n, type);
  if (graph.complete()) {
    return use(graph);
  }
  Got got;
  got.status = CUDNN_STATUS_BAD_PARAM;
  return got;
}

bool served(const Got& got) {
  return !got.engines.empty() && got.engines.front() < kOwnEngine;
}

}  // namespace fake_cudnn
