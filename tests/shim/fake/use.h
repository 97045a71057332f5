#pragma once

#include "tests/shim/fake/fake_cudnn.h"

#include <array>
#include <cstdint>
#include <string>
#include <vector>

// An application's calls of cuDNN, for the fake library.
namespace fake_cudnn {

// Says on stderr what is not as it should be; finish() is the exit code.
void expect(bool ok, const std::string& what);
int finish();

// A forward convolution of batch `n`, so that every n is a problem of its own.
class Graph {
 public:
  Graph(std::int64_t n, cudnnDataType_t type = CUDNN_DATA_HALF, cudnnHandle_t handle = nullptr);
  ~Graph();
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;
  [[nodiscard]] cudnnBackendDescriptor_t get() const { return parts_.back(); }
  [[nodiscard]] bool complete() const { return complete_; }

 private:
  std::vector<cudnnBackendDescriptor_t> parts_;
  bool complete_ = true;
};

// The device properties of an H200, made at the first call.
cudnnBackendDescriptor_t device_properties();

// A finalised heuristics query of a graph, and configurations to fetch into.
class Query {
 public:
  // Without device properties it is about the GPU of the graph's handle.
  Query(const Graph& graph,
        cudnnBackendHeurMode_t mode,
        int configurations,
        cudnnBackendDescriptor_t properties = device_properties());
  ~Query();
  Query(const Query&) = delete;
  Query& operator=(const Query&) = delete;
  [[nodiscard]] cudnnBackendDescriptor_t get() const { return query_; }
  [[nodiscard]] std::vector<cudnnBackendDescriptor_t>& configurations() { return configurations_; }
  // What went wrong before fetching.
  [[nodiscard]] cudnnStatus_t status() const { return status_; }
  // How many of the configurations were filled; -1 if the call failed.
  std::int64_t fetch();

 private:
  cudnnBackendDescriptor_t query_ = nullptr;
  std::vector<cudnnBackendDescriptor_t> configurations_;
  cudnnStatus_t status_;
};
// Makes a plan of a configuration and executes it.
cudnnStatus_t plan(cudnnBackendDescriptor_t configuration, cudnnHandle_t handle = nullptr);

// What an application got from one heuristics query.
struct Got {
  cudnnStatus_t status = CUDNN_STATUS_SUCCESS;  // the first that failed
  std::int64_t count = 0;                       // as said when counting
  std::int64_t filled = 0;                      // as said when fetching
  std::vector<std::int64_t> engines;            // of those of which a plan was made
  std::size_t planned = 0;
};
// Count, fetch into at most `most`, then a plan of every configuration, which is executed once.
Got use(const Graph& graph, cudnnBackendHeurMode_t mode = CUDNN_HEUR_MODE_A, int most = 16);
Got use(std::int64_t n, cudnnDataType_t type = CUDNN_DATA_HALF);
// Whether the first engine is one of the daemon's, not of cuDNN's own list.
bool served(const Got& got);

}  // namespace fake_cudnn
