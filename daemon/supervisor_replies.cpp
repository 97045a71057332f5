// What passes between the supervisor and a worker, and what follows from it.
#include "core/problem_text.h"
#include "daemon/supervisor_worker.h"
#include "interchange/measurements.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

namespace reformer::daemon {
namespace {

using namespace std::chrono_literals;
using Time = std::chrono::steady_clock::time_point;
using nlohmann::json;

constexpr std::chrono::milliseconds kLongestBackOff = 60s;
constexpr std::chrono::milliseconds kLongestBusyPause = 8s;

std::string text_of(const json& object, const char* name) {
  const auto found = object.find(name);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

}  // namespace

void Supervisor::feed(Worker& worker) {
  if (!worker.greeted || !worker.pick) {
    return;
  }
  const core::Key& key = worker.pick->job.key;
  worker.id = next_id_++;
  worker.started_job = clock_();
  worker.deadline = worker.started_job + std::chrono::milliseconds(config_.worker_timeout_ms);
  json extra = json::array();
  for (const core::EngineConfig& config : events_.choices(key)) {
    extra.push_back(core::format_engine_config(config));
  }
  json request = {{"id", worker.id},
                  {"problem", core::format_problem(key.problem)},
                  {"device", core::format_device(key.context.device)},
                  {"cudnn", key.context.cudnn_version},
                  {"extra", std::move(extra)},
                  {"explore", config_.explore},
                  {"max_ms", config_.max_problem_time_ms},
                  {"max_memory_bytes", std::max<std::int64_t>(1, config_.max_memory_bytes)},
                  {"only_when_idle", config_.only_when_idle}};
  worker.process->write(request.dump());
}

void Supervisor::on_line(Worker& worker, std::string_view line) {
  const json reply = json::parse(line, nullptr, false);
  if (!reply.is_object()) {
    worker.process->kill("it wrote garbage");
  } else if (!worker.greeted) {
    const auto protocol = reply.find("protocol");
    if (protocol == reply.end() || *protocol != 1) {
      worker.process->kill("it speaks another protocol");
      return;
    }
    worker.greeted = true;
    worker.timer = text_of(reply, "timer");
    worker.idle_since = clock_();
    feed(worker);
  } else {
    on_reply(worker, reply);
  }
}

void Supervisor::on_reply(Worker& worker, const json& reply) {
  const auto id = reply.find("id");
  if (!worker.pick || id == reply.end() || *id != worker.id) {
    worker.process->kill("it answered what was not asked");
    return;
  }
  const core::KeyHash hash = core::hash_key(worker.pick->job.key);
  if (const auto found = reply.find("record"); found != reply.end()) {
    auto record = interchange::record_from_json(found->dump());
    const bool usable = record && record->key == worker.pick->job.key && core::fastest(*record);
    if (!usable) {
      worker.process->kill(!record ? "it sent a bad record: " + record.error().message
                                   : "it sent a record of something else");
      return;
    }
    record->provenance.source = worker.timer == "recorded" ? "recorded" : "worker";
    ++worker.done;
    worker.back_off = kFirstBackOff;
    worker.busy_pause = kBusyPause;
    const auto pick = *worker.pick;
    end_job(worker);
    events_.on_record(std::move(*record), pick);
    tick();  // the next one, unless it is to rest
    return;
  }
  const std::string error = text_of(reply, "error");
  const std::string why = error + ": " + text_of(reply, "message");
  const bool told = worker.giving_way;
  end_job(worker);
  if (error == "busy") {  // the GPU, not the problem
    worker.not_before = clock_() + worker.busy_pause;
    worker.busy_pause = told ? kBusyPause : std::min(worker.busy_pause * 2, kLongestBusyPause);
    queue_.put_back(hash);
    return;
  }
  ++worker.failed;
  queue_.fail(hash, why);
  if (error == "not_recorded" || error == "unsupported") {
    queue_.fail(hash, why);  // trying again cannot help
  }
  spdlog::info("verification of {} failed: {}", core::format_hash(hash), why);
  events_.on_failure(hash, why);
  tick();
}

// After a measurement the GPU rests, so that measuring takes at most max_gpu_share of the time.
void Supervisor::end_job(Worker& worker) {
  const Time now = clock_();
  if (recorded_.empty()) {
    const auto took = now - worker.started_job;
    const double rest = 1 / config_.max_gpu_share - 1;
    rest_until_[worker.gpu] =
        now + std::chrono::duration_cast<std::chrono::steady_clock::duration>(took * rest);
  }
  worker.pick.reset();
  worker.giving_way = false;
  worker.idle_since = now;
}

// The worker went down with this problem.
void Supervisor::blame(Worker& worker, const std::string& why) {
  if (!worker.pick) {
    return;
  }
  const core::KeyHash hash = core::hash_key(worker.pick->job.key);
  const bool at_work = worker.greeted;
  worker.pick.reset();
  worker.giving_way = false;
  ++worker.failed;
  if (!at_work) {
    queue_.put_back(hash);  // it never came up: not the problem's fault
    return;
  }
  queue_.fail(hash, "worker: " + why);
  events_.on_failure(hash, "worker: " + why);
}

void Supervisor::on_exit(Worker& worker, const std::string& why) {
  const bool expected = worker.ending || stopped_;
  worker.process.reset();
  worker.ending = false;
  if (stopped_) {
    return;
  }
  if (!expected) {
    spdlog::warn("worker (gpu {}, library \"{}\"): {}; again in {} ms",
                 worker.gpu,
                 worker.library,
                 why,
                 worker.back_off.count());
    worker.not_before = clock_() + worker.back_off;
    worker.back_off = std::min(worker.back_off * 2, kLongestBackOff);
  }
  blame(worker, why);
  worker.greeted = false;
}

}  // namespace reformer::daemon
