#include "cudnn/driver.h"

#include "cudnn/driver_functions.h"

#include <dlfcn.h>

#include <array>
#include <cstdlib>

// cuda.h maps names to versioned symbols (cuMemAlloc -> cuMemAlloc_v2): take the mapped one.
#define REFORMER_STRING(name) #name
#define REFORMER_SYMBOL(name) REFORMER_STRING(name)
#define REFORMER_FIND(member, name) find(library, REFORMER_SYMBOL(name), f.member)

namespace reformer::cudnn {
namespace {

template <typename Function>
bool find(void* library, const char* name, Function& function) {
  function = reinterpret_cast<Function>(dlsym(library, name));
  return function != nullptr;
}

bool load(void* library, DriverFunctions& f) {
  return REFORMER_FIND(init, cuInit) && REFORMER_FIND(get_error_name, cuGetErrorName) &&
         REFORMER_FIND(device_get, cuDeviceGet) &&
         REFORMER_FIND(device_get_name, cuDeviceGetName) &&
         REFORMER_FIND(device_get_attribute, cuDeviceGetAttribute) &&
         REFORMER_FIND(device_get_pci_bus_id, cuDeviceGetPCIBusId) &&
         REFORMER_FIND(primary_context_retain, cuDevicePrimaryCtxRetain) &&
         REFORMER_FIND(primary_context_release, cuDevicePrimaryCtxRelease) &&
         REFORMER_FIND(set_current, cuCtxSetCurrent) && REFORMER_FIND(mem_get_info, cuMemGetInfo) &&
         REFORMER_FIND(mem_alloc, cuMemAlloc) && REFORMER_FIND(mem_free, cuMemFree) &&
         REFORMER_FIND(copy_to_device, cuMemcpyHtoD) && REFORMER_FIND(copy_to_host, cuMemcpyDtoH) &&
         REFORMER_FIND(copy_on_device, cuMemcpyDtoDAsync) &&
         REFORMER_FIND(set_bytes, cuMemsetD8Async) &&
         REFORMER_FIND(stream_create, cuStreamCreate) &&
         REFORMER_FIND(stream_destroy, cuStreamDestroy) &&
         REFORMER_FIND(stream_synchronize, cuStreamSynchronize) &&
         REFORMER_FIND(begin_capture, cuStreamBeginCapture) &&
         REFORMER_FIND(end_capture, cuStreamEndCapture) &&
         REFORMER_FIND(graph_instantiate, cuGraphInstantiateWithFlags) &&
         REFORMER_FIND(graph_launch, cuGraphLaunch) &&
         REFORMER_FIND(graph_exec_destroy, cuGraphExecDestroy) &&
         REFORMER_FIND(graph_destroy, cuGraphDestroy) &&
         REFORMER_FIND(event_create, cuEventCreate) &&
         REFORMER_FIND(event_destroy, cuEventDestroy) &&
         REFORMER_FIND(event_record, cuEventRecord) &&
         REFORMER_FIND(event_synchronize, cuEventSynchronize) &&
         REFORMER_FIND(event_elapsed, cuEventElapsedTime);
}

// Numbers, because older headers lack some of the names.
bool leaves_context_unusable(int result) {
  switch (result) {
    case 201:  // INVALID_CONTEXT
    case 214:  // ECC_UNCORRECTABLE
    case 220:  // NVLINK_UNCORRECTABLE
    case 226:  // CONTAINED
    case 700:  // ILLEGAL_ADDRESS
    case 702:  // LAUNCH_TIMEOUT
    case 709:  // CONTEXT_IS_DESTROYED
    case 710:  // ASSERT
    case 721:  // TENSOR_MEMORY_LEAK
    case 806:  // MPS_RPC_FAILURE
    case 810:  // MPS_CLIENT_TERMINATED
    case 999:  // UNKNOWN
      return true;
    default:
      return result >= 714 && result <= 719;  // HARDWARE_STACK_ERROR to LAUNCH_FAILED
  }
}

}  // namespace

core::Error cuda_error(const DriverFunctions& functions, const std::string& what, CUresult result) {
  const char* name = nullptr;
  if (functions.get_error_name(result, &name) != CUDA_SUCCESS || name == nullptr) {
    name = "unknown CUDA error";
  }
  core::ErrorCode code = core::ErrorCode::kUnavailable;
  if (result == CUDA_ERROR_OUT_OF_MEMORY) {
    code = core::ErrorCode::kExhausted;
  } else if (leaves_context_unusable(result)) {
    code = core::ErrorCode::kInternal;
  }
  return core::make_error(code, what + ": " + name);
}

Gpu::Gpu() : functions_(std::make_unique<DriverFunctions>()) {}

Gpu::~Gpu() {
  if (context_ != nullptr) {
    functions_->primary_context_release(device_);
  }
}

void turn_compile_cache_off() {
  (void)::setenv("CUDA_CACHE_DISABLE", "1", 0);
}

core::Result<std::shared_ptr<const Gpu>> Gpu::open(int ordinal) {
  void* const library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    return core::make_error(core::ErrorCode::kUnavailable, "no NVIDIA driver (libcuda.so.1)");
  }
  const std::shared_ptr<Gpu> gpu(new Gpu);
  DriverFunctions& f = *gpu->functions_;
  if (!load(library, f)) {
    return core::make_error(core::ErrorCode::kUnsupported, "libcuda.so.1 is too old");
  }
  if (const CUresult result = f.init(0); result != CUDA_SUCCESS) {
    return cuda_error(f, "cuInit", result);
  }
  CUdevice device = 0;
  CUcontext context = nullptr;
  if (const CUresult result = f.device_get(&device, ordinal); result != CUDA_SUCCESS) {
    return cuda_error(f, "GPU " + std::to_string(ordinal), result);
  }
  std::array<char, core::kMaxDeviceNameBytes + 1> name{};
  std::array<char, 32> bus{};
  int major = 0;
  int minor = 0;
  int sms = 0;
  f.device_get_name(name.data(), static_cast<int>(name.size()), device);
  f.device_get_pci_bus_id(bus.data(), static_cast<int>(bus.size()), device);
  f.device_get_attribute(&major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, device);
  f.device_get_attribute(&minor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, device);
  f.device_get_attribute(&sms, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, device);
  if (const CUresult result = f.primary_context_retain(&context, device); result != CUDA_SUCCESS) {
    return cuda_error(f, "cuDevicePrimaryCtxRetain", result);
  }
  gpu->context_ = context;
  gpu->device_ = device;
  gpu->ordinal_ = ordinal;
  gpu->fingerprint_ = {name.data(), major * 10 + minor, sms};
  gpu->pci_bus_id_ = bus.data();
  if (const core::Status current = gpu->make_current(); !current) {
    return current.error();
  }
  return std::shared_ptr<const Gpu>(gpu);
}

core::Status Gpu::make_current() const {
  const CUresult result = functions_->set_current(static_cast<CUcontext>(context_));
  return result == CUDA_SUCCESS ? core::ok_status()
                                : core::Status(cuda_error(*functions_, "cuCtxSetCurrent", result));
}

core::Result<std::size_t> Gpu::free_memory() const {
  std::size_t free_bytes = 0;
  std::size_t total = 0;
  const CUresult result = functions_->mem_get_info(&free_bytes, &total);
  if (result != CUDA_SUCCESS) {
    return cuda_error(*functions_, "cuMemGetInfo", result);
  }
  return free_bytes;
}

}  // namespace reformer::cudnn
