#include "examples/gpu.h"

#include "examples/backend.h"

#include <cuda.h>
#include <dlfcn.h>

#include <vector>

namespace example {

struct Gpu::Driver {
  void* library = nullptr;
  decltype(&::cuInit) init = nullptr;
  decltype(&::cuDevicePrimaryCtxRetain) retain = nullptr;
  decltype(&::cuCtxSetCurrent) set_current = nullptr;
  decltype(&::cuMemAlloc) allocate = nullptr;
  decltype(&::cuMemFree) free = nullptr;
  decltype(&::cuMemsetD8) fill = nullptr;
  decltype(&::cuEventCreate) create_event = nullptr;
  decltype(&::cuEventRecord) record = nullptr;
  decltype(&::cuEventSynchronize) synchronise = nullptr;
  decltype(&::cuEventElapsedTime) elapsed = nullptr;
  decltype(&::cuEventDestroy) destroy_event = nullptr;

  template <typename Function>
  bool resolve(const char* name, Function& function) {
    function = reinterpret_cast<Function>(::dlsym(library, name));
    return function != nullptr;
  }
  bool load() {
    library = ::dlopen("libcuda.so.1", RTLD_NOW);
    return library != nullptr && resolve("cuInit", init) &&
           resolve("cuDevicePrimaryCtxRetain", retain) && resolve("cuCtxSetCurrent", set_current) &&
           resolve("cuMemAlloc_v2", allocate) && resolve("cuMemFree_v2", free) &&
           resolve("cuMemsetD8_v2", fill) && resolve("cuEventCreate", create_event) &&
           resolve("cuEventRecord", record) && resolve("cuEventSynchronize", synchronise) &&
           resolve("cuEventElapsedTime", elapsed) && resolve("cuEventDestroy_v2", destroy_event);
  }
};

Gpu::Gpu() : driver_(std::make_unique<Driver>()) {}

Gpu::~Gpu() {
  if (handle_ != nullptr) {
    (void)cudnnDestroy(handle_);
  }
}

std::unique_ptr<Gpu> Gpu::find() {
  std::unique_ptr<Gpu> gpu(new Gpu);
  Driver& driver = *gpu->driver_;
  CUcontext context = nullptr;
  if (!driver.load() || driver.init(0) != CUDA_SUCCESS ||
      driver.retain(&context, 0) != CUDA_SUCCESS || driver.set_current(context) != CUDA_SUCCESS ||
      cudnnCreate(&gpu->handle_) != CUDNN_STATUS_SUCCESS) {
    return nullptr;
  }
  return gpu;
}

double Gpu::time(cudnnBackendDescriptor_t plan,
                 const std::array<std::size_t, 3>& tensor_bytes,
                 std::size_t workspace_bytes,
                 int repeat) {
  std::array<CUdeviceptr, 4> memory{};
  std::array<CUevent, 2> events{};
  bool ok = true;
  for (std::size_t i = 0; i < memory.size(); ++i) {
    const std::size_t bytes = i < 3 ? tensor_bytes[i] : workspace_bytes;
    ok = ok && (bytes == 0 || (driver_->allocate(&memory[i], bytes) == CUDA_SUCCESS &&
                               driver_->fill(memory[i], 0, bytes) == CUDA_SUCCESS));
  }
  for (CUevent& event : events) {
    ok = ok && driver_->create_event(&event, CU_EVENT_DEFAULT) == CUDA_SUCCESS;
  }
  double us = -1;
  if (ok) {
    Descriptor pack(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
    std::array<void*, 4> pointers{};
    for (std::size_t i = 0; i < pointers.size(); ++i) {
      pointers[i] = reinterpret_cast<void*>(memory[i]);
    }
    pack.set(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, 3, pointers.data());
    pack.set_ints(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, {'x', 'w', 'y'});
    pack.set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &pointers[3]);
    pack.finalize();
    ok = cudnnBackendExecute(handle_, plan, pack.get()) == CUDNN_STATUS_SUCCESS;  // warm
    ok = ok && driver_->record(events[0], nullptr) == CUDA_SUCCESS;
    for (int i = 0; ok && i < repeat; ++i) {
      ok = cudnnBackendExecute(handle_, plan, pack.get()) == CUDNN_STATUS_SUCCESS;
    }
    float ms = 0;
    if (ok && driver_->record(events[1], nullptr) == CUDA_SUCCESS &&
        driver_->synchronise(events[1]) == CUDA_SUCCESS &&
        driver_->elapsed(&ms, events[0], events[1]) == CUDA_SUCCESS) {
      us = static_cast<double>(ms) * 1000 / repeat;
    }
  }
  for (const CUevent event : events) {
    if (event != nullptr) {
      (void)driver_->destroy_event(event);
    }
  }
  for (const CUdeviceptr pointer : memory) {
    if (pointer != 0) {
      (void)driver_->free(pointer);
    }
  }
  return us;
}

}  // namespace example
