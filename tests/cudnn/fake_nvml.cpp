// A libnvidia-ml.so.1 that says what the file named by FAKE_NVML_STATE says, one fact a line:
// "clock 1980", "temperature 60", "reasons 4", "utilisation 30", "process PID", "use PID PERCENT",
// "no_use" (the driver does not tell), "no_driver".
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

namespace {

struct State {
  unsigned clock = 0;
  unsigned temperature = 0;
  unsigned long long reasons = 1;
  unsigned utilisation = 0;
  std::vector<unsigned> processes;
  std::vector<std::pair<unsigned, unsigned>> uses;
  bool no_use = false;
  bool no_driver = false;
};

State state() {
  State read;
  const char* const name = std::getenv("FAKE_NVML_STATE");
  std::ifstream file(name != nullptr ? name : "");
  std::string word;
  while (file >> word) {
    unsigned number = 0;
    if (word == "no_use") {
      read.no_use = true;
    } else if (word == "no_driver") {
      read.no_driver = true;
    } else if (word == "clock") {
      file >> read.clock;
    } else if (word == "temperature") {
      file >> read.temperature;
    } else if (word == "reasons") {
      file >> read.reasons;
    } else if (word == "utilisation") {
      file >> read.utilisation;
    } else if (word == "process" && file >> number) {
      read.processes.push_back(number);
    } else if (word == "use" && file >> number) {
      unsigned percent = 0;
      file >> percent;
      read.uses.emplace_back(number, percent);
    }
  }
  return read;
}

struct ProcessInfo {
  unsigned pid;
  unsigned long long memory;
  unsigned gpu_instance;
  unsigned compute_instance;
};
struct ProcessSample {
  unsigned pid;
  unsigned long long timestamp;
  unsigned sm, memory, encoder, decoder;
};

int device_object = 0;

}  // namespace

// NOLINTBEGIN(readability-identifier-naming): NVML's names
#define FAKE extern "C" __attribute__((visibility("default"))) int

FAKE nvmlInit_v2() {
  return state().no_driver ? 9 : 0;
}
FAKE nvmlShutdown() {
  return 0;
}
FAKE nvmlDeviceGetCount_v2(unsigned* count) {
  *count = 1;
  return 0;
}
FAKE nvmlDeviceGetHandleByIndex_v2(unsigned, void** device) {
  *device = &device_object;
  return 0;
}
FAKE nvmlDeviceGetHandleByPciBusId_v2(const char* id, void** device) {
  *device = &device_object;
  return std::string(id) == "00000000:17:00.0" ? 0 : 6;
}
FAKE nvmlDeviceGetClockInfo(void*, unsigned type, unsigned* mhz) {
  *mhz = state().clock;
  return type == 1 ? 0 : 2;
}
FAKE nvmlDeviceGetTemperature(void*, unsigned, unsigned* degrees) {
  *degrees = state().temperature;
  return 0;
}
FAKE nvmlDeviceGetCurrentClocksThrottleReasons(void*, unsigned long long* reasons) {
  *reasons = state().reasons;
  return 0;
}
FAKE nvmlDeviceGetUtilizationRates(void*, unsigned* rates) {
  rates[0] = state().utilisation;
  rates[1] = 0;
  return 0;
}
FAKE nvmlDeviceGetComputeRunningProcesses_v3(void*, unsigned* count, ProcessInfo* infos) {
  const State now = state();
  *count = 0;
  for (const unsigned pid : now.processes) {
    infos[(*count)++] = {pid, 0, 0, 0};
  }
  return 0;
}
FAKE nvmlDeviceGetProcessUtilization(void*,
                                     ProcessSample* samples,
                                     unsigned* count,
                                     unsigned long long since) {
  const State now = state();
  const auto time =
      static_cast<unsigned long long>(std::chrono::duration_cast<std::chrono::microseconds>(
                                          std::chrono::system_clock::now().time_since_epoch())
                                          .count());
  if (now.no_use) {
    return 3;
  }
  *count = 0;
  samples[(*count)++] = {77, time - 60000000, 99, 0, 0, 0};  // a minute ago
  for (const auto& [pid, percent] : now.uses) {
    samples[(*count)++] = {pid, time, percent, 0, 0, 0};
  }
  return time > since ? 0 : 6;
}
// NOLINTEND(readability-identifier-naming)
