#include "daemon/admin.h"

#include "daemon/admin_impl.h"
#include "interchange/json_depth.h"

#include <algorithm>
#include <chrono>
#include <fstream>
#include <map>
#include <utility>

namespace reformer::daemon {
namespace {

// The name of a request; null where it is no request.
const Json* name_of(const Json& request) {
  const auto name = request.is_object() ? request.find("request") : request.end();
  return request.is_object() && name != request.end() && name->is_string() ? &*name : nullptr;
}

}  // namespace

const model::Predictor* ModelSet::find(std::string_view name) const {
  for (const LoadedModel& loaded : models) {
    if (loaded.predictor->info().name == name) {
      return loaded.predictor.get();
    }
  }
  return nullptr;
}

std::filesystem::path database_directory(const std::filesystem::path& state_dir) {
  return state_dir / "database";
}
std::filesystem::path added_models_directory(const std::filesystem::path& state_dir) {
  return state_dir / "models";
}
std::string provenance_entry(const std::string& model) {
  return "provenance/" + model;
}
std::filesystem::path default_state_dir() {
  return "/var/lib/reformerd";
}

const std::map<std::string_view, AdminService::Impl::Request>& AdminService::Impl::requests() {
  static const std::map<std::string_view, Request> handlers{
      {"status", {&Impl::status}},
      {"stats", {&Impl::stats, Rights::kRead, true}},
      {"clients", {&Impl::clients, Rights::kRead, true}},
      {"list", {&Impl::list, Rights::kRead, false, true}},
      {"show", {&Impl::show}},
      {"query", {&Impl::query}},
      {"explain", {&Impl::explain}},
      {"import", {&Impl::import_lines, Rights::kWrite, true}},
      {"export", {&Impl::export_records, Rights::kRead, false, true}},
      {"forget", {&Impl::forget, Rights::kWrite, true}},
      {"verify", {&Impl::verify, Rights::kWrite, true}},
      {"models", {&Impl::list_models, Rights::kRead, false, true}},
      {"promote", {&Impl::promote, Rights::kWrite, true}},
      {"promotions", {&Impl::promotions}},
      {"add_model", {&Impl::add_model, Rights::kWrite, true}},
      {"acknowledge", {&Impl::acknowledge, Rights::kWrite, true}},
      {"ablation", {&Impl::ablation, Rights::kRead, false, true}},
      {"accuracy", {&Impl::accuracy, Rights::kRead, false, true}},
      {"freeze", {&Impl::freeze, Rights::kRead, false, true}},
      {"check", {&Impl::check}},
      {"diff", {&Impl::diff, Rights::kRead, false, true}},
      {"reload", {&Impl::reload, Rights::kWrite, true}},
      {"compact", {&Impl::compact, Rights::kWrite, true}}};
  return handlers;
}

Status AdminService::Impl::status(const Json&, const AdminReply& reply) {
  const auto counts = database.counts();
  if (!counts) {
    return counts.error();
  }
  const auto set = models();
  Json names = Json::array();
  for (const LoadedModel& loaded : set->models) {
    names.push_back(loaded.predictor->info().name);
  }
  nlohmann::json more = nlohmann::json::object();
  if (live != nullptr) {
    live->add_status(more);
  }
  Json status{{"version", REFORMER_VERSION},
              {"state_dir", options.state_dir.string()},
              {"records", counts->records},
              {"accuracy_rows", counts->accuracy_rows},
              {"queue", {{"length", counts->queued}}},
              {"champion", set->champion},
              {"models", std::move(names)},
              {"database", {{"disk_bytes", counts->disk_bytes}}}};
  // What the running daemon knows goes over what the database says.
  for (const auto& [name, value] : more.items()) {
    if (value.is_object() && status.contains(name)) {
      status[name].update(Json(value));
    } else {
      status[name] = value;
    }
  }
  reply(dump(status), false);
  return core::ok_status();
}

Status AdminService::Impl::stats(const Json&, const AdminReply& reply) {
  reply(live->stats().dump(), false);
  return core::ok_status();
}

Status AdminService::Impl::clients(const Json&, const AdminReply& reply) {
  Rows rows(reply);
  for (const auto& client : live->clients()) {
    rows.add(Json(client));
  }
  rows.finish();
  return core::ok_status();
}

Status AdminService::Impl::reload(const Json&, const AdminReply& reply) {
  const auto done = live->reload();
  if (!done) {
    return done.error();
  }
  reply(done->dump(), false);
  return core::ok_status();
}

Status AdminService::Impl::compact(const Json&, const AdminReply& reply) {
  if (const Status done = database.compact(); !done) {
    return done;
  }
  const auto counts = database.counts();
  if (!counts) {
    return counts.error();
  }
  reply(dump({{"disk_bytes", counts->disk_bytes}}), false);
  return core::ok_status();
}

AdminService::AdminService(storage::Database& database,
                           LiveDaemon* live,
                           ModelSet offline_models,
                           Options options)
    : impl_(new Impl{database, live, std::move(offline_models), std::move(options), {}}) {}
AdminService::~AdminService() = default;

bool AdminService::takes_long(std::string_view json_request) {
  const Json request = Json::parse(json_request, nullptr, false);
  const Json* const name = name_of(request);
  const auto& known = Impl::requests();
  const auto found =
      name != nullptr ? known.find(name->get_ref<const std::string&>()) : known.end();
  return found != known.end() && found->second.takes_long;
}

core::Status AdminService::handle(std::string_view json_request,
                                  const Asker& asker,
                                  const AdminReply& reply) {
  if (interchange::nested_too_deeply(json_request)) {
    return wrong("the request is nested too deeply");
  }
  const Json request = Json::parse(json_request, nullptr, false);
  const Json* const name = name_of(request);
  if (name == nullptr) {
    return wrong("a request is a JSON object with the member \"request\"");
  }
  const auto& known = Impl::requests();
  const auto found = known.find(name->get_ref<const std::string&>());
  if (found == known.end()) {
    return core::make_error(core::ErrorCode::kUnsupported,
                            "this daemon does not know the request " + dump(*name));
  }
  if (found->second.rights == Rights::kWrite && asker.rights != Rights::kWrite) {
    return core::make_error(core::ErrorCode::kDenied,
                            dump(*name) + " is for root, the daemon's user and its admin group");
  }
  if (found->second.needs_daemon && impl_->live == nullptr) {
    return core::make_error(core::ErrorCode::kUnavailable, dump(*name) + " needs a running daemon");
  }
  impl_->asker = asker.name;
  try {
    return (impl_.get()->*found->second.handler)(request, reply);
  } catch (const std::exception& error) {  // a member of another type
    return wrong(error.what());
  }
}

core::Result<std::unique_ptr<OfflineAdmin>> OfflineAdmin::open(
    const std::filesystem::path& state_dir) {
  storage::OpenReport report;
  auto database =
      storage::Database::open(database_directory(state_dir), storage::OpenMode::kReadOnly, &report);
  if (!database) {
    return database.error();
  }
  std::unique_ptr<OfflineAdmin> offline(new OfflineAdmin);
  offline->database_ = std::move(*database);
  ModelSet models;
  const auto paths = offline->database_->find_meta("models");
  std::string list = paths && *paths ? **paths : std::string();
  while (!list.empty()) {
    const std::size_t end = std::min(list.find('\n'), list.size());
    const std::filesystem::path path = list.substr(0, end);
    list.erase(0, end + 1);
    auto predictor = model::Predictor::load(path);
    if (predictor) {
      models.models.push_back({*predictor, path});
    } else {
      offline->notes_.push_back(predictor.error().message);
    }
  }
  const auto champion = offline->database_->find_meta("champion");
  models.champion = champion && *champion ? **champion : std::string();
  AdminService::Options options;
  options.state_dir = state_dir;
  offline->service_ = std::make_unique<AdminService>(
      *offline->database_, nullptr, std::move(models), std::move(options));
  return offline;
}

core::Status OfflineAdmin::handle(std::string_view json_request, const AdminReply& reply) {
  return service_->handle(json_request, Asker{}, reply);
}

}  // namespace reformer::daemon
