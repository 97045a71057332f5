#include "tests/shim/gpu/device.h"

#include "examples/backend.h"

#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>

namespace gpu_check {
namespace {

CUcontext context = nullptr;

template <typename Function>
bool resolve(void* library, const char* name, Function& function) {
  function = reinterpret_cast<Function>(::dlsym(library, name));
  if (function == nullptr) {
    std::fprintf(stderr, "shim_gpu: libcuda has no %s\n", name);
  }
  return function != nullptr;
}

bool load(Driver& driver) {
  void* library = ::dlopen("libcuda.so.1", RTLD_NOW);
  return library != nullptr && resolve(library, "cuInit", driver.init) &&
         resolve(library, "cuDevicePrimaryCtxRetain", driver.retain) &&
         resolve(library, "cuCtxSetCurrent", driver.set_current) &&
         resolve(library, "cuMemAlloc_v2", driver.allocate) &&
         resolve(library, "cuMemFree_v2", driver.free) &&
         resolve(library, "cuMemsetD8_v2", driver.fill) &&
         resolve(library, "cuMemcpyHtoD_v2", driver.upload) &&
         resolve(library, "cuMemcpyDtoH_v2", driver.download) &&
         resolve(library, "cuStreamCreate", driver.create_stream) &&
         resolve(library, "cuStreamDestroy_v2", driver.destroy_stream) &&
         resolve(library, "cuStreamSynchronize", driver.synchronise) &&
         resolve(library, "cuStreamBeginCapture_v2", driver.begin_capture) &&
         resolve(library, "cuStreamEndCapture", driver.end_capture) &&
         resolve(library, "cuGraphCreate", driver.create_graph) &&
         resolve(library, "cuGraphDestroy", driver.destroy_graph) &&
         resolve(library, "cuGraphInstantiateWithFlags", driver.instantiate) &&
         resolve(library, "cuGraphLaunch", driver.launch) &&
         resolve(library, "cuGraphExecDestroy", driver.destroy_executable) &&
         driver.init(0) == CUDA_SUCCESS && driver.retain(&context, 0) == CUDA_SUCCESS &&
         driver.set_current(context) == CUDA_SUCCESS;
}

}  // namespace

const Driver* driver() {
  static Driver found;
  static const bool loaded = load(found);
  return loaded ? &found : nullptr;
}

void use_gpu() {
  check_cuda(driver()->set_current(context), "cuCtxSetCurrent");
}

void check_cuda(CUresult result, const char* what) {
  if (result != CUDA_SUCCESS) {
    std::fprintf(stderr, "shim_gpu: %s: error %d\n", what, static_cast<int>(result));
    std::exit(1);
  }
}

Buffer::Buffer(std::size_t bytes) : bytes_(bytes) {
  if (bytes_ > 0) {
    check_cuda(driver()->allocate(&memory_, bytes_), "cuMemAlloc");
    clear();
  }
}

Buffer::Buffer(std::span<const std::byte> content) : Buffer(content.size()) {
  check_cuda(driver()->upload(memory_, content.data(), content.size()), "cuMemcpyHtoD");
}

Buffer::~Buffer() {
  if (memory_ != 0) {
    (void)driver()->free(memory_);
  }
}

void Buffer::clear() {
  if (bytes_ > 0) {
    check_cuda(driver()->fill(memory_, 0xff, bytes_), "cuMemsetD8");
    check_cuda(driver()->synchronise(nullptr), "cuStreamSynchronize");
  }
}

std::vector<std::byte> Buffer::content() const {
  std::vector<std::byte> bytes(bytes_);
  check_cuda(driver()->download(bytes.data(), memory_, bytes_), "cuMemcpyDtoH");
  return bytes;
}

Handle::Handle() {
  check_cuda(driver()->create_stream(&stream_, CU_STREAM_NON_BLOCKING), "cuStreamCreate");
  example::check(cudnnCreate(&handle_), "cudnnCreate");
  example::check(cudnnSetStream(handle_, reinterpret_cast<cudaStream_t>(stream_)),
                 "cudnnSetStream");
}

Handle::~Handle() {
  (void)cudnnDestroy(handle_);
  (void)driver()->destroy_stream(stream_);
}

void Handle::synchronise() const {
  check_cuda(driver()->synchronise(stream_), "cuStreamSynchronize");
}

Graph::Graph() {
  check_cuda(driver()->create_graph(&graph_, 0), "cuGraphCreate");
}

Graph::~Graph() {
  (void)driver()->destroy_graph(graph_);
}

void Graph::run(const Handle& handle, int times) const {
  CUgraphExec executable = nullptr;
  check_cuda(driver()->instantiate(&executable, graph_, 0), "cuGraphInstantiateWithFlags");
  for (int i = 0; i < times; ++i) {
    check_cuda(driver()->launch(executable, handle.stream()), "cuGraphLaunch");
  }
  handle.synchronise();
  check_cuda(driver()->destroy_executable(executable), "cuGraphExecDestroy");
}

}  // namespace gpu_check
