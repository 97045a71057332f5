#include "cli/sweep_pipeline.h"

#include "cli/sweep_clock.h"

#include <fmt/format.h>

#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <fstream>
#include <sstream>
#include <utility>

namespace reformer::cli {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kWatchPeriod{200};
constexpr std::size_t kModelChoices = 4;

// The thread that launches kernels goes before those that build plans.
void be_modest() {
  constexpr int kNice = 5;
  (void)setpriority(PRIO_PROCESS, static_cast<id_t>(syscall(SYS_gettid)), kNice);
}

core::Result<std::string> read_text(const std::string& path) {
  std::ifstream file(path);
  if (!file) {
    return core::make_error(core::ErrorCode::kUnavailable, path + ": cannot be opened");
  }
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

}  // namespace

core::Result<Equipment> Equipment::get(const std::string& cudnn_library,
                                       int gpu,
                                       const std::string& properties_file,
                                       Team& team,
                                       const std::atomic<bool>& interrupted) {
  Equipment equipment;
  auto library = cudnn::Library::load(cudnn_library);
  if (!library) {
    return library.error();
  }
  equipment.library = *library;
  if (gpu < 0) {
    auto text = read_text(properties_file);
    if (!text) {
      return text.error();
    }
    auto device = core::device_from_properties_json(*text);
    if (!device) {
      return device.error();
    }
    equipment.properties = *text;
    equipment.device = *device;
    return equipment;
  }
  const auto nvml = cudnn::Nvml::load();
  const auto before = nvml ? (*nvml)->all_processes() : std::vector<std::uint32_t>();
  const core::Error left_alone{core::ErrorCode::kUnavailable, "another process has ended"};
  if (!team.meet(interrupted)) {
    return left_alone;
  }
  auto opened = cudnn::Gpu::open(gpu);
  if (!opened) {
    return core::in_context("no GPU to measure on (--enumerate-only lists candidates without one)",
                            opened.error());
  }
  auto measurer = cudnn::Measurer::create(*library, *opened, team.pace());
  if (!measurer) {
    return measurer.error();
  }
  if (!team.meet(interrupted)) {
    return left_alone;
  }
  equipment.watch = cudnn::watch_gpu(nvml, before, team.members(), **opened, kWatchPeriod);
  equipment.gpu = *opened;
  equipment.device = (*opened)->fingerprint();
  equipment.measurer = std::move(*measurer);
  return equipment;
}

core::Result<std::unique_ptr<cudnn::Planner>> Equipment::make_planner() const {
  return gpu != nullptr ? cudnn::Planner::for_gpu(library, gpu)
                        : cudnn::Planner::for_properties(library, properties);
}

Pipeline::Pipeline(const Equipment& equipment,
                   const std::vector<core::Problem>& problems,
                   unsigned threads,
                   const std::atomic<bool>& interrupted)
    : equipment_(equipment),
      problems_(problems),
      bound_(std::size_t{4} * threads),
      interrupted_(interrupted),
      builders_(threads) {
  for (unsigned i = 0; i < threads; ++i) {
    threads_.emplace_back([this] { build(); });
  }
}

Pipeline::~Pipeline() {
  const std::lock_guard lock(mutex_);
  stopped_ = true;
  room_.notify_all();
}

std::optional<Prepared> Pipeline::take() {
  const Clock::time_point start = Clock::now();
  std::unique_lock lock(mutex_);
  while (ready_.empty() && builders_ > 0 && !stopped_) {
    arrived_.wait_for(lock, std::chrono::milliseconds(200));
    stopped_ = stopped_ || interrupted_;
  }
  waited_s_ += seconds_since(start);
  if (ready_.empty() || stopped_) {
    return std::nullopt;
  }
  Prepared prepared = std::move(ready_.front());
  ready_.pop_front();
  room_.notify_one();
  return prepared;
}

std::string Pipeline::profile() const {
  rusage used{};
  (void)getrusage(RUSAGE_SELF, &used);
  const auto cpu_s = static_cast<double>(used.ru_utime.tv_sec + used.ru_stime.tv_sec);
  return fmt::format(
      "waited for plans {:.2f} s; builders: {:.2f} s building, {:.2f} dropping plans, {:.2f} "
      "waiting; "
      "processor time {:.0f} s, of it {} in the kernel",
      waited_s_,
      built_s_.load(),
      dropped_s_.load(),
      blocked_s_.load(),
      cpu_s,
      used.ru_stime.tv_sec);
}

void Pipeline::retire(cudnn::Enumeration used) {
  const std::lock_guard lock(mutex_);
  used_.push_back(std::move(used));
}

const core::Problem* Pipeline::next_problem(std::vector<cudnn::Enumeration>& used) {
  const std::lock_guard lock(mutex_);
  std::swap(used, used_);
  return stopped_ || interrupted_ || next_ == problems_.size() ? nullptr : &problems_[next_++];
}

void Pipeline::put(Prepared prepared) {
  std::unique_lock lock(mutex_);
  room_.wait(lock, [this] { return stopped_ || ready_.size() < bound_; });
  if (!stopped_) {
    ready_.push_back(std::move(prepared));
  }
  arrived_.notify_one();
}

void Pipeline::builder_ends() {
  const std::lock_guard lock(mutex_);
  --builders_;
  arrived_.notify_all();
}

std::vector<core::EngineConfig> Pipeline::chosen_by_model(
    const core::Problem& problem, std::optional<model::Predictor::Scratch>& scratch) const {
  std::vector<core::EngineConfig> chosen;
  if (!scratch) {
    return chosen;
  }
  const model::Predictor& predictor = *equipment_.predictor;
  model::Ranking ranking;
  predictor.rank(problem, kModelChoices, *scratch, ranking);
  for (std::uint32_t i = 0; i < ranking.count; ++i) {
    chosen.push_back(predictor.class_entry(ranking.classes[i].class_index).config);
  }
  return chosen;
}

void Pipeline::build() {
  be_modest();
  std::optional<model::Predictor::Scratch> scratch;
  if (equipment_.predictor != nullptr) {
    scratch.emplace(*equipment_.predictor);
  }
  auto planner = equipment_.make_planner();
  if (!planner) {
    fmt::print(stderr, "reformerctl sweep: {}\n", planner.error().message);
  }
  std::vector<cudnn::Enumeration> used;
  while (planner) {
    const core::Problem* const problem = next_problem(used);
    Clock::time_point start = Clock::now();
    used.clear();
    dropped_s_ += seconds_since(start);
    if (problem == nullptr) {
      break;
    }
    start = Clock::now();
    std::vector<core::EngineConfig> chosen = chosen_by_model(*problem, scratch);
    auto candidates = planner.value()->enumerate(*problem, chosen, {});
    built_s_ += seconds_since(start);
    start = Clock::now();
    put({*problem, std::move(chosen), std::move(candidates)});
    blocked_s_ += seconds_since(start);
  }
  builder_ends();
}

}  // namespace reformer::cli
