#include "core/problem_text.h"
#include "daemon/supervisor_worker.h"
#include "daemon/trusted_library.h"

#include <pwd.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

namespace reformer::daemon {
namespace {

using namespace std::chrono_literals;
using Time = std::chrono::steady_clock::time_point;
using nlohmann::json;

constexpr std::ptrdiff_t kMaxProcesses = 16;
constexpr std::size_t kMaxWorkers = 64;  // with those that have no process now
constexpr int kPicksATick = 8;
constexpr std::size_t kMaxRefused = 1024;
constexpr std::chrono::seconds kLongestHold = 30s;

std::string find_worker(const Config& config) {
  if (!config.worker.empty()) {
    return config.worker.string();
  }
  std::error_code error;
  const auto folder = std::filesystem::read_symlink("/proc/self/exe", error).parent_path();
  for (const auto& candidate :
       {folder / "reformer-worker", folder / ".." / "libexec" / "reformer" / "reformer-worker"}) {
    if (std::filesystem::exists(candidate, error)) {
      return candidate.string();
    }
  }
  return (folder / "reformer-worker").string();
}

int minutes_of_day() {
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  localtime_r(&now, &local);
  return local.tm_hour * 60 + local.tm_min;
}

// Device files /dev/nvidiaN: as many as the driver has GPUs, whatever their numbers.
int count_gpus() {
  int count = 0;
  std::error_code error;
  for (const auto& file : std::filesystem::directory_iterator("/dev", error)) {
    const std::string name = file.path().filename().string();
    constexpr std::string_view kPrefix = "nvidia";
    count += name.size() > kPrefix.size() && name.starts_with(kPrefix) &&
                     name.find_first_not_of("0123456789", kPrefix.size()) == std::string::npos
                 ? 1
                 : 0;
  }
  return count;
}

}  // namespace

Supervisor::Supervisor(
    uv_loop_s* loop, VerificationQueue& queue, const Config& config, Events events, Clock clock)
    : loop_(loop), queue_(queue), events_(std::move(events)), clock_(std::move(clock)) {
  configure(config);
  for (const std::string& timer : config.timers) {
    if (timer.starts_with("recorded:")) {
      recorded_.push_back(timer.substr(std::string_view("recorded:").size()));
    }
  }
  const bool automatic = config.timers.empty() && ::access("/dev/nvidia0", F_OK) == 0;
  gpu_ = automatic || (config.timers.size() == 1 && config.timers[0] == "gpu");
}

Supervisor::~Supervisor() = default;

void Supervisor::configure(const Config& config) {
  config_ = config;
  gpus_ = count_gpus();
  refused_.clear();
  look_again_ = {};
  program_ = find_worker(config);
}

bool Supervisor::can_measure() const {
  return gpu_ || !recorded_.empty();
}

bool Supervisor::may_have_gpu(int gpu) const {
  return !recorded_.empty() || gpu < std::max(1, gpus_);
}

bool Supervisor::paused() const {
  const auto quiet = in_quiet_hours(config_.quiet_hours, minutes_of_day());
  return stopped_ || !can_measure() || (quiet && *quiet);
}

// A worker loads what a client names only as that client's user, if root alone could have put it
// there, or if the administrator says so. Else the job is measured with the daemon's own library.
Supervisor::Place Supervisor::place_of(const storage::QueuedJob& job) const {
  const std::uint32_t own = ::getuid();
  if (!recorded_.empty()) {  // they need neither a library nor a GPU: one worker replays for all
    return {{}, 0, own, false};
  }
  const int gpu = std::max(0, job.gpu);
  const auto& allowed = config_.allowed_libraries;
  if (job.library.empty() ||
      std::find(allowed.begin(), allowed.end(), job.library) != allowed.end()) {
    return {job.library, gpu, own, false};
  }
  if (job.uid == kTrustedLibrary) {
    return refused_.contains(job.library) ? Place{{}, gpu, own, false}
                                          : Place{job.library, gpu, own, true};
  }
  return job.uid == own || own == 0 ? Place{job.library, gpu, job.uid, false}
                                    : Place{{}, gpu, own, false};
}

Supervisor::Worker* Supervisor::find(const Place& place) const {
  const auto found = std::find_if(workers_.begin(), workers_.end(), [&](const auto& worker) {
    return worker->gpu == place.gpu && worker->uid == place.uid &&
           worker->trusted == place.trusted && worker->library == place.library;
  });
  return found == workers_.end() ? nullptr : found->get();
}

// Not too many at a time, nor too soon after one that failed to start.
bool Supervisor::may_start() const {
  const auto running = std::count_if(
      workers_.begin(), workers_.end(), [](const auto& w) { return w->process != nullptr; });
  return running < kMaxProcesses && clock_() >= start_after_;
}

// The one that may make room for another: it has no process, need not wait for its next start, and
// has been so for longest. Null: none.
Supervisor::Worker* Supervisor::least_needed() const {
  Worker* least = nullptr;
  const auto since = [](const Worker& worker) {
    return std::max(worker.idle_since, worker.not_before);
  };
  for (const auto& worker : workers_) {
    if (!worker->process && !worker->pick && clock_() >= worker->not_before &&
        (least == nullptr || since(*worker) < since(*least))) {
      least = worker.get();
    }
  }
  return least;
}

Supervisor::Worker* Supervisor::worker_for(const Place& place) {
  if (Worker* worker = find(place)) {
    return worker;
  }
  if (workers_.size() >= kMaxWorkers) {
    const Worker* least = least_needed();
    if (least == nullptr) {
      return nullptr;
    }
    std::erase_if(workers_, [least](const auto& worker) { return worker.get() == least; });
  }
  auto worker = std::make_unique<Worker>();
  worker->library = place.library;
  worker->gpu = place.gpu;
  worker->uid = place.uid;
  worker->trusted = place.trusted;
  return workers_.emplace_back(std::move(worker)).get();
}

// A trusted library is looked at again: some calls of the file system, a moment before a fork.
bool Supervisor::may_load(const Worker& worker) {
  if (!worker.trusted || trusted_library(worker.library) == worker.library) {
    return true;
  }
  spdlog::warn("library \"{}\" is not loaded: not only root can change it", worker.library);
  if (refused_.size() >= kMaxRefused) {
    refused_.clear();
  }
  refused_.insert(worker.library);
  return false;
}

void Supervisor::start(Worker& worker) {
  WorkerProcess::Command command{.program = program_, .arguments = {}};
  if (!recorded_.empty()) {
    for (const std::string& file : recorded_) {
      command.arguments.insert(command.arguments.end(), {"--recorded", file});
    }
  } else {
    command.arguments = {"--gpu", std::to_string(worker.gpu)};
    if (!worker.library.empty()) {
      command.arguments.insert(command.arguments.end(), {"--library", worker.library});
    }
  }
  if (::getuid() == 0 && worker.uid != 0) {
    const passwd* user = ::getpwuid(worker.uid);
    command.uid = worker.uid;
    command.gid = user != nullptr ? user->pw_gid : worker.uid;
  }
  worker.greeted = worker.ending = worker.leaving = false;
  worker.restarts += worker.started_before ? 1 : 0;
  worker.started_before = true;
  auto process =
      WorkerProcess::start(loop_,
                           command,
                           {[this, &worker](std::string_view line) { on_line(worker, line); },
                            [this, &worker](const std::string& why) { on_exit(worker, why); }});
  if (!process) {
    on_exit(worker, process.error().message);
    return;
  }
  worker.process = std::move(*process);
  worker.deadline = clock_() + std::chrono::milliseconds(config_.worker_timeout_ms);
}

void Supervisor::hold() {
  const Time now = clock_();
  if (now >= hold_until_) {
    held_since_ = now;
  }
  hold_until_ = std::min<Time>(now + std::chrono::milliseconds(config_.verify_after_ms),
                               held_since_ + kLongestHold);
  if (config_.only_when_idle && recorded_.empty()) {
    for (const auto& worker : workers_) {
      give_way(*worker);
    }
  }
}

// Stops what it measures, between two launches; it answers "busy" and the job waits again.
void Supervisor::give_way(Worker& worker) {
  if (worker.process && worker.greeted && worker.pick && !worker.giving_way) {
    worker.giving_way = true;
    worker.process->write(json{{"cancel", worker.id}}.dump());
  }
}

// Whether nothing is measured on it, and it has rested: two at once would measure each other.
bool Supervisor::gpu_is_free(int gpu) const {
  if (!recorded_.empty()) {
    return true;
  }
  const auto rest = rest_until_.find(gpu);
  return (rest == rest_until_.end() || clock_() >= rest->second) &&
         std::none_of(workers_.begin(), workers_.end(), [gpu](const auto& worker) {
           return worker->gpu == gpu && worker->pick.has_value();
         });
}

bool Supervisor::may_measure(const storage::QueuedJob& job) const {
  const Place place = place_of(job);
  const Worker* worker = find(place);
  if (worker == nullptr) {
    return may_start() && gpu_is_free(place.gpu) &&
           (workers_.size() < kMaxWorkers || least_needed() != nullptr);
  }
  return !worker->pick && !worker->ending && !worker->leaving && clock_() >= worker->not_before &&
         (worker->process || may_start()) && gpu_is_free(place.gpu);
}

void Supervisor::end_idle(Worker& worker) {
  const Time now = clock_();
  const bool waiting =
      worker.pick.has_value() || !worker.greeted || worker.ending || worker.leaving;
  if (waiting && now > worker.deadline) {
    end(worker, "it did not answer in time");
  } else if (!waiting &&
             now - worker.idle_since > std::chrono::milliseconds(config_.worker_idle_ms)) {
    worker.ending = true;
    worker.deadline = now + 2s;
    worker.process->close_input();
  }
}

void Supervisor::tick() {
  const Time now = clock_();
  const bool no_time = paused();
  for (const auto& worker : workers_) {
    if (worker->process) {
      end_idle(*worker);
    }
    if (no_time) {
      give_way(*worker);
    }
  }
  if (no_time || !can_store_ || queue_.waiting() == 0 || now < hold_until_) {
    return;
  }
  if (now >= look_again_ || queue_.arrivals() != seen_arrivals_) {
    hand_out();
  }
}

// Gives free workers work. Looking for it takes a while where much waits.
void Supervisor::hand_out() {
  seen_arrivals_ = queue_.arrivals();
  for (int i = 0; i < kPicksATick; ++i) {
    const storage::QueuedJob* last = nullptr;  // most jobs are for one worker
    bool able = false;
    auto pick = queue_.pick(std::time(nullptr), [&](const storage::QueuedJob& job) {
      if (last == nullptr || job.gpu != last->gpu || job.uid != last->uid ||
          job.library != last->library) {
        able = may_measure(job);
        last = &job;
      }
      return able;
    });
    if (!pick) {
      look_again_ = next_look();
      return;
    }
    Worker* worker = worker_for(place_of(pick->job));
    if (worker == nullptr || (!worker->process && !may_load(*worker))) {
      queue_.put_back(core::hash_key(pick->job.key));  // to the daemon's own library
      continue;
    }
    worker->pick = std::move(pick);
    if (worker->process) {
      feed(*worker);
    } else {
      start(*worker);
    }
  }
  look_again_ = {};
}

// When a worker that has to wait may go on; soon in any case, because jobs wait for times, too.
Time Supervisor::next_look() const {
  const Time now = clock_();
  Time next = now + 1s;
  const auto consider = [&](Time at) {
    if (at > now) {
      next = std::min(next, at);
    }
  };
  consider(start_after_);
  for (const auto& worker : workers_) {
    consider(worker->not_before);
  }
  for (const auto& [gpu, until] : rest_until_) {
    consider(until);
  }
  return next;
}

void Supervisor::stop() {
  stopped_ = true;
  for (const auto& worker : workers_) {
    if (worker->pick) {
      queue_.put_back(core::hash_key(worker->pick->job.key));
      worker->pick.reset();
    }
    worker->process.reset();
  }
}

json Supervisor::describe() const {
  json rows = json::array();
  for (const auto& worker : workers_) {
    const char* state = !worker->process   ? "stopped"
                        : !worker->greeted ? "starting"
                        : worker->pick     ? "measuring"
                                           : "idle";
    rows.push_back(
        {{"library", worker->library},
         {"gpu", worker->gpu},
         {"state", state},
         {"timer", worker->timer},
         {"current",
          worker->pick && worker->greeted ? core::format_problem(worker->pick->job.key.problem)
                                          : std::string()},
         {"done", worker->done},
         {"failed", worker->failed},
         {"restarts", worker->restarts}});
  }
  return rows;
}

}  // namespace reformer::daemon
