#include "daemon/admin.h"

#include "core/problem_text.h"
#include "daemon/admin_requests.h"
#include "daemon/config.h"
#include "daemon/drift.h"

#include <algorithm>
#include <cmath>
#include <exception>
#include <map>
#include <sstream>
#include <utility>

namespace reformer::daemon {

std::filesystem::path database_directory(const std::filesystem::path& state_dir) {
  return state_dir / "db";
}
std::filesystem::path default_state_dir() {
  return Config{}.state_dir;
}

const model::Predictor* ModelSet::find(std::string_view name) const {
  const auto found = std::find_if(models.begin(), models.end(), [&](const LoadedModel& loaded) {
    return loaded.predictor->info().name == name;
  });
  return found == models.end() ? nullptr : found->predictor.get();
}

void fail(core::ErrorCode code, std::string message) {
  throw BadRequest{core::make_error(code, std::move(message))};
}

std::string text_member(const json& request, const char* name) {
  const auto found = request.find(name);
  if (found == request.end() || found->is_null()) {
    return {};
  }
  if (!found->is_string()) {
    fail(core::ErrorCode::kInvalidArgument, std::string(name) + ": expected text");
  }
  return found->get<std::string>();
}

bool flag_member(const json& request, const char* name) {
  const auto found = request.find(name);
  if (found != request.end() && !found->is_boolean() && !found->is_null()) {
    fail(core::ErrorCode::kInvalidArgument, std::string(name) + ": expected true or false");
  }
  return found != request.end() && found->is_boolean() && found->get<bool>();
}

std::int64_t number_member(const json& request, const char* name, std::int64_t absent) {
  const auto found = request.find(name);
  if (found == request.end() || found->is_null()) {
    return absent;
  }
  if (!found->is_number_integer()) {
    fail(core::ErrorCode::kInvalidArgument, std::string(name) + ": expected a whole number");
  }
  return found->get<std::int64_t>();
}

json number_or_null(double value) {
  return std::isfinite(value) ? json(value) : json(nullptr);
}

void RowWriter::add(json row) {
  bytes_ += row.dump(-1, ' ', false, json::error_handler_t::replace).size();
  rows_.push_back(std::move(row));
  if (bytes_ >= kPieceBytes) {
    send(true, json::object());
  }
}
void RowWriter::finish(json totals) {
  send(false, std::move(totals));
}
void RowWriter::send(bool more, json totals) {
  totals["rows"] = std::exchange(rows_, json::array());
  bytes_ = 0;
  reply_(totals.dump(-1, ' ', false, json::error_handler_t::replace), more);
}

std::shared_ptr<const ModelSet> AdminService::Impl::models() const {
  return live != nullptr ? live->models() : offline_models;
}

LiveDaemon& AdminService::Impl::daemon() const {
  if (live == nullptr) {
    fail(core::ErrorCode::kUnavailable, "this needs a running daemon");
  }
  return *live;
}

void AdminService::Impl::each_record(const std::function<bool(const core::Record&)>& visit) {
  need(database.for_each_record(visit, [](const core::KeyHash&, const core::Error&) {}));
}

// Named in the request, the configured one, or the only one that the cache knows.
core::Context AdminService::Impl::context_of(const json& request) {
  core::Context context = options.default_context.value_or(core::Context{});
  const std::string device = text_member(request, "device");
  const std::int64_t cudnn = number_member(request, "cudnn", 0);
  if (!device.empty()) {
    context.device = need(core::parse_device(device));
  }
  context.cudnn_version = cudnn != 0 ? cudnn : context.cudnn_version;
  if (!context.device.name.empty() && context.cudnn_version != 0) {
    return context;
  }
  std::vector<core::Context> known;
  each_record([&](const core::Record& record) {
    const core::Context& found = record.key.context;
    const bool fits = (device.empty() || found.device == context.device) &&
                      (cudnn == 0 || found.cudnn_version == cudnn);
    if (fits && std::find(known.begin(), known.end(), found) == known.end()) {
      known.push_back(found);
    }
    return known.size() < 16;
  });
  if (known.size() == 1) {
    return known.front();
  }
  std::ostringstream text;
  text << "say device and cudnn: the cache knows " << (known.empty() ? "none" : "");
  for (const auto& one : known) {
    text << (&one == known.data() ? "" : ", ") << core::format_device(one.device) << " with cuDNN "
         << one.cudnn_version;
  }
  fail(core::ErrorCode::kInvalidArgument, text.str());
}

core::Key AdminService::Impl::key_of(const json& request) {
  const std::string text = text_member(request, "problem");
  if (text.empty()) {
    fail(core::ErrorCode::kInvalidArgument, "problem: missing");
  }
  const auto problem = need(core::parse_problem(text));
  return {context_of(request), problem};
}

void AdminService::Impl::status(const AdminReply& reply) {
  const auto counts = need(database.counts());
  const auto set = models();
  json answer = {{"version", "0.1.0"},
                 {"state_dir", options.state_dir.string()},
                 {"records", counts.records},
                 {"accuracy_rows", counts.accuracy_rows},
                 {"queue", {{"length", counts.queued}}},
                 {"champion", set->champion},
                 {"models", set->models.size()},
                 {"database", {{"disk_bytes", counts.disk_bytes}}}};
  if (live != nullptr) {
    live->add_status(answer);
  }
  reply(answer.dump(-1, ' ', false, json::error_handler_t::replace), false);
}

void AdminService::Impl::list_models(const AdminReply& reply) {
  std::map<std::string, std::pair<std::uint64_t, double>> log;  // rows, sum of log slowdowns
  need(database.for_each_accuracy(0, [&](const storage::AccuracyRow& row) {
    if (row.covered) {
      log[row.variant].first += 1;
      log[row.variant].second += std::log(static_cast<double>(row.slowdown));
    }
    return true;
  }));
  const auto set = models();
  RowWriter rows(reply);
  for (const LoadedModel& loaded : set->models) {
    const model::ModelInfo& info = loaded.predictor->info();
    json contexts = json::array();
    for (const auto& context : info.contexts) {
      contexts.push_back(
          {{"device", core::format_device(context.device)}, {"cudnn", context.cudnn_version}});
    }
    json metrics = json::object();
    for (const auto& [name, value] : info.metrics) {
      metrics[name] = number_or_null(value);
    }
    const auto& [count, sum] = log[info.name];
    rows.add({{"name", info.name},
              {"block", info.block},
              {"target", info.target},
              {"blocks", info.blocks},
              {"sharpness", info.sharpness},
              {"seed", info.seed},
              {"parameters", info.parameters},
              {"classes", info.classes},
              {"data_hash", info.data_hash},
              {"training_problems", info.training_problems},
              {"contexts", std::move(contexts)},
              {"abstain_below", info.abstain_below},
              {"metrics", std::move(metrics)},
              {"champion", info.name == set->champion},
              {"path", loaded.path.string()},
              {"rows", count},
              {"geomean_slowdown",
               count > 0 ? json(std::exp(sum / static_cast<double>(count))) : json(nullptr)}});
  }
  rows.finish();
}

void AdminService::Impl::promote(const json& request, const AdminReply& reply) {
  std::string name = text_member(request, "model");
  const std::string previous = daemon().models()->champion;
  if (flag_member(request, "rollback")) {
    const auto before = need(database.find_meta("champion.previous"));
    if (!before || before->empty()) {
      fail(core::ErrorCode::kInvalidArgument, "there was no champion before this one");
    }
    name = *before;
  }
  need(daemon().set_champion(name));
  reply(json{{"champion", name}, {"previous", previous}}.dump(), false);
}

void AdminService::Impl::check(const AdminReply& reply) {
  std::vector<storage::AccuracyRow> rows;
  need(database.for_each_accuracy(0, [&](const storage::AccuracyRow& row) {
    rows.push_back(row);
    return true;
  }));
  json alarms = json::array();
  for (const Alarm& alarm : drift_alarms(rows, models()->champion, options.drift)) {
    alarms.push_back({{"kind", alarm.kind}, {"text", alarm.text}});
  }
  const bool ok = alarms.empty();
  reply(json{{"ok", ok}, {"alarms", std::move(alarms)}}.dump(), false);
}

void AdminService::Impl::verify(const json& request, const AdminReply& reply) {
  const core::Key key = key_of(request);
  const bool wait = flag_member(request, "wait");
  std::function<void(std::string)> done;
  if (wait) {
    done = [this, key, reply](const std::string& error) {
      const auto record = database.find_record(key);
      const bool measured = error.empty() && record && *record;
      json answer = measured ? record_json(**record, 0) : json{{"error", error}};
      answer["queued"] = false;
      reply(answer.dump(-1, ' ', false, json::error_handler_t::replace), false);
    };
  }
  const auto result = need(daemon().verify(key, flag_member(request, "force"), done));
  if (!wait) {
    reply(json{{"queued", result.queued}, {"position", result.position}}.dump(), false);
  }
}

AdminService::AdminService(storage::Database& database,
                           LiveDaemon* live,
                           ModelSet offline_models,
                           Options options)
    : impl_(new Impl{database,
                     live,
                     std::make_shared<const ModelSet>(std::move(offline_models)),
                     std::move(options)}) {}
AdminService::~AdminService() = default;

core::Status AdminService::handle(std::string_view json_request,
                                  Rights rights,
                                  const AdminReply& reply) try {
  const json request = json::parse(json_request, nullptr, false);
  if (!request.is_object()) {
    fail(core::ErrorCode::kInvalidArgument, "a request is one JSON object");
  }
  Impl& impl = *impl_;
  const auto with = [&](void (Impl::*handler)(const json&, const AdminReply&)) {
    return [&impl, &request, &reply, handler] { (impl.*handler)(request, reply); };
  };
  const auto without = [&](void (Impl::*handler)(const AdminReply&)) {
    return [&impl, &reply, handler] { (impl.*handler)(reply); };
  };
  struct Entry {
    Rights needed;
    std::function<void()> run;
  };
  const std::map<std::string_view, Entry> requests = {
      {"status", {Rights::kRead, without(&Impl::status)}},
      {"stats", {Rights::kRead, [&] { reply(impl.daemon().stats().dump(), false); }}},
      {"clients",
       {Rights::kRead,
        [&] {
          RowWriter rows(reply);
          for (json& row : impl.daemon().clients()) {
            rows.add(std::move(row));
          }
          rows.finish();
        }}},
      {"models", {Rights::kRead, without(&Impl::list_models)}},
      {"check", {Rights::kRead, without(&Impl::check)}},
      {"list", {Rights::kRead, with(&Impl::list)}},
      {"show", {Rights::kRead, with(&Impl::show)}},
      {"query", {Rights::kRead, with(&Impl::query)}},
      {"explain", {Rights::kRead, with(&Impl::explain)}},
      {"export", {Rights::kRead, with(&Impl::export_records)}},
      {"freeze", {Rights::kRead, with(&Impl::freeze)}},
      {"diff", {Rights::kRead, with(&Impl::diff)}},
      {"ablation", {Rights::kRead, with(&Impl::ablation)}},
      {"accuracy", {Rights::kRead, with(&Impl::accuracy)}},
      {"import", {Rights::kWrite, with(&Impl::import_lines)}},
      {"forget", {Rights::kWrite, with(&Impl::forget)}},
      {"verify", {Rights::kWrite, with(&Impl::verify)}},
      {"promote", {Rights::kWrite, with(&Impl::promote)}},
      {"reload", {Rights::kWrite, [&] { reply(need(impl.daemon().reload()).dump(), false); }}},
      {"compact", {Rights::kWrite, [&] {
                     need(impl.database.compact());
                     const auto counts = need(impl.database.counts());
                     reply(json{{"disk_bytes", counts.disk_bytes}}.dump(), false);
                   }}}};
  const std::string name = text_member(request, "request");
  const auto found = requests.find(name);
  if (found == requests.end()) {
    return core::make_error(core::ErrorCode::kUnsupported, "unknown request \"" + name + "\"");
  }
  if (found->second.needed == Rights::kWrite && rights != Rights::kWrite) {
    return core::make_error(core::ErrorCode::kDenied,
                            "\"" + name + "\" is for root, the daemon's user and its admin_group");
  }
  found->second.run();
  return core::ok_status();
} catch (const BadRequest& bad) {
  return bad.error;
} catch (const std::exception& error) {
  return core::make_error(core::ErrorCode::kInternal, error.what());
}

core::Result<std::unique_ptr<OfflineAdmin>> OfflineAdmin::open(
    const std::filesystem::path& state_dir) {
  std::unique_ptr<OfflineAdmin> admin(new OfflineAdmin);
  storage::OpenReport report;
  auto database =
      storage::Database::open(database_directory(state_dir), storage::OpenMode::kReadOnly, &report);
  if (!database) {
    return database.error();
  }
  admin->database_ = std::move(*database);
  ModelSet set;
  const auto paths = admin->database_->find_meta("models");
  std::istringstream lines(paths && *paths ? **paths : std::string());
  for (std::string path; std::getline(lines, path);) {
    auto predictor = model::Predictor::load(path);
    if (predictor) {
      set.models.push_back({std::move(*predictor), path});
    } else {
      admin->notes_.push_back(path + ": " + predictor.error().message);
    }
  }
  const auto champion = admin->database_->find_meta("champion");
  if (champion && *champion) {
    set.champion = **champion;
  } else if (!set.models.empty()) {
    set.champion = set.models.front().predictor->info().name;
  }
  AdminService::Options options;
  options.state_dir = state_dir;
  admin->service_ = std::make_unique<AdminService>(
      *admin->database_, nullptr, std::move(set), std::move(options));
  return admin;
}

core::Status OfflineAdmin::handle(std::string_view json_request, const AdminReply& reply) {
  return service_->handle(json_request, Rights::kRead, reply);
}

}  // namespace reformer::daemon
