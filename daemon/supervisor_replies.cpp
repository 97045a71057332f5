// What passes between the supervisor and a worker, and what follows from it.
#include "core/device.h"
#include "core/problem_text.h"
#include "core/utf8.h"
#include "daemon/supervisor_worker.h"
#include "interchange/json_depth.h"
#include "interchange/measurements.h"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>
#include <nlohmann/json.hpp>
#include <utility>

namespace reformer::daemon {
namespace {

using namespace std::chrono_literals;
using Time = std::chrono::steady_clock::time_point;
using nlohmann::json;

constexpr std::chrono::milliseconds kLongestBackOff = 60s;
constexpr std::chrono::milliseconds kLongestBusyPause = 8s;
constexpr std::int64_t kGonePause = 60;  // seconds, for a problem during which the GPU was gone
constexpr std::size_t kMaxGone = 1024;
constexpr std::uint32_t kMostFailedStarts = 5;
constexpr std::size_t kMaxReasonBytes = 500;  // of what a worker says; it is kept on disk

std::string text_of(const json& object, const char* name) {
  const auto found = object.find(name);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

std::optional<core::Context> context_of(const json& hello) {
  const auto device = core::parse_device(text_of(hello, "device"));
  const auto version = hello.find("cudnn");
  if (!device || version == hello.end() || !version->is_number_integer()) {
    return std::nullopt;
  }
  return core::Context{*device, version->get<std::int64_t>()};
}

// Whole characters of UTF-8.
std::string shortened(std::string text) {
  if (text.size() > kMaxReasonBytes) {
    std::size_t end = kMaxReasonBytes;
    while (end > 0 && !core::starts_code_point(text[end])) {
      --end;
    }
    text.resize(end);
  }
  return text;
}

// What is no plan of the key is left out: the measurement counts all the same.
std::vector<core::StoredPlan> plans_in(const json& reply, const core::KeyHash& key) {
  constexpr std::size_t kMost = 16;
  std::vector<core::StoredPlan> plans;
  const auto list = reply.find("plans");
  if (list == reply.end() || !list->is_array()) {
    return plans;
  }
  for (const json& each : *list) {
    auto config = core::parse_engine_config(text_of(each, "config"));
    const auto cuda = each.find("cuda");
    if (config && cuda != each.end() && cuda->is_number_unsigned() && plans.size() < kMost) {
      plans.push_back({key, *config, cuda->get<std::uint64_t>(), text_of(each, "json")});
    }
  }
  return plans;
}

}  // namespace

void Supervisor::feed(Worker& worker) {
  if (!worker.greeted || !worker.pick) {
    return;
  }
  const core::Key& key = worker.pick->job.key;
  if (worker.context && *worker.context != key.context) {
    drop_job(worker, "no worker has this GPU and cuDNN");
    return;
  }
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
                  {"max_ms", config_.max_problem_time_ms * (1 + worker.pick->job.attempts)},
                  {"max_memory_bytes", std::max<std::int64_t>(1, config_.max_memory_bytes)},
                  {"only_when_idle", config_.only_when_idle}};
  worker.process->write(request.dump());
}

void Supervisor::on_line(Worker& worker, std::string_view line) {
  const json reply =
      interchange::nested_too_deeply(line) ? json() : json::parse(line, nullptr, false);
  if (!reply.is_object()) {
    end(worker, "it wrote garbage");
  } else if (!worker.greeted) {
    const auto protocol = reply.find("protocol");
    if (protocol == reply.end() || *protocol != 1) {
      end(worker, "it speaks another protocol");
      return;
    }
    worker.greeted = true;
    worker.failed_starts = 0;
    worker.timer = text_of(reply, "timer");
    worker.context = context_of(reply);
    worker.idle_since = clock_();
    feed(worker);
  } else {
    on_reply(worker, reply);
  }
}

void Supervisor::on_reply(Worker& worker, const json& reply) {
  const auto id = reply.find("id");
  if (!worker.pick || id == reply.end() || *id != worker.id) {
    end(worker, "it answered what was not asked");
    return;
  }
  if (const auto found = reply.find("record"); found != reply.end()) {
    auto record = interchange::record_from_json(found->dump());
    const bool usable = record && record->key == worker.pick->job.key && core::fastest(*record);
    if (!usable) {
      end(worker,
          !record ? "it sent a bad record: " + record.error().message
                  : "it sent a record of something else");
      return;
    }
    record->provenance.source = worker.timer == "recorded" ? "recorded" : "worker";
    ++worker.done;
    worker.back_off = kFirstBackOff;
    worker.busy_pause = kBusyPause;
    const auto pick = *worker.pick;
    end_job(worker);
    // Everybody may load them: never what a library compiled that another user has chosen.
    if (worker.uid == ::getuid()) {
      events_.on_plans(plans_in(reply, core::hash_key(record->key)));
    }
    events_.on_record(std::move(*record), pick);
    tick();  // the next one, unless it is to rest
    return;
  }
  const std::string error = text_of(reply, "error");
  on_error(worker, error, shortened(error + ": " + text_of(reply, "message")));
}

void Supervisor::on_error(Worker& worker, const std::string& error, const std::string& why) {
  const core::KeyHash hash = core::hash_key(worker.pick->job.key);
  const bool told = worker.giving_way;
  end_job(worker);
  if (error == "busy") {  // the GPU, not the problem
    worker.not_before = clock_() + worker.busy_pause;
    worker.busy_pause = told ? kBusyPause : std::min(worker.busy_pause * 2, kLongestBusyPause);
    queue_.put_back(hash);
    return;
  }
  if (error == "unavailable") {
    on_gone(worker, hash, why);
    return;
  }
  ++worker.failed;
  queue_.fail(hash, why);
  if (error == "not_recorded" || error == "unsupported") {
    queue_.fail(hash, why);  // trying again cannot help
  }
  spdlog::info("verification of {} failed: {}", core::format_hash(hash), why);
  events_.on_failure(hash, why);
  if (error == "failed") {
    end(worker, why);  // its GPU faulted: it ends by itself
  }
  tick();
}

// The GPU or the library is gone, which is not the problem's fault: it waits, others are tried, and
// the worker is started again with back-off. Unless others were measured since it happened with
// this problem before: then it is the problem.
void Supervisor::on_gone(Worker& worker, const core::KeyHash& hash, const std::string& why) {
  if (worker.gone_at.size() >= kMaxGone) {
    worker.gone_at.clear();
  }
  const auto [at, is_new] = worker.gone_at.try_emplace(hash, worker.done);
  if (!is_new && worker.done > at->second) {
    worker.gone_at.erase(at);
    ++worker.failed;
    queue_.fail(hash, why);
    events_.on_failure(hash, why);
  } else {
    queue_.put_back(hash, std::time(nullptr) + kGonePause);
  }
  end(worker, why);
}

void Supervisor::end(Worker& worker, const std::string& why) {
  worker.leaving = true;
  worker.process->kill(why);
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
  look_again_ = {};
}

// Nobody here will ever measure it: not kept, not even in quarantine.
void Supervisor::drop_job(Worker& worker, const std::string& why) {
  const core::KeyHash hash = core::hash_key(worker.pick->job.key);
  worker.pick.reset();
  look_again_ = {};
  spdlog::info("verification of {} is dropped: {}", core::format_hash(hash), why);
  queue_.finish(hash);
  events_.on_failure(hash, why);
}

// The worker went down with this problem, or did not come up for it.
void Supervisor::blame(Worker& worker, const std::string& why) {
  if (!worker.pick) {
    return;
  }
  const core::KeyHash hash = core::hash_key(worker.pick->job.key);
  worker.giving_way = false;
  ++worker.failed;
  if (worker.greeted) {
    worker.pick.reset();
    queue_.fail(hash, "worker: " + why);
    events_.on_failure(hash, "worker: " + why);
  } else if (worker.failed_starts >= kMostFailedStarts &&
             (!worker.library.empty() || worker.gpu > 0)) {
    drop_job(worker, "its worker does not start: " + why);  // what a client named
  } else {
    worker.pick.reset();
    queue_.put_back(hash);
  }
}

void Supervisor::on_exit(Worker& worker, const std::string& why) {
  const bool expected = worker.ending || stopped_;
  worker.process.reset();
  worker.ending = worker.leaving = false;
  look_again_ = {};
  if (stopped_) {
    return;
  }
  if (!expected) {
    const Time now = clock_();
    spdlog::warn("worker (gpu {}, library \"{}\"): {}; again in {} ms",
                 worker.gpu,
                 worker.library,
                 why,
                 worker.back_off.count());
    worker.not_before = now + worker.back_off;
    worker.back_off = std::min(worker.back_off * 2, kLongestBackOff);
    if (!worker.greeted) {
      ++worker.failed_starts;
      start_after_ = now + kFirstBackOff;
    }
  }
  blame(worker, why);
  worker.greeted = false;
}

}  // namespace reformer::daemon
