// Administrative requests that bring records in, take them out and compare them.
#include "core/codec.h"
#include "core/problem_text.h"
#include "daemon/admin_impl.h"
#include "daemon/plan_store.h"
#include "interchange/measurements.h"

#include <utility>

namespace reformer::daemon {
namespace {

constexpr std::size_t kMaxImportLines = 100000;

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

Status AdminService::Impl::freeze(const Json& request, const AdminReply& reply) {
  const auto with_plans = request.find("plans");
  if (with_plans != request.end() && !with_plans->is_boolean()) {
    return wrong("plans: expected true or false");
  }
  // Who does not take the plans along has all of building to do.
  const PlanStore* plans = with_plans != request.end() && *with_plans ? options.plans : nullptr;
  Rows rows(reply);
  const Status done = for_each_match(request, [&](const core::Record& record) {
    const core::Decision decision =
        decide_with_plans(plans, record, {}, options.build_policy, core::kMaxDecisionEntries);
    if (decision.entries.empty()) {
      return true;
    }
    const core::KeyHash key = core::hash_key(record.key);
    Json row{{"key", core::format_hash(key)}, {"decision", decision_json(decision)}};
    for (const core::DecisionEntry& entry : decision.entries) {
      if (plans != nullptr && plans->has(key, entry.config)) {
        row["plans"].push_back(core::format_engine_config(entry.config));
      }
    }
    return rows.add(row);
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

}  // namespace reformer::daemon
