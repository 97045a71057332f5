#include "daemon/worker/gpu_timer.h"

#include "core/problem_text.h"
#include "cudnn/exploration.h"
#include "cudnn/gpu_watch.h"
#include "cudnn/measurer.h"
#include "cudnn/nvml.h"
#include "cudnn/planner.h"

#include <algorithm>
#include <cstdio>
#include <utility>

namespace reformer::worker {
namespace {

constexpr std::chrono::milliseconds kWatchPeriod{20};
constexpr std::chrono::seconds kExploreBuildTime{10};  // then the rest of a knob space is left out

class GpuTimer final : public Timer {
 public:
  GpuTimer(std::shared_ptr<const cudnn::Library> library,
           std::shared_ptr<const cudnn::Gpu> gpu,
           std::unique_ptr<cudnn::Planner> planner,
           std::unique_ptr<cudnn::Measurer> measurer,
           std::unique_ptr<cudnn::GpuWatch> watch)
      : library_(std::move(library)),
        gpu_(std::move(gpu)),
        planner_(std::move(planner)),
        measurer_(std::move(measurer)),
        watch_(std::move(watch)) {}

  [[nodiscard]] std::string kind() const override { return "gpu"; }
  [[nodiscard]] std::optional<core::Context> context() const override {
    return core::Context{gpu_->fingerprint(), library_->version()};
  }
  [[nodiscard]] std::string library() const override { return library_->path(); }

  core::Result<core::Record> measure(const Job& job, const std::atomic<bool>& cancelled) override {
    if (job.context && *job.context != *context()) {
      return core::make_error(core::ErrorCode::kUnsupported,
                              "this worker measures " + core::format_device(gpu_->fingerprint()) +
                                  " with cuDNN " + std::to_string(library_->version()));
    }
    const cudnn::EnumerationLimits limits{
        .max_workspace_bytes = std::min(std::int64_t{4} << 30, job.max_memory_bytes)};
    plans_.clear();
    if (must_wait(job)) {
      return busy();
    }
    auto candidates = planner_->enumerate(job.problem, job.extra, limits);
    if (!candidates) {
      return candidates.error();
    }
    auto measured = run(job, *candidates, cancelled);
    if (!measured || !job.explore) {
      return measured;
    }
    return explore(job, *measured, limits, cancelled);
  }

  std::vector<core::StoredPlan> take_plans() override { return std::exchange(plans_, {}); }

 private:
  static core::Error busy() {
    return core::make_error(core::ErrorCode::kDenied, "other processes use the GPU");
  }

  [[nodiscard]] bool must_wait(const Job& job) const {
    return job.only_when_idle && watch_ != nullptr && !watch_->idle();
  }

  core::Result<core::Record> run(const Job& job,
                                 const cudnn::Enumeration& candidates,
                                 const std::atomic<bool>& cancelled) {
    cudnn::Measurer::Limits limits;
    limits.max_memory_bytes = job.max_memory_bytes;
    limits.for_applications = true;
    limits.chosen = job.extra;
    limits.race.first_look_us = std::chrono::duration<float, std::micro>(job.max_time).count() / 2;
    measurer_->load(job.problem, candidates, limits, [&] { return cancelled.load(); });
    if (must_wait(job)) {  // building and loading plans has taken its time
      measurer_->release_memory();
      return busy();
    }
    const auto deadline = std::chrono::steady_clock::now() + job.max_time;
    bool late = false;
    const auto stop = [&] {
      late = std::chrono::steady_clock::now() > deadline;
      return late || cancelled.load() ||
             (job.only_when_idle && watch_ != nullptr && watch_->others_at_work());
    };
    core::Provenance conditions;
    if (watch_ != nullptr) {
      watch_->begin();
    }
    auto measured = measurer_->measure(job.problem, candidates, limits, stop);
    if (watch_ != nullptr) {
      conditions = watch_->end();
    }
    measurer_->release_memory();
    if (!measured) {
      const bool gave_way = measured.error().code == core::ErrorCode::kTimeout && !late;
      return gave_way ? core::make_error(core::ErrorCode::kDenied, "gave way") : measured.error();
    }
    cudnn::set_conditions(measured->record.provenance, conditions);
    measured->record.provenance.source = "worker";
    plans_ = cudnn::plans_to_keep(measured->record, candidates);
    return std::move(measured->record);
  }

  // Once more with the knob space of the engines that came out best.
  core::Result<core::Record> explore(const Job& job,
                                     const core::Record& record,
                                     const cudnn::EnumerationLimits& limits,
                                     const std::atomic<bool>& cancelled) {
    auto candidates = cudnn::enumerate_explored(
        *planner_, record, job.extra, limits, kExploreBuildTime, [&] { return cancelled.load(); });
    if (!candidates) {
      return candidates.error();
    }
    return run(job, *candidates, cancelled);
  }

  std::shared_ptr<const cudnn::Library> library_;
  std::shared_ptr<const cudnn::Gpu> gpu_;
  std::unique_ptr<cudnn::Planner> planner_;
  std::unique_ptr<cudnn::Measurer> measurer_;
  std::unique_ptr<cudnn::GpuWatch> watch_;  // null: there is no NVML
  std::vector<core::StoredPlan> plans_;     // of the last measurement
};

}  // namespace

core::Result<std::unique_ptr<Timer>> make_gpu_timer(const std::string& library, int gpu) {
  auto loaded = cudnn::Library::load(library);
  if (!loaded) {
    return loaded.error();
  }
  const auto nvml = cudnn::Nvml::load();
  const auto before = nvml ? (*nvml)->all_processes() : std::vector<std::uint32_t>();
  auto opened = cudnn::Gpu::open(gpu);
  if (!opened) {
    return opened.error();
  }
  auto planner = cudnn::Planner::for_gpu(*loaded, *opened);
  if (!planner) {
    return planner.error();
  }
  auto measurer = cudnn::Measurer::create(*loaded, *opened);
  if (!measurer) {
    return measurer.error();
  }
  std::unique_ptr<cudnn::GpuWatch> watch =
      cudnn::watch_gpu(nvml, before, 1, **opened, kWatchPeriod);
  if (watch == nullptr) {
    std::fputs("reformer-worker: no NVML: other processes on the GPU are not seen\n", stderr);
  }
  return std::unique_ptr<Timer>(std::make_unique<GpuTimer>(std::move(*loaded),
                                                           std::move(*opened),
                                                           std::move(*planner),
                                                           std::move(*measurer),
                                                           std::move(watch)));
}

}  // namespace reformer::worker
