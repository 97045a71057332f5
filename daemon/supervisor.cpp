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

constexpr std::size_t kMaxWorkers = 16;
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
  refused_.clear();
  program_ = find_worker(config);
}

bool Supervisor::can_measure() const {
  return gpu_ || !recorded_.empty();
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

Supervisor::Worker* Supervisor::worker_for(const storage::QueuedJob& job) {
  const Place place = place_of(job);
  for (const auto& worker : workers_) {
    if (worker->gpu == place.gpu && worker->uid == place.uid && worker->trusted == place.trusted &&
        worker->library == place.library) {
      return worker.get();
    }
  }
  if (workers_.size() >= kMaxWorkers) {
    const auto unused = std::find_if(
        workers_.begin(), workers_.end(), [](const auto& worker) { return !worker->process; });
    if (unused == workers_.end()) {
      return nullptr;
    }
    workers_.erase(unused);
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

// Whether it is free, and its GPU too: two at once would measure each other.
bool Supervisor::may_measure(const Worker& worker) const {
  const Time now = clock_();
  if (worker.pick || worker.ending || worker.leaving || now < worker.not_before) {
    return false;
  }
  if (!recorded_.empty()) {
    return true;
  }
  const auto rest = rest_until_.find(worker.gpu);
  return (rest == rest_until_.end() || now >= rest->second) &&
         std::none_of(workers_.begin(), workers_.end(), [&worker](const auto& other) {
           return other->gpu == worker.gpu && other->pick.has_value();
         });
}

void Supervisor::tick() {
  const Time now = clock_();
  for (const auto& worker : workers_) {
    if (!worker->process) {
      continue;
    }
    const bool waiting =
        worker->pick.has_value() || !worker->greeted || worker->ending || worker->leaving;
    if (waiting && now > worker->deadline) {
      end(*worker, "it did not answer in time");
    } else if (!waiting &&
               now - worker->idle_since > std::chrono::milliseconds(config_.worker_idle_ms)) {
      worker->ending = true;
      worker->deadline = now + 2s;
      worker->process->close_input();
    }
  }
  const bool no_time = paused();
  for (const auto& worker : workers_) {
    if (no_time) {
      give_way(*worker);
    }
  }
  if (no_time || !can_store_ || queue_.waiting() == 0 || now < hold_until_) {
    return;
  }
  Worker* free_worker = nullptr;
  const auto eligible = [&](const storage::QueuedJob& job) {
    const Worker* worker = worker_for(job);
    return worker != nullptr && may_measure(*worker);
  };
  while (auto pick = queue_.pick(std::time(nullptr), eligible)) {
    free_worker = worker_for(pick->job);
    if (!free_worker->process && !may_load(*free_worker)) {
      queue_.put_back(core::hash_key(pick->job.key));
      continue;  // with the daemon's own
    }
    free_worker->pick = std::move(pick);
    if (!free_worker->process) {
      start(*free_worker);
    } else {
      feed(*free_worker);
    }
  }
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
