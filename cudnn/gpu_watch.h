#pragma once

#include "core/record.h"
#include "cudnn/driver.h"
#include "cudnn/nvml.h"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

namespace reformer::cudnn {

// Judges readings of a GPU: who else is on it, whether they are at work, what its state was during
// a measurement. Plain data structure. Threads: one.
class GpuJudge {
 public:
  using Time = std::chrono::steady_clock::time_point;
  // `own`: this process as NVML numbers it, and those that take turns with it; empty: not known,
  // then every process is another.
  explicit GpuJudge(std::vector<std::uint32_t> own) : own_(std::move(own)) {}

  void see(const GpuReading& reading, Time now);
  // From here on: conditions of a measurement. Those who are there already may stay.
  void begin(Time now);
  // Ends the measurement: clock, temperature, other_processes and disturbed of it.
  core::Provenance end(Time now);
  [[nodiscard]] bool seen() const { return seen_; }
  // Others use the GPU, or came to it since begin().
  [[nodiscard]] bool others_at_work() const { return others_at_work_; }

 private:
  [[nodiscard]] bool is_own(std::uint32_t pid) const;
  [[nodiscard]] bool at_work(const GpuReading& reading, Time now) const;
  void note();

  std::vector<std::uint32_t> own_;
  bool measuring_ = false;
  bool others_at_work_ = false;
  std::optional<Time> ended_;     // this process's last measurement
  std::optional<Time> last_use_;  // by another process
  std::vector<std::uint32_t> others_;
  std::vector<std::uint32_t> others_at_begin_;
  std::optional<Time> last_seen_;
  GpuReading last_;
  bool seen_ = false;            // a reading belongs to the measurement
  core::Provenance conditions_;  // of the measurement
};

// Reads a sensor on a thread of its own, every `period` while a measurement runs. Threads: any.
class GpuWatch {
 public:
  GpuWatch(std::unique_ptr<GpuSensor> sensor,
           std::vector<std::uint32_t> own,
           std::chrono::milliseconds period);
  ~GpuWatch() = default;
  GpuWatch(const GpuWatch&) = delete;
  GpuWatch& operator=(const GpuWatch&) = delete;

  // Whether nobody else uses the GPU now: takes a reading.
  bool idle();
  void begin();
  core::Provenance end();
  // Cheap: for asking between two launches.
  [[nodiscard]] bool others_at_work() const { return others_at_work_; }

 private:
  void take_reading();  // with the lock
  void run(const std::stop_token& stop);

  const std::chrono::milliseconds period_;
  std::atomic<bool> others_at_work_ = false;
  std::mutex mutex_;  // guards what follows
  std::condition_variable_any wake_;
  bool measuring_ = false;
  std::chrono::steady_clock::time_point next_;  // reading
  std::unique_ptr<GpuSensor> sensor_;
  GpuJudge judge_;
  std::jthread thread_;
};

// Copies what end() tells.
void set_conditions(core::Provenance& provenance, const core::Provenance& conditions);

// Watches `gpu`; null without NVML. `before`: Nvml::all_processes() before the GPU was opened by
// this process and by the `team - 1` others that take turns with it.
[[nodiscard]] std::unique_ptr<GpuWatch> watch_gpu(
    const core::Result<std::shared_ptr<const Nvml>>& nvml,
    const std::vector<std::uint32_t>& before,
    std::size_t team,
    const Gpu& gpu,
    std::chrono::milliseconds period);

}  // namespace reformer::cudnn
