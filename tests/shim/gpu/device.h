#pragma once

#include <cudnn.h>

#include <cuda.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

// The GPU as an application without the CUDA runtime sees it: the driver library, loaded at run
// time, because there may be none.
namespace gpu_check {

// Functions of libcuda.so.1; all null before load().
struct Driver {
  decltype(&::cuInit) init = nullptr;
  decltype(&::cuDevicePrimaryCtxRetain) retain = nullptr;
  decltype(&::cuCtxSetCurrent) set_current = nullptr;
  decltype(&::cuMemAlloc) allocate = nullptr;
  decltype(&::cuMemFree) free = nullptr;
  decltype(&::cuMemsetD8) fill = nullptr;
  decltype(&::cuMemcpyHtoD) upload = nullptr;
  decltype(&::cuMemcpyDtoH) download = nullptr;
  decltype(&::cuStreamCreate) create_stream = nullptr;
  decltype(&::cuStreamDestroy) destroy_stream = nullptr;
  decltype(&::cuStreamSynchronize) synchronise = nullptr;
  decltype(&::cuStreamBeginCapture) begin_capture = nullptr;
  decltype(&::cuStreamEndCapture) end_capture = nullptr;
  decltype(&::cuGraphCreate) create_graph = nullptr;
  decltype(&::cuGraphDestroy) destroy_graph = nullptr;
  decltype(&::cuGraphInstantiateWithFlags) instantiate = nullptr;
  decltype(&::cuGraphLaunch) launch = nullptr;
  decltype(&::cuGraphExecDestroy) destroy_executable = nullptr;
};

// The driver with a current context of the first GPU; null if there is none. Every thread that uses
// it calls use_gpu() first.
const Driver* driver();
void use_gpu();

// Ends the program with a message if a call failed.
void check_cuda(CUresult result, const char* what);

// Device memory; may be empty.
class Buffer {
 public:
  explicit Buffer(std::size_t bytes);
  explicit Buffer(std::span<const std::byte> content);
  ~Buffer();
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  [[nodiscard]] void* get() const { return reinterpret_cast<void*>(memory_); }
  [[nodiscard]] std::size_t bytes() const { return bytes_; }
  void clear();  // to bytes that are NaN as floats
  [[nodiscard]] std::vector<std::byte> content() const;

 private:
  CUdeviceptr memory_ = 0;
  std::size_t bytes_ = 0;
};

// A stream of its own and a handle of cuDNN that works on it.
class Handle {
 public:
  Handle();
  ~Handle();
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  [[nodiscard]] cudnnHandle_t get() const { return handle_; }
  [[nodiscard]] CUstream stream() const { return stream_; }
  void synchronise() const;

 private:
  cudnnHandle_t handle_ = nullptr;
  CUstream stream_ = nullptr;
};

// A CUDA graph.
class Graph {
 public:
  Graph();                                                // an empty one
  explicit Graph(CUgraph captured) : graph_(captured) {}  // takes it over
  ~Graph();
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;
  [[nodiscard]] cudaGraph_t get() const { return reinterpret_cast<cudaGraph_t>(graph_); }
  // Instantiates it, launches it `times` times and waits.
  void run(const Handle& handle, int times = 1) const;

 private:
  CUgraph graph_ = nullptr;
};

}  // namespace gpu_check
