#include "cudnn/nvml.h"

#include <dlfcn.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <iterator>
#include <utility>

namespace reformer::cudnn {
namespace {

// The few parts of nvml.h that this needs; its ABI is stable.
using Device = void*;
constexpr int kSuccess = 0;
constexpr unsigned kClockSm = 1;
constexpr unsigned kTemperatureGpu = 0;
// SwPowerCap, HwSlowdown, SwThermalSlowdown, HwThermalSlowdown, HwPowerBrakeSlowdown.
constexpr unsigned long long kSlowed = 0x04 | 0x08 | 0x20 | 0x40 | 0x80;
constexpr unsigned kMaxProcesses = 256;
// The driver keeps samples of many seconds.
constexpr std::chrono::milliseconds kFresh{1200};

struct Utilisation {
  unsigned gpu;
  unsigned memory;
};
struct ProcessInfo {
  unsigned pid;
  unsigned long long used_memory;
  unsigned gpu_instance;
  unsigned compute_instance;
};
struct ProcessSample {
  unsigned pid;
  unsigned long long timestamp_us;
  unsigned sm;
  unsigned memory;
  unsigned encoder;
  unsigned decoder;
};

template <typename Function>
bool find(void* library, const char* name, Function& function) {
  function = reinterpret_cast<Function>(dlsym(library, name));
  return function != nullptr;
}

}  // namespace

struct Nvml::Functions {
  int (*init)() = nullptr;
  int (*shutdown)() = nullptr;
  int (*count)(unsigned*) = nullptr;
  int (*by_index)(unsigned, Device*) = nullptr;
  int (*by_bus_id)(const char*, Device*) = nullptr;
  int (*clock)(Device, unsigned, unsigned*) = nullptr;
  int (*temperature)(Device, unsigned, unsigned*) = nullptr;
  int (*throttle_reasons)(Device, unsigned long long*) = nullptr;
  int (*utilisation)(Device, Utilisation*) = nullptr;
  int (*processes)(Device, unsigned*, ProcessInfo*) = nullptr;
  int (*process_use)(Device, ProcessSample*, unsigned*, unsigned long long) = nullptr;

  [[nodiscard]] std::optional<std::vector<std::uint32_t>> processes_of(Device device) const {
    std::array<ProcessInfo, kMaxProcesses> found{};
    unsigned number = kMaxProcesses;
    if (processes == nullptr || processes(device, &number, found.data()) != kSuccess) {
      return std::nullopt;
    }
    std::vector<std::uint32_t> pids;
    for (unsigned i = 0; i < std::min(number, kMaxProcesses); ++i) {
      pids.push_back(found[i].pid);
    }
    return pids;
  }
};

class Nvml::Sensor final : public GpuSensor {
 public:
  Sensor(std::shared_ptr<const Nvml> nvml, Device device)
      : nvml_(std::move(nvml)), device_(device) {}

  GpuReading read() override {
    const Functions& f = *nvml_->functions_;
    GpuReading reading;
    unsigned value = 0;
    if (f.clock(device_, kClockSm, &value) == kSuccess) {
      reading.sm_clock_mhz = static_cast<int>(value);
    }
    if (f.temperature(device_, kTemperatureGpu, &value) == kSuccess) {
      reading.temperature_c = static_cast<int>(value);
    }
    unsigned long long reasons = 0;
    if (f.throttle_reasons != nullptr && f.throttle_reasons(device_, &reasons) == kSuccess) {
      reading.throttled = (reasons & kSlowed) != 0;
    }
    Utilisation utilisation{};
    if (f.utilisation(device_, &utilisation) == kSuccess) {
      reading.utilisation_percent = static_cast<int>(utilisation.gpu);
    }
    reading.processes = f.processes_of(device_);
    reading.uses = uses();
    return reading;
  }

 private:
  std::optional<std::vector<GpuReading::Use>> uses() {
    const Functions& f = *nvml_->functions_;
    constexpr int kNotFound = 6;  // no process has used it
    std::array<ProcessSample, kMaxProcesses> samples{};
    unsigned number = kMaxProcesses;
    if (f.process_use == nullptr) {
      return std::nullopt;
    }
    const int status = f.process_use(device_, samples.data(), &number, last_sample_us_);
    if (status != kSuccess) {
      return status == kNotFound ? std::optional(std::vector<GpuReading::Use>()) : std::nullopt;
    }
    const auto now = std::chrono::system_clock::now().time_since_epoch();
    const auto oldest = static_cast<unsigned long long>(
        std::chrono::duration_cast<std::chrono::microseconds>(now - kFresh).count());
    std::vector<GpuReading::Use> found;
    for (unsigned i = 0; i < std::min(number, kMaxProcesses); ++i) {
      last_sample_us_ = std::max(last_sample_us_, samples[i].timestamp_us);
      if (samples[i].timestamp_us >= oldest) {
        found.push_back({samples[i].pid, samples[i].sm});
      }
    }
    return found;
  }

  std::shared_ptr<const Nvml> nvml_;
  Device device_;
  unsigned long long last_sample_us_ = 0;
};

Nvml::Nvml() : functions_(std::make_unique<Functions>()) {}

Nvml::~Nvml() {
  if (functions_->shutdown != nullptr) {
    functions_->shutdown();
  }
}

core::Result<std::shared_ptr<const Nvml>> Nvml::load(const std::string& library) {
  void* const handle = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    return core::make_error(core::ErrorCode::kUnavailable, library + " is not there");
  }
  const std::shared_ptr<Nvml> nvml(new Nvml);
  Functions& f = *nvml->functions_;
  int (*shutdown)() = nullptr;
  const bool complete = find(handle, "nvmlInit_v2", f.init) &&
                        find(handle, "nvmlShutdown", shutdown) &&
                        find(handle, "nvmlDeviceGetCount_v2", f.count) &&
                        find(handle, "nvmlDeviceGetHandleByIndex_v2", f.by_index) &&
                        find(handle, "nvmlDeviceGetHandleByPciBusId_v2", f.by_bus_id) &&
                        find(handle, "nvmlDeviceGetClockInfo", f.clock) &&
                        find(handle, "nvmlDeviceGetTemperature", f.temperature) &&
                        find(handle, "nvmlDeviceGetUtilizationRates", f.utilisation);
  if (!complete) {
    return core::make_error(core::ErrorCode::kUnsupported, library + " is too old");
  }
  // Each may be missing in some driver; what they tell is then unknown.
  (void)find(handle, "nvmlDeviceGetCurrentClocksThrottleReasons", f.throttle_reasons);
  (void)find(handle, "nvmlDeviceGetComputeRunningProcesses_v3", f.processes);
  (void)find(handle, "nvmlDeviceGetProcessUtilization", f.process_use);
  if (f.init() != kSuccess) {
    return core::make_error(core::ErrorCode::kUnavailable, library + ": there is no driver");
  }
  f.shutdown = shutdown;
  return std::shared_ptr<const Nvml>(nvml);
}

std::vector<std::uint32_t> Nvml::all_processes() const {
  std::vector<std::uint32_t> all;
  unsigned count = 0;
  if (functions_->count(&count) != kSuccess) {
    return all;
  }
  for (unsigned i = 0; i < count; ++i) {
    Device device = nullptr;
    if (functions_->by_index(i, &device) == kSuccess) {
      const auto pids = functions_->processes_of(device);
      if (pids) {
        all.insert(all.end(), pids->begin(), pids->end());
      }
    }
  }
  return all;
}

core::Result<std::unique_ptr<GpuSensor>> Nvml::sensor(const std::string& pci_bus_id) const {
  Device device = nullptr;
  if (functions_->by_bus_id(pci_bus_id.c_str(), &device) != kSuccess) {
    return core::make_error(core::ErrorCode::kUnavailable,
                            "NVML does not know the GPU " + pci_bus_id);
  }
  return std::unique_ptr<GpuSensor>(std::make_unique<Sensor>(shared_from_this(), device));
}

std::vector<std::uint32_t> own_processes(const std::vector<std::uint32_t>& before,
                                         const std::vector<std::uint32_t>& after,
                                         std::uint32_t pid,
                                         std::size_t team) {
  if (team == 1 && std::find(after.begin(), after.end(), pid) != after.end()) {
    return {pid};
  }
  std::vector<std::uint32_t> own;
  std::copy_if(after.begin(), after.end(), std::back_inserter(own), [&before](std::uint32_t p) {
    return std::find(before.begin(), before.end(), p) == before.end();
  });
  if (own.size() != team) {  // others came at the same time
    own.clear();
  }
  return own;
}

}  // namespace reformer::cudnn
