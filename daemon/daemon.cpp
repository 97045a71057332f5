#include "daemon/daemon.h"

#include <fmt/core.h>

#include <spdlog/spdlog.h>
#include <sys/resource.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <ctime>
#include <fstream>
#include <iterator>
#include <random>
#include <utility>

namespace reformer::daemon {
namespace {

constexpr std::size_t kStorageBound = 8192;
constexpr std::size_t kScorerBound = 1024;
constexpr std::size_t kFillBatch = 256;
constexpr std::size_t kBackgroundBound = 256;
constexpr std::size_t kReaderBound = 256;
constexpr unsigned kTickMs = 50;
constexpr unsigned kFlushMs = 1000;
constexpr unsigned kWatchdogMs = 5000;
constexpr int kScorerNice = 10;

Server::Limits server_limits(const Config& config) {
  return {static_cast<std::size_t>(config.max_clients),
          static_cast<std::size_t>(config.max_user_clients),
          static_cast<std::size_t>(config.max_client_bytes),
          static_cast<std::size_t>(config.max_total_bytes)};
}

VerificationQueue::Options queue_options(const Config& config) {
  return {static_cast<std::size_t>(config.queue_bound), config.random_share, 2};
}

std::string table_path(const Config& config) {
  return config.socket.string() + ".table";
}

}  // namespace

Daemon::Daemon(CommandLine line)
    : line_(std::move(line)),
      config_(line_.config),
      answers_({config_.build_policy, static_cast<std::size_t>(config_.max_engines)}),
      models_(std::make_shared<const ModelSet>()),
      storage_(std::make_unique<WorkThread>("rf-storage", kStorageBound)),
      scorer_(std::make_unique<WorkThread>("rf-scorer", kScorerBound, kScorerNice)),
      reader_(std::make_unique<WorkThread>("rf-reader", kReaderBound)),
      background_(std::make_unique<WorkThread>("rf-admin", kBackgroundBound)) {}

// What is queued for the storage thread is still written. Each thread ends before those that it
// gives work to.
Daemon::~Daemon() {
  stopping_ = true;
  background_->finish();
  reader_->finish();
  storage_->finish();
  scorer_->finish();
  background_.reset();
  retraining_.reset();
  supervisor_.reset();
  server_.reset();
  if (table_) {
    ::unlink(table_path(line_.config).c_str());
  }
}

core::Status Daemon::start() {
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);  // a file size limit is a full disk, not the end
  rlimit files{};                 // each client takes one
  if (::getrlimit(RLIMIT_NOFILE, &files) == 0) {
    files.rlim_cur = files.rlim_max;
    (void)::setrlimit(RLIMIT_NOFILE, &files);
  }
  if (!config_.device_prop.empty()) {
    std::ifstream file(config_.device_prop);
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    const auto device = core::device_from_properties_json(text);
    if (!device) {
      return core::in_context("device_prop " + config_.device_prop.string(), device.error());
    }
    default_context_ = core::Context{*device, config_.cudnn_version};
  }
  if (const auto status = open_database(); !status) {
    return status;
  }
  auto models = load_models(config_);
  if (!models) {
    return models.error();
  }
  use_models(std::move(*models));
  open_plans();
  restore_queue();
  const AdminService::Options options{config_.state_dir,
                                      default_context_,
                                      config_.build_policy,
                                      static_cast<std::size_t>(config_.max_engines),
                                      plans_.get()};
  admin_ = std::make_unique<AdminService>(*database_, this, ModelSet{}, options);
  reading_ = std::make_unique<AdminService>(*database_, this, ModelSet{}, options);
  supervisor_ = std::make_unique<Supervisor>(
      loop_.get(),
      *queue_,
      config_,
      Supervisor::Events{
          [this](core::Record record, const VerificationQueue::Pick& pick) {
            on_record(std::move(record), pick);
          },
          [this](std::vector<core::StoredPlan> plans) { on_plans(std::move(plans)); },
          [this](const core::KeyHash& hash, const std::string& why) { on_failure(hash, why); },
          [this](const core::Key& key) { return choices_for(key); }},
      [] { return std::chrono::steady_clock::now(); });
  const auto trained = database_->find_meta("retraining");
  retraining_ = std::make_unique<Retraining>(
      loop_.get(),
      Retraining::State::from_text(trained ? trained->value_or("") : ""),
      [this](const Retraining::State& state) {
        (void)storage_->try_submit(
            [this, text = state.to_text()] { (void)database_->put_meta("retraining", text); });
      });
  if (const auto slower = database_->find_meta(kSlowerWinnersEntry); slower && *slower) {
    slower_winners_.from_text(**slower);
  }
  // The socket first: the table of a daemon that serves there must not be replaced.
  for (const auto step : {&Daemon::open_socket, &Daemon::open_table}) {
    if (const auto status = (this->*step)(); !status) {
      return status;
    }
  }
  loop_.every(kTickMs, [this] { tick(); });
  loop_.every(kFlushMs, [this] {
    flush_uses();
    tick_retraining();
    reload_if_asked();
  });
  loop_.every(kWatchdogMs, [] { sd_notify(0, "WATCHDOG=1"); });
  loop_.on_signal(SIGTERM, [this] { stop(); });
  loop_.on_signal(SIGINT, [this] { stop(); });
  loop_.on_signal(SIGHUP, [this] {
    reload_asked_ = true;
    reload_if_asked();
    if (reload_asked_) {
      spdlog::warn("reload: waits for the administrative requests before it");
    }
  });
  (void)background_->submit([this] { fill_table(); });
  (void)background_->submit([this] { review(); });
  sd_notifyf(0, "READY=1\nSTATUS=serving %s", config_.socket.c_str());
  spdlog::info("serving {} after {} ms",
               config_.socket.string(),
               std::chrono::duration_cast<std::chrono::milliseconds>(
                   std::chrono::steady_clock::now() - started_)
                   .count());
  return core::ok_status();
}

core::Status Daemon::open_database() {
  std::error_code error;
  std::filesystem::create_directories(config_.state_dir, error);
  if (error) {
    return core::make_error(core::ErrorCode::kUnavailable,
                            config_.state_dir.string() + ": " + error.message());
  }
  auto database = storage::Database::open(
      database_directory(config_.state_dir), storage::OpenMode::kReadWrite, &open_report_);
  if (!database) {
    return core::in_context("state_dir " + config_.state_dir.string(), database.error());
  }
  if (!open_report_.set_aside.empty()) {
    spdlog::error("the database was unreadable and is set aside at {}: {}",
                  open_report_.set_aside.string(),
                  open_report_.reason);
  }
  database_ = std::move(*database);
  return core::ok_status();
}

// Serving works without: then every process compiles for itself.
void Daemon::open_plans() {
  if (config_.max_plan_bytes == 0) {
    return;
  }
  auto plans = PlanStore::open(plan_directory(config_), config_.max_plan_bytes);
  if (!plans) {
    spdlog::warn("compiled plans are not kept: {}", plans.error().message);
    return;
  }
  plans_ = std::move(*plans);
  if (const auto linked = plans_->link(config_.socket); !linked) {
    spdlog::warn("clients will not find the compiled plans: {}", linked.error().message);
  }
}

core::Status Daemon::open_table() {
  const auto counts = database_->counts();
  if (!counts) {
    return counts.error();
  }
  table_complete_ = counts->records == 0;
  records_ = counts->records;
  std::error_code ignored;
  std::filesystem::create_directories(config_.socket.parent_path(), ignored);
  auto table = PublishedTable::create(
      table_path(config_), counts->records, [this](std::shared_ptr<const TableSnapshot> snapshot) {
        loop_.post([this, snapshot = std::move(snapshot)] { answers_.use_table(snapshot); });
      });
  if (!table) {
    return core::in_context("shared table", table.error());
  }
  table_ = std::move(*table);
  table_bytes_ = table_->bytes();
  return core::ok_status();
}

// Runs beside serving: until it is through, what the table does not know is looked up on disk.
void Daemon::fill_table() {
  std::vector<core::Context> contexts;
  std::uint64_t records = 0;
  std::uint64_t damaged = 0;
  // In batches, so that the look-ups of clients always find room in the storage thread's queue.
  using Batch = std::vector<std::pair<core::KeyHash, core::Decision>>;
  auto batch = std::make_shared<Batch>();
  const auto publish_batch = [&] {
    (void)storage_->submit([this, full = std::exchange(batch, std::make_shared<Batch>())] {
      for (const auto& [hash, decision] : *full) {
        if (!table_->contains(hash) &&
            !table_->put(hash, decision)) {  // else something newer is there
          table_lacks_ = true;
        }
      }
    });
  };
  const auto status = database_->for_each_record(
      [&](const core::Record& record) {
        ++records;
        if (std::find(contexts.begin(), contexts.end(), record.key.context) == contexts.end()) {
          contexts.push_back(record.key.context);
        }
        batch->emplace_back(core::hash_key(record.key), table_decision(record));
        if (batch->size() == kFillBatch) {
          publish_batch();
        }
        return !stopping_;
      },
      [&](const core::KeyHash& hash, const core::Error& error) {
        ++damaged;
        spdlog::warn("record {} is damaged: {}", core::format_hash(hash), error.message);
      });
  if (!status) {
    spdlog::error("reading the records: {}", status.error().message);
  }
  publish_batch();
  const bool read_all = status.ok() && damaged == 0;
  (void)storage_->submit([this, contexts, read_all] {
    table_entries_ = table_->entries();
    table_bytes_ = table_->bytes();
    const bool whole = read_all && !table_lacks_;
    if (table_lacks_) {
      spdlog::error("the shared table has no room for all answers: the rest is looked up on disk");
    }
    loop_.post([this, contexts, whole] {
      std::for_each(
          contexts.begin(), contexts.end(), [this](const auto& context) { note_context(context); });
      table_complete_ = whole;
    });
  });
  spdlog::debug("table of measured answers: {} records", records);
}

core::Status Daemon::open_socket() {
  Server::Handler handler{
      [this](Client& client,
             std::uint32_t id,
             const core::wire::PlainQuery& query,
             std::vector<std::byte>& out) { return on_plain_query(client, id, query, out); },
      [this](Client& client, std::uint32_t id, const core::wire::Query& query) {
        return on_query(client, id, query);
      },
      [this](Client& client, const ClientContext& context, const core::wire::Report& report) {
        on_report(client, context, report);
      },
      [this](Client& client, std::uint32_t id, const std::string& json) {
        on_admin(client, id, json);
      },
      [this](const ClientContext& context) { on_context(context); }};
  server_ = std::make_unique<Server>(
      loop_.get(), std::move(handler), server_limits(config_), table_path(config_));
  if (sd_listen_fds(0) == 1) {
    return server_->adopt(SD_LISTEN_FDS_START);
  }
  return server_->listen(config_.socket);
}

void Daemon::restore_queue() {
  const auto store = [this](auto job) {
    if (!storage_->try_submit(std::move(job))) {
      spdlog::warn("the storage queue is full: a change of the work list is not kept");
    }
  };
  queue_ = std::make_unique<VerificationQueue>(
      queue_options(config_),
      VerificationQueue::Changes{[this, store](const storage::QueuedJob& job) {
                                   store([this, job] { (void)database_->put_job(job); });
                                 },
                                 [this, store](const core::KeyHash& hash) {
                                   store([this, hash] { (void)database_->remove_job(hash); });
                                 }},
      std::random_device{}());
  const auto jobs = database_->jobs();
  if (!jobs) {
    spdlog::error("the work list cannot be read: {}", jobs.error().message);
    return;
  }
  for (const auto& job : *jobs) {
    queue_->restore(job);
  }
}

core::Result<ModelSet> Daemon::load_models(const Config& config) const {
  ModelSet set;
  std::string paths;
  for (const auto& path : config.models) {
    auto predictor = model::Predictor::load(path);
    if (!predictor) {
      return core::in_context("model " + path.string(), predictor.error());
    }
    const std::string name = (*predictor)->info().name;
    if (set.find(name) != nullptr) {
      return core::make_error(core::ErrorCode::kInvalidArgument,
                              "model " + path.string() + ": \"" + name + "\" is loaded twice");
    }
    set.models.push_back({std::move(*predictor), path});
    paths += std::filesystem::absolute(path).string() + "\n";
  }
  // Without a promotion the first of the configuration answers: an added model never does.
  const std::string first =
      set.models.empty() ? std::string() : set.models.front().predictor->info().name;
  load_added_models(set);
  for (std::size_t i = config.models.size(); i < set.models.size(); ++i) {
    paths += std::filesystem::absolute(set.models[i].path).string() + "\n";
  }
  (void)database_->put_meta("models", paths);  // for --offline
  const auto champion = database_->find_meta("champion");
  if (champion && *champion && set.find(**champion) != nullptr) {
    set.champion = **champion;
  } else {
    set.champion = first;
    if (champion && *champion) {
      set.missing.push_back(fmt::format(
          "the champion \"{}\" is not loaded; \"{}\" answers", **champion, set.champion));
      spdlog::warn("{}", set.missing.back());
    }
  }
  return set;
}

// One that cannot be read is named in the log and left out: the others are none the worse.
void Daemon::load_added_models(ModelSet& set) const {
  std::error_code error;
  std::vector<std::filesystem::path> files;
  for (const auto& file :
       std::filesystem::directory_iterator(added_models_directory(config_.state_dir), error)) {
    if (file.path().extension() == ".reformer") {
      files.push_back(file.path());
    }
  }
  std::sort(files.begin(), files.end());
  for (const auto& path : files) {
    auto predictor = model::Predictor::load(path);
    if (!predictor) {
      set.missing.push_back(
          fmt::format("added model {}: {}", path.string(), predictor.error().message));
      spdlog::error("{}", set.missing.back());
    } else if (set.find((*predictor)->info().name) != nullptr) {
      spdlog::warn(
          "added model {}: \"{}\" is loaded already", path.string(), (*predictor)->info().name);
    } else {
      set.models.push_back({std::move(*predictor), path});
    }
  }
}

void Daemon::use_models(ModelSet models) {
  const auto shared = std::make_shared<const ModelSet>(std::move(models));
  answers_.use_models(shared);
  const std::lock_guard lock(models_mutex_);
  models_ = shared;
}

void Daemon::use_limits() {
  spdlog::set_level(spdlog::level::from_str(config_.log_level));
  server_->set_limits(server_limits(config_));
  queue_->set_options(queue_options(config_));
  supervisor_->configure(config_);
}

// Where the queue of rf-admin is full, again at the next second.
void Daemon::reload_if_asked() {
  if (!reload_asked_) {
    return;
  }
  reload_asked_ = !background_->try_submit([this] {
    if (const auto done = reload(); !done) {
      spdlog::error("reload: {}", done.error().message);
    }
  });
}

void Daemon::tick() {
  if (const auto now = std::chrono::steady_clock::now(); !unstored_.empty() && now >= next_store_) {
    next_store_ = now + kStoreAgain;
    retry_store();
  }
  supervisor_->tick();
}

void Daemon::tick_retraining() {
  std::optional<core::Context> context = default_context_;
  if (!context && !known_contexts_.empty()) {
    context = known_contexts_.front().first;  // of the newest cuDNN
  }
  retraining_->tick(config_, std::time(nullptr), records_, context);
}

void Daemon::run() {
  loop_.run();
}

void Daemon::stop() {
  spdlog::info("stopping");
  sd_notify(0, "STOPPING=1");
  stopping_ = true;
  server_->close();
  supervisor_->stop();
  retraining_->stop();
  flush_uses();
  for (const auto& measured : std::exchange(unstored_, {})) {
    store(measured);
  }
  loop_.stop();
}

}  // namespace reformer::daemon
