#include "daemon/admin.h"

#include "core/codec.h"
#include "core/problem_text.h"
#include "daemon/admin_impl.h"
#include "daemon/admin_list.h"
#include "interchange/json_depth.h"
#include "interchange/measurements.h"

#include <algorithm>
#include <chrono>
#include <fstream>
#include <iterator>
#include <map>
#include <utility>

namespace reformer::daemon {
namespace {

constexpr std::size_t kMaxImportLines = 100000;

// The name of a request; null where it is no request.
const Json* name_of(const Json& request) {
  const auto name = request.is_object() ? request.find("request") : request.end();
  return request.is_object() && name != request.end() && name->is_string() ? &*name : nullptr;
}

// A row of `diff`, where both have a time.
std::optional<Json> diff_row(const core::Record& older, const core::Record& newer) {
  const core::Candidate* const from = core::fastest(older);
  const core::Candidate* const to = core::fastest(newer);
  if (from == nullptr || to == nullptr) {
    return std::nullopt;
  }
  return Json{{"problem", core::format_problem(older.key.problem)},
              {"from_us", static_cast<double>(from->time_us)},
              {"to_us", static_cast<double>(to->time_us)},
              {"ratio", static_cast<double>(to->time_us) / static_cast<double>(from->time_us)}};
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

core::Result<core::Context> AdminService::Impl::context_of(const Json& request) {
  const auto device = request.find("device");
  const auto version = request.find("cudnn");
  const bool has_device = device != request.end() && device->is_string();
  const bool has_version = version != request.end() && version->is_number_unsigned();
  std::optional<core::Context> context = options.default_context;
  std::vector<core::Context> seen;
  if (!context && !(has_device && has_version)) {  // the only one there is: all records are read
    const Status done = for_each_match({}, [&seen](const core::Record& record) {
      if (std::find(seen.begin(), seen.end(), record.key.context) == seen.end()) {
        seen.push_back(record.key.context);
      }
      return seen.size() < 8;
    });
    if (!done) {
      return done.error();
    }
    if (seen.size() == 1) {
      context = seen.front();
    }
  }
  if (has_device) {
    auto parsed = core::parse_device(device->get_ref<const std::string&>());
    if (!parsed) {
      return parsed.error();
    }
    context = context.value_or(core::Context{});
    context->device = *parsed;
  }
  if (has_version) {
    context = context.value_or(core::Context{});
    context->cudnn_version = version->get<std::int64_t>();
  }
  if (!context || context->device.name.empty() || context->cudnn_version == 0) {
    std::string message = "which GPU and cuDNN? give device and cudnn";
    for (const core::Context& known : seen) {
      message += "; there is " + core::format_device(known.device) + " with " +
                 std::to_string(known.cudnn_version);
    }
    return wrong(message);
  }
  return *context;
}

core::Result<core::Key> AdminService::Impl::key_of(const Json& request) {
  const auto text = request.find("problem");
  if (text == request.end() || !text->is_string()) {
    return wrong("problem: expected problem text");
  }
  auto problem = core::parse_problem(text->get_ref<const std::string&>());
  if (!problem) {
    return problem.error();
  }
  auto context = context_of(request);
  if (!context) {
    return context.error();
  }
  return core::Key{*context, *problem};
}

core::Result<core::Decision> AdminService::Impl::decide(const core::Key& key,
                                                        const core::Constraints& constraints,
                                                        std::optional<core::Record>& record) {
  auto found = database.find_record(key);
  if (!found) {
    return found.error();
  }
  record = std::move(*found);
  if (record) {
    return core::decide_measured(
        *record, constraints, options.build_policy, core::kMaxDecisionEntries, options.max_engines);
  }
  const auto set = models();
  const model::Predictor* const champion = set->champion_predictor();
  if (champion == nullptr) {
    return core::Decision{};
  }
  model::Predictor::Scratch scratch(*champion);
  return champion->decide(key.context,
                          key.problem,
                          constraints,
                          options.build_policy,
                          core::kMaxDecisionEntries,
                          options.max_engines,
                          scratch);
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

Status AdminService::Impl::for_each_match(const Json& request,
                                          const std::function<bool(const core::Record&)>& visit) {
  const auto filter = filter_from(request);
  if (!filter) {
    return filter.error();
  }
  bool cut_short = false;
  const Status done = database.for_each_record(
      [&](const core::Record& record) {
        cut_short = stopping();
        return !cut_short && (!filter->matches(record) || visit(record));
      },
      [](const core::KeyHash&, const core::Error&) {});
  return cut_short ? stopped() : done;
}

// Which, first; then each is read again, so that none but their places are held.
Status AdminService::Impl::list(const Json& request, const AdminReply& reply) {
  auto places = ListedPlaces::from(request);
  if (!places) {
    return places.error();
  }
  const Status done = for_each_match(request, [&](const core::Record& record) {
    places->add(record, [this](const core::KeyHash& hash) { return uses_of(hash).executions; });
    return true;
  });
  if (!done) {
    return done;
  }
  Rows out(reply);
  for (const core::KeyHash& hash : places->in_order()) {
    const auto record = database.find_record(hash);
    if (!record) {
      return record.error();
    }
    if (*record && !out.add(list_row(**record, uses_of(hash)))) {
      break;
    }
  }
  out.finish({{"total", places->total()}});
  return core::ok_status();
}

Status AdminService::Impl::show(const Json& request, const AdminReply& reply) {
  const auto key = key_of(request);
  if (!key) {
    return key.error();
  }
  const auto record = database.find_record(*key);
  if (!record) {
    return record.error();
  }
  if (!*record) {
    return core::make_error(core::ErrorCode::kNotFound,
                            "not measured: " + core::format_problem(key->problem) + " on " +
                                core::format_device(key->context.device) + " with cuDNN " +
                                std::to_string(key->context.cudnn_version));
  }
  reply(dump(record_json(**record, uses_of(core::hash_key(*key)))), false);
  return core::ok_status();
}

Status AdminService::Impl::query(const Json& request, const AdminReply& reply) {
  const auto key = key_of(request);
  const auto constraints = constraints_from(request);
  if (!key || !constraints) {
    return !key ? key.error() : constraints.error();
  }
  std::optional<core::Record> record;
  const auto decision = decide(*key, *constraints, record);
  if (!decision) {
    return decision.error();
  }
  if (!record && live != nullptr && flag(request, "verify")) {
    live->verify_later(*key);
  }
  Json answer{{"problem", core::format_problem(key->problem)}};
  answer.update(decision_json(*decision));
  reply(dump(answer), false);
  return core::ok_status();
}

Status AdminService::Impl::explain(const Json& request, const AdminReply& reply) {
  const auto key = key_of(request);
  const auto constraints = constraints_from(request);
  if (!key || !constraints) {
    return !key ? key.error() : constraints.error();
  }
  std::optional<core::Record> record;
  const auto decision = decide(*key, *constraints, record);
  if (!decision) {
    return decision.error();
  }
  Json filtered_out = Json::array();
  Json speedup = nullptr;
  std::string why = "not measured; ";
  const auto set = models();
  if (record) {
    why = std::to_string(record->candidates.size()) + " candidates measured";
    for (const core::Candidate& candidate : record->candidates) {
      const core::Verdict verdict = core::judge(candidate, *constraints);
      if (verdict != core::Verdict::kAllowed) {
        filtered_out.push_back({{"config", core::format_engine_config(candidate.config)},
                                {"time_us", number_or_null(static_cast<double>(candidate.time_us))},
                                {"verdict", core::to_string(verdict)}});
      }
    }
    const core::Candidate* const first = core::first_of_heuristic_a(*record);
    if (first != nullptr && !decision->entries.empty()) {
      speedup = static_cast<double>(first->time_us) /
                static_cast<double>(decision->entries.front().time_us);
    }
  } else if (decision->source == core::Source::kPredicted) {
    why += "predicted by " + decision->model;
  } else {
    why += set->champion.empty() ? "no model is loaded"
                                 : set->champion + " is not sure enough, or has no class for it";
  }
  Json predictions = Json::array();
  for (const LoadedModel& loaded : set->models) {
    model::Predictor::Scratch scratch(*loaded.predictor);
    model::Ranking ranking;
    loaded.predictor->rank(key->problem, 8, scratch, ranking);
    Json entries = Json::array();
    for (std::uint32_t i = 0; i < ranking.count; ++i) {
      entries.push_back(
          {{"config",
            core::format_engine_config(
                loaded.predictor->class_entry(ranking.classes[i].class_index).config)}});
    }
    predictions.push_back({{"model", loaded.predictor->info().name},
                           {"champion", loaded.predictor->info().name == set->champion},
                           {"abstained", ranking.abstained},
                           {"confidence", static_cast<double>(ranking.confidence)},
                           {"entries", std::move(entries)}});
  }
  reply(dump({{"problem", core::format_problem(key->problem)},
              {"decision", decision_json(*decision)},
              {"why", why},
              {"filtered", std::move(filtered_out)},
              {"speedup_over_heuristic_a", std::move(speedup)},
              {"predictions", std::move(predictions)}}),
        false);
  return core::ok_status();
}

Status AdminService::Impl::import_lines(const Json& request, const AdminReply& reply) {
  const auto lines = request.find("lines");
  if (lines == request.end() || !lines->is_array() || lines->size() > kMaxImportLines) {
    return wrong("lines: expected a list of reformer-measurements/1 lines");
  }
  std::size_t stored = 0;
  std::size_t kept = 0;
  Json rejected = Json::array();
  for (std::size_t i = 0; i < lines->size(); ++i) {
    const Json& line = (*lines)[i];
    auto record = line.is_string()
                      ? interchange::record_from_json(line.get_ref<const std::string&>())
                      : core::Result<core::Record>(wrong("not text"));
    if (!record) {
      rejected.push_back({{"index", i}, {"error", record.error().message}});
      continue;
    }
    const bool last = i + 1 == lines->size();
    // One synced write at the end makes all before it durable: they share the log.
    const auto put =
        database.put_record(*record,
                            storage::Database::Merge::kBetterFounded,
                            last ? storage::Durability::kSynced : storage::Durability::kBuffered);
    if (!put) {
      return put.error();
    }
    (*put ? stored : kept) += 1;
    if (*put) {
      live->record_changed(core::hash_key(record->key));
    }
  }
  if (const Status synced = database.put_meta("last_import", std::to_string(now_s())); !synced) {
    return synced;
  }
  reply(dump({{"stored", stored}, {"kept", kept}, {"rejected", std::move(rejected)}}), false);
  return core::ok_status();
}

Status AdminService::Impl::export_records(const Json& request, const AdminReply& reply) {
  Rows rows(reply);
  const Status done = for_each_match(request, [&rows](const core::Record& record) {
    return rows.add_text(interchange::record_to_json(record));
  });
  if (!done) {
    return done;
  }
  rows.finish();
  return core::ok_status();
}

Status AdminService::Impl::forget(const Json& request, const AdminReply& reply) {
  std::vector<core::KeyHash> hashes;
  if (request.contains("problem")) {
    const auto key = key_of(request);
    if (!key) {
      return key.error();
    }
    hashes.push_back(core::hash_key(*key));
  } else {
    if (!flag(request, "all")) {
      return wrong("forgetting more than one problem needs all: true");
    }
    const Status done = for_each_match(request, [&hashes](const core::Record& record) {
      hashes.push_back(core::hash_key(record.key));
      return true;
    });
    if (!done) {
      return done;
    }
  }
  std::size_t forgotten = 0;
  for (const core::KeyHash& hash : hashes) {
    live->record_removed(hash);
    const auto removed = database.forget_record(hash);
    if (!removed) {
      return removed.error();
    }
    forgotten += *removed ? 1 : 0;
  }
  reply(dump({{"forgotten", forgotten}}), false);
  return core::ok_status();
}

Status AdminService::Impl::verify(const Json& request, const AdminReply& reply) {
  const auto key = key_of(request);
  if (!key) {
    return key.error();
  }
  std::function<void(std::string)> done = [](const std::string&) {};
  if (flag(request, "wait")) {
    done = [this, key = *key, reply](const std::string& error) {
      const auto record = database.find_record(key);
      if (!error.empty() || !record || !*record) {
        reply(dump({{"queued", false}, {"error", error.empty() ? "not measured" : error}}), false);
        return;
      }
      reply(dump(record_json(**record, uses_of(core::hash_key(key)))), false);
    };
  }
  const auto queued = live->verify(*key, flag(request, "force"), std::move(done));
  if (!queued) {
    return queued.error();
  }
  if (!flag(request, "wait")) {
    reply(dump({{"queued", queued->queued}, {"position", queued->position}}), false);
  }
  return core::ok_status();
}

Status AdminService::Impl::freeze(const Json& request, const AdminReply& reply) {
  Rows rows(reply);
  const Status done = for_each_match(request, [&](const core::Record& record) {
    const core::Decision decision =
        core::decide_measured(record, {}, options.build_policy, core::kMaxDecisionEntries);
    return decision.entries.empty() ||
           rows.add({{"key", core::format_hash(core::hash_key(record.key))},
                     {"decision", decision_json(decision)}});
  });
  if (!done) {
    return done;
  }
  rows.finish();
  return core::ok_status();
}

Status AdminService::Impl::diff(const Json& request, const AdminReply& reply) {
  const auto from = request.find("from");
  const auto to = request.find("to");
  if (from == request.end() || to == request.end() || !from->is_number_unsigned() ||
      !to->is_number_unsigned()) {
    return wrong("from and to: expected cuDNN versions such as 91400 and 91900");
  }
  Rows rows(reply);
  Status found = core::ok_status();
  const Json older{{"device", request.value("device", std::string())}, {"cudnn", *from}};
  const Status done = for_each_match(older, [&](const core::Record& record) {
    core::Key other = record.key;
    other.context.cudnn_version = to->get<std::int64_t>();
    const auto newer = database.find_record(other);
    found = newer ? core::ok_status() : Status(newer.error());
    const auto row = newer && *newer ? diff_row(record, **newer) : std::nullopt;
    return found.ok() && (!row || rows.add(*row));
  });
  if (!done || !found) {
    return !done ? done : found;
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
