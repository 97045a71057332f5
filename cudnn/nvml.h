#pragma once

#include "core/result.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

// NVIDIA's management library, loaded with dlopen: what a GPU does and for whom.
namespace reformer::cudnn {

// A GPU at one moment. What the driver does not tell is empty or unknown.
struct GpuReading {
  struct Use {
    std::uint32_t pid = 0;
    std::uint32_t sm_percent = 0;  // in the last second, since the reading before
  };
  int sm_clock_mhz = 0;                                 // 0 unknown
  int temperature_c = 0;                                // 0 unknown
  bool throttled = false;                               // slowed down by heat or power
  std::optional<std::vector<std::uint32_t>> processes;  // with a compute context; empty: unknown
  std::optional<std::vector<Use>> uses;                 // empty: unknown
  int utilisation_percent = -1;  // of all processes, over the last second at most; -1 unknown
};

// Where readings come from. Threads: one.
class GpuSensor {
 public:
  virtual ~GpuSensor() = default;
  virtual GpuReading read() = 0;
};

// Threads: any, but a sensor: one.
class Nvml : public std::enable_shared_from_this<Nvml> {
 public:
  // Errors: kUnavailable without the library or a driver; kUnsupported if it is too old.
  static core::Result<std::shared_ptr<const Nvml>> load(
      const std::string& library = "libnvidia-ml.so.1");
  ~Nvml();
  Nvml(const Nvml&) = delete;
  Nvml& operator=(const Nvml&) = delete;

  // Compute processes on all GPUs of the machine, as the driver numbers them.
  [[nodiscard]] std::vector<std::uint32_t> all_processes() const;
  // `pci_bus_id` as CUDA gives it. Errors: kUnavailable if there is no such GPU.
  [[nodiscard]] core::Result<std::unique_ptr<GpuSensor>> sensor(
      const std::string& pci_bus_id) const;

 private:
  struct Functions;
  class Sensor;
  Nvml();
  std::unique_ptr<Functions> functions_;
};

// The numbers that NVML has for this process and those that came to the GPUs with it, `team` in
// all, given the compute processes of the machine before they made their contexts and after: in a
// container that is not getpid(). Empty if they cannot be told from others. A team of one that NVML
// calls by `pid` is that.
[[nodiscard]] std::vector<std::uint32_t> own_processes(const std::vector<std::uint32_t>& before,
                                                       const std::vector<std::uint32_t>& after,
                                                       std::uint32_t pid,
                                                       std::size_t team);

}  // namespace reformer::cudnn
