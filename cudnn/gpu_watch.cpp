#include "cudnn/gpu_watch.h"

#include <unistd.h>

#include <algorithm>
#include <iterator>
#include <utility>

namespace reformer::cudnn {
namespace {

using namespace std::chrono_literals;

constexpr std::uint32_t kBusyPercent = 2;
// The driver's utilisation of the whole GPU covers up to this long.
constexpr auto kUtilisationWindow = 1200ms;
// A reading of so long ago says how a measurement begins.
constexpr auto kRecent = 500ms;

}  // namespace

bool GpuJudge::is_own(std::uint32_t pid) const {
  return std::find(own_.begin(), own_.end(), pid) != own_.end();
}

bool GpuJudge::at_work(const GpuReading& reading, Time now) const {
  if (others_.empty() && reading.processes) {
    return false;
  }
  if (measuring_ && std::any_of(others_.begin(), others_.end(), [this](std::uint32_t pid) {
        return std::find(others_at_begin_.begin(), others_at_begin_.end(), pid) ==
               others_at_begin_.end();
      })) {
    return true;  // somebody has just come
  }
  if (reading.uses) {  // samples come some times a second: what was true lasts until the next
    return last_use_ && now - *last_use_ < kUtilisationWindow;
  }
  // Only the sum is known, and that may be this process's own work.
  const bool own_work = measuring_ || (ended_ && now - *ended_ < kUtilisationWindow);
  return own_work ? others_at_work_ : reading.utilisation_percent >= static_cast<int>(kBusyPercent);
}

void GpuJudge::see(const GpuReading& reading, Time now) {
  others_.clear();
  if (reading.processes) {
    std::copy_if(reading.processes->begin(),
                 reading.processes->end(),
                 std::back_inserter(others_),
                 [this](std::uint32_t pid) { return !is_own(pid); });
  }
  if (reading.uses &&
      std::any_of(reading.uses->begin(), reading.uses->end(), [this](const GpuReading::Use& use) {
        return !is_own(use.pid) && use.sm_percent >= kBusyPercent;
      })) {
    last_use_ = now;
  }
  others_at_work_ = at_work(reading, now);
  last_seen_ = now;
  last_ = reading;
  if (measuring_) {
    note();
  }
}

// The last reading belongs to the measurement.
void GpuJudge::note() {
  seen_ = true;
  conditions_.sm_clock_mhz = std::max(conditions_.sm_clock_mhz, last_.sm_clock_mhz);
  conditions_.temperature_c = std::max(conditions_.temperature_c, last_.temperature_c);
  conditions_.disturbed = conditions_.disturbed || last_.throttled || others_at_work_;
  if (last_.processes) {
    conditions_.other_processes =
        std::max(conditions_.other_processes, static_cast<std::int32_t>(others_.size()));
  }
}

void GpuJudge::begin(Time now) {
  measuring_ = true;
  others_at_begin_ = others_;
  conditions_ = {};
  seen_ = false;
  if (last_seen_ && now - *last_seen_ < kRecent) {
    note();
  }
}

core::Provenance GpuJudge::end(Time now) {
  measuring_ = false;
  ended_ = now;
  return conditions_;
}

void set_conditions(core::Provenance& provenance, const core::Provenance& conditions) {
  provenance.sm_clock_mhz = conditions.sm_clock_mhz;
  provenance.temperature_c = conditions.temperature_c;
  provenance.other_processes = conditions.other_processes;
  provenance.disturbed = conditions.disturbed;
}

GpuWatch::GpuWatch(std::unique_ptr<GpuSensor> sensor,
                   std::vector<std::uint32_t> own,
                   std::chrono::milliseconds period)
    : period_(period),
      sensor_(std::move(sensor)),
      judge_(std::move(own)),
      thread_([this](const std::stop_token& stop) { run(stop); }) {}

void GpuWatch::take_reading() {
  const auto now = std::chrono::steady_clock::now();
  judge_.see(sensor_->read(), now);
  others_at_work_ = judge_.others_at_work();
  next_ = now + period_;
}

bool GpuWatch::idle() {
  const std::lock_guard lock(mutex_);
  take_reading();
  return !judge_.others_at_work();
}

void GpuWatch::begin() {
  const std::lock_guard lock(mutex_);
  judge_.begin(std::chrono::steady_clock::now());
  measuring_ = true;
  wake_.notify_one();
}

core::Provenance GpuWatch::end() {
  const std::lock_guard lock(mutex_);
  if (!judge_.seen()) {
    take_reading();
  }
  measuring_ = false;
  return judge_.end(std::chrono::steady_clock::now());
}

void GpuWatch::run(const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  while (wake_.wait(lock, stop, [this] { return measuring_; })) {
    if (std::chrono::steady_clock::now() >= next_) {
      take_reading();
    }
    const auto next = next_;  // the wait reads it without the lock
    (void)wake_.wait_until(lock, stop, next, [] { return false; });
    if (stop.stop_requested()) {
      return;
    }
  }
}

std::unique_ptr<GpuWatch> watch_gpu(const core::Result<std::shared_ptr<const Nvml>>& nvml,
                                    const std::vector<std::uint32_t>& before,
                                    std::size_t team,
                                    const Gpu& gpu,
                                    std::chrono::milliseconds period) {
  if (!nvml) {
    return nullptr;
  }
  auto sensor = (*nvml)->sensor(gpu.pci_bus_id());
  if (!sensor) {
    return nullptr;
  }
  auto own =
      own_processes(before, (*nvml)->all_processes(), static_cast<std::uint32_t>(::getpid()), team);
  auto watch = std::make_unique<GpuWatch>(std::move(*sensor), std::move(own), period);
  (void)watch->idle();  // who is there already has not come during a measurement
  return watch;
}

}  // namespace reformer::cudnn
