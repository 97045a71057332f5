// The daemon as the administrative requests see it: every function here runs on the background
// thread and asks the loop.
#include "daemon/daemon.h"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include <ctime>
#include <utility>

namespace reformer::daemon {
namespace {

using nlohmann::json;

constexpr float kUnknownGain = -1;  // VerificationQueue::value() has an idea of it

// With any library of that version.
storage::QueuedJob own_job(const core::Key& key) {
  storage::QueuedJob job;
  job.key = key;
  job.uid = ::getuid();
  job.queued_at_s = std::time(nullptr);
  return job;
}

core::Error stopping() {
  return core::make_error(core::ErrorCode::kUnavailable, "the daemon is stopping");
}

}  // namespace

bool Daemon::is_stopping() {
  return stopping_;
}

std::shared_ptr<const ModelSet> Daemon::models() {
  const std::lock_guard lock(models_mutex_);
  return models_;
}

void Daemon::add_status(json& status) {
  const auto from_loop = ask_loop([this] {
    return json{{"socket", config_.socket.string()},
                {"queue",
                 {{"length", queue_->waiting()},
                  {"bound", config_.queue_bound},
                  {"quarantined", queue_->quarantined()},
                  {"dropped", queue_->dropped()},
                  {"unstored", unstored_.size()}}},
                {"clients", server_->clients()},
                {"table_complete", table_complete_},
                {"training",
                 {{"running", retraining_->running()},
                  {"last_started_s", retraining_->state().started_s},
                  {"last_result", retraining_->last_result()}}},
                {"workers", supervisor_->describe()}};
  });
  if (from_loop) {
    status.update(*from_loop);
  }
  if (plans_ != nullptr) {
    const PlanStore::Size size = plans_->size();
    status["plans"] = {
        {"folder", plans_->folder().string()}, {"stored", size.plans}, {"bytes", size.bytes}};
  }
  status["pid"] = ::getpid();
  status["uptime_s"] =
      std::chrono::duration_cast<std::chrono::seconds>(std::chrono::steady_clock::now() - started_)
          .count();
  status["database"]["set_aside"] = open_report_.set_aside.string();
  status["database"]["reason"] = open_report_.reason;
  status["table"] = {{"path", line_.config.socket.string() + ".table"},
                     {"entries", table_entries_.load()},
                     {"bytes", table_bytes_.load()}};
  status["alarms"] = json::array();
  for (const json& alarm : alarms()) {
    status["alarms"].push_back(alarm["text"]);
  }
}

json Daemon::alarms() {
  json all = json::array();
  {
    const std::lock_guard lock(alarms_mutex_);
    all = alarms_;
  }
  for (const Alarm& alarm : slower_winners_.alarms()) {
    all.push_back({{"kind", alarm.kind}, {"text", alarm.text}});
  }
  for (const std::string& text : models()->missing) {
    all.push_back({{"kind", "model"}, {"text", text}});
  }
  return all;
}

core::Status Daemon::clear_upgrade_alarms() {
  slower_winners_.clear();
  return database_->put_meta(kSlowerWinnersEntry, slower_winners_.to_text());
}

json Daemon::stats() {
  auto found = ask_loop([this] {
    const auto latency = [](const LatencyHistogram& histogram) {
      return json{{"p50", histogram.percentile_us(0.50)},
                  {"p99", histogram.percentile_us(0.99)},
                  {"n", histogram.count()}};
    };
    return json{{"queries", counters_.queries},
                {"hits", counters_.hits},
                {"predicted", counters_.predicted},
                {"abstained", counters_.abstained},
                {"reports", counters_.reports},
                {"uses", counters_.uses},
                {"verified", counters_.verified},
                {"verify_failed", counters_.verify_failed},
                {"errors", server_->errors()},
                {"connections", server_->accepted()},
                {"shared_table_entries", table_entries_.load()},
                {"latency_us", {{"hit", latency(hit_latency_)}, {"miss", latency(miss_latency_)}}}};
  });
  return found ? std::move(*found) : json::object();
}

json Daemon::clients() {
  auto found = ask_loop([this] {
    json rows = json::array();
    server_->for_each_client([&](const Client& client) {
      json contexts = json::array();
      for (const ClientContext& context : client.contexts) {
        contexts.push_back({{"device", core::format_device(context.context.device)},
                            {"cudnn", context.context.cudnn_version},
                            {"library", context.library},
                            {"gpu", context.gpu}});
      }
      const auto connected = std::chrono::steady_clock::now() - client.connected;
      rows.push_back(
          {{"pid", client.pid},
           {"uid", client.uid},
           {"program", client.program},
           {"client", client.client},
           {"connected_s", std::chrono::duration_cast<std::chrono::seconds>(connected).count()},
           {"queries", client.queries},
           {"hits", client.hits},
           {"predicted", client.predicted},
           {"abstained", client.abstained},
           {"passed_through", client.passed_through},
           {"failures", client.failures},
           {"last_failure", client.last_failure},
           {"contexts", std::move(contexts)}});
    });
    return rows;
  });
  return found ? std::move(*found) : json::array();
}

core::Result<LiveDaemon::Verification> Daemon::verify(const core::Key& key,
                                                      bool force,
                                                      std::function<void(std::string)> done) {
  auto result = ask_loop([&]() -> core::Result<Verification> {
    if (!supervisor_->can_measure()) {
      return core::make_error(core::ErrorCode::kUnavailable,
                              "this daemon has no timer: no GPU and no recorded measurements");
    }
    const storage::QueuedJob job = own_job(key);
    const core::KeyHash hash = core::hash_key(key);
    if (!queue_->add_first(job)) {
      return core::make_error(core::ErrorCode::kExhausted,
                              "the queue is full of what was asked for before");
    }
    if (done) {
      waiting_.emplace(hash, std::move(done));
    }
    if (force) {
      forced_.insert(hash);
    }
    supervisor_->release();
    supervisor_->tick();
    return Verification{true, queue_->position(hash, job.queued_at_s)};
  });
  return result ? std::move(*result) : stopping();
}

void Daemon::verify_later(const core::Key& key) {
  (void)ask_loop([&] {
    if (supervisor_->can_measure()) {
      storage::QueuedJob job = own_job(key);
      job.predicted_gain_us = kUnknownGain;
      (void)queue_->add(job, job.queued_at_s);
    }
    return true;
  });
}

core::Result<json> Daemon::reload() {
  auto line = read_command_line(line_.arguments);
  if (!line || !*line) {
    return line ? stopping() : line.error();
  }
  const Config& fresh = (*line)->config;
  auto set = load_models(fresh);
  if (!set) {
    return set.error();
  }
  auto result = ask_loop([&]() -> core::Result<json> { return reload_on_loop(fresh, *set); });
  return result ? std::move(*result) : stopping();
}

core::Result<json> Daemon::reload_on_loop(const Config& fresh, ModelSet models) {
  json names = json::array();
  for (const auto& loaded : models.models) {
    names.push_back(loaded.predictor->info().name);
  }
  const auto restart = restart_needed(line_.config, fresh);
  for (const std::string& name : restart) {
    spdlog::warn("reload: \"{}\" changes at the next start only", name);
  }
  const auto changed = reloadable_changes(config_, fresh);
  config_ = reloaded(line_.config, fresh);
  use_models(std::move(models));
  use_limits();
  spdlog::info("reloaded: {} models", names.size());
  return json{{"models", std::move(names)}, {"changed", changed}, {"restart_needed", restart}};
}

void Daemon::record_changed(const core::KeyHash& hash) {
  (void)storage_->submit([this, hash] {
    // The context first: who finds the answer in the table may ask for it from another version.
    const auto record = database_->find_record(hash);
    if (record && *record) {
      loop_.post([this, context = (*record)->key.context] { note_context(context); });
    }
    publish(hash);
    if (const auto counts = database_->counts()) {
      records_ = counts->records;
    }
  });
}

void Daemon::record_removed(const core::KeyHash& hash) {
  (void)storage_->submit([this, hash] {
    table_->remove(hash);
    table_entries_ = table_->entries();
  });
}

}  // namespace reformer::daemon
