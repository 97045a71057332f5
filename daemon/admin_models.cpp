// The administrative requests about models and the accuracy log.
#include "daemon/ablation.h"
#include "daemon/accuracy_log.h"
#include "daemon/admin_impl.h"
#include "daemon/drift.h"
#include "daemon/promotion.h"

#include <algorithm>
#include <vector>

namespace reformer::daemon {
namespace {

constexpr std::size_t kMaxResamples = 10000;

Json model_json(const model::ModelInfo& info) {
  Json contexts = Json::array();
  for (const core::Context& context : info.contexts) {
    contexts.push_back(
        {{"device", core::format_device(context.device)}, {"cudnn", context.cudnn_version}});
  }
  Json metrics = Json::object();
  for (const auto& [name, value] : info.metrics) {
    metrics[name] = value;
  }
  return {{"name", info.name},
          {"block", info.block},
          {"blocks", info.blocks},
          {"target", info.target},
          {"sharpness", info.sharpness},
          {"seed", info.seed},
          {"parameters", info.parameters},
          {"classes", info.classes},
          {"training_problems", info.training_problems},
          {"data_hash", info.data_hash},
          {"abstain_below", info.abstain_below},
          {"contexts", std::move(contexts)},
          {"metrics", std::move(metrics)}};
}

// Which rows: operation, type, layout, device, view, and not before `from_s`.
class RowFilter {
 public:
  static core::Result<RowFilter> from(const Json& request) {
    auto filter = filter_from(request);
    if (!filter) {
      return filter.error();
    }
    const auto view = model::parse_application_view(request.value("view", std::string("all")));
    if (!view) {
      return wrong("view: expected all, without_tensor_cores or deterministic");
    }
    const auto since = request.find("since_s");  // seconds back from now
    return RowFilter(std::move(*filter),
                     *view,
                     since != request.end() && since->is_number_unsigned()
                         ? now_s() - since->get<std::int64_t>()
                         : 0);
  }
  [[nodiscard]] model::View view() const { return view_; }
  [[nodiscard]] std::int64_t from_s() const { return from_s_; }
  [[nodiscard]] bool matches(const storage::AccuracyRow& row) const {
    return row.view == static_cast<std::uint8_t>(view_) &&
           matches(row.operation, row.type, row.layout, row.device, row.time_s);
  }
  [[nodiscard]] bool matches(core::Operation operation,
                             core::DataType type,
                             core::Layout layout,
                             const std::string& device,
                             std::int64_t time_s) const {
    return time_s >= from_s_ &&
           (filter_.operation.empty() || filter_.operation == core::to_string(operation)) &&
           (filter_.type.empty() || filter_.type == core::to_string(type)) &&
           (filter_.layout.empty() || filter_.layout == layout_name(layout)) &&
           (filter_.device.empty() || device.find(filter_.device) != std::string::npos);
  }

 private:
  RowFilter(RecordFilter filter, model::View view, std::int64_t from_s)
      : filter_(std::move(filter)), view_(view), from_s_(from_s) {}
  RecordFilter filter_;
  model::View view_;
  std::int64_t from_s_;
};

Json row_json(const storage::AccuracyRow& row) {
  const auto number = [](double value) { return value > 0 ? Json(value) : Json(nullptr); };
  return {{"time_s", row.time_s},
          {"key", core::format_hash(row.key)},
          {"variant", row.variant},
          {"predicted", row.covered ? Json(core::format_engine_config(row.predicted)) : Json()},
          {"rank_of_best", row.rank_of_best == 65535 ? Json(nullptr) : Json(row.rank_of_best)},
          {"top1", row.top1},
          {"top3", row.top3},
          {"within_5pct", row.within_5pct},
          {"abstained", row.abstained},
          {"covered", row.covered},
          {"slowdown", number(row.slowdown())},
          {"served_slowdown", number(row.served_slowdown())},
          {"time_us", number(static_cast<double>(row.time_us))},
          {"best_us", number(static_cast<double>(row.best_us))},
          {"confidence", static_cast<double>(row.confidence)},
          {"inference_ns", static_cast<double>(row.inference_ns)},
          {"selection_probability", static_cast<double>(row.selection_probability)},
          {"pool", row.pool},
          {"op", core::to_string(row.operation)},
          {"dtype", core::to_string(row.type)},
          {"layout", layout_name(row.layout)},
          {"view", model::to_string(static_cast<model::View>(row.view))},
          {"uses", row.uses},
          {"device", row.device}};
}

std::size_t size_or(const Json& request, const char* name, std::size_t otherwise) {
  const auto found = request.find(name);
  return found != request.end() && found->is_number_unsigned() ? found->get<std::size_t>()
                                                               : otherwise;
}

}  // namespace

Status AdminService::Impl::list_models(const Json&, const AdminReply& reply) {
  AccuracyLog log;
  if (const Status read = log.read(database, [this] { return stopping(); }); !read) {
    return read;
  }
  const auto set = models();
  Rows out(reply);
  for (const LoadedModel& loaded : set->models) {
    Json row = model_json(loaded.predictor->info());
    const std::string& name = loaded.predictor->info().name;
    row["champion"] = name == set->champion;
    row["path"] = loaded.path.string();
    std::vector<model::Score> scores;
    for (const AccuracyLog::Entry& entry : log.of(name)) {
      if (entry.present) {
        scores.push_back(score_of(entry));
      }
    }
    const model::Summary summary = model::summarise(scores);
    row["rows"] = summary.problems;
    row["geomean_slowdown"] =
        summary.problems > summary.uncovered ? Json(summary.geomean_slowdown) : Json(nullptr);
    const auto provenance = database.find_meta(provenance_entry(name));
    row["provenance"] =
        provenance && *provenance ? Json::parse(**provenance, nullptr, false) : Json(nullptr);
    out.add(row);
  }
  out.finish();
  return core::ok_status();
}

Status AdminService::Impl::promote(const Json& request, const AdminReply& reply) {
  const std::string previous = models()->champion;
  std::string name = request.value("model", std::string());
  if (flag(request, "rollback")) {
    auto back_to = live->roll_back(asker);
    if (!back_to) {
      return back_to.error();
    }
    name = *back_to;
  } else if (const Status done = live->promote(name, asker, nullptr); !done) {
    return done;
  }
  reply(dump({{"champion", name}, {"previous", previous}}), false);
  return core::ok_status();
}

Status AdminService::Impl::promotions(const Json&, const AdminReply& reply) {
  const auto history = PromotionHistory::load(database);
  if (!history) {
    return history.error();
  }
  Rows out(reply);
  for (const Json& row : history->to_json()) {
    out.add(row);
  }
  out.finish();
  return core::ok_status();
}

Status AdminService::Impl::add_model(const Json& request, const AdminReply& reply) {
  const std::string path = request.value("path", std::string());
  if (!std::filesystem::path(path).is_absolute()) {
    return wrong("path: expected an absolute path of a model file");
  }
  Json provenance = request.value("provenance", Json::object());
  provenance["added_at_s"] = now_s();
  provenance["added_by"] = asker;
  const auto name = live->add_model(path, provenance);
  if (!name) {
    return name.error();
  }
  reply(dump({{"model", *name}, {"champion", models()->champion}}), false);
  return core::ok_status();
}

Status AdminService::Impl::ablation(const Json& request, const AdminReply& reply) {
  const auto filter = RowFilter::from(request);
  if (!filter) {
    return filter.error();
  }
  // The weights are of all problems in the order of their verification, whatever the view.
  std::vector<AccuracyLog> logs(1);
  if (filter->view() != model::View::kAll) {
    logs.emplace_back(filter->view());
  }
  if (const Status read = AccuracyLog::read(database, logs, [this] { return stopping(); }); !read) {
    return read;
  }
  const AccuracyLog& all = logs.front();
  const AccuracyLog& log = logs.back();
  const auto waiting = unmeasured_problems(database, all);
  if (!waiting) {
    return waiting.error();
  }
  const auto set = models();
  const auto weights =
      selection_weights(all.problems(), flag(request, "uncorrected") ? 0 : *waiting);
  ReportOptions report{.champion = set->champion,
                       .models = {},
                       .weights = weights_in(log, all, weights),
                       .waiting = *waiting,
                       .resamples = std::min(size_or(request, "resamples", 1000), kMaxResamples),
                       .seed = size_or(request, "seed", 1)};
  for (const LoadedModel& loaded : set->models) {
    report.models.push_back(loaded.predictor->info());
  }
  const bool by_use = flag(request, "weighted_by_use");
  for (std::size_t i = 0; i < report.weights.size(); ++i) {
    const AccuracyLog::Problem& problem = log.problems()[i];
    if (!filter->matches(problem.operation,
                         problem.type,
                         problem.layout,
                         log.devices()[problem.device],
                         problem.time_s)) {
      report.weights[i] = 0;
    } else if (by_use) {
      const std::uint64_t uses = std::max(problem.uses, uses_of(problem.key).executions);
      report.weights[i] *= static_cast<double>(std::max<std::uint64_t>(1, uses));
    }
  }
  reply(dump(ablation_report(log, report)), false);
  return core::ok_status();
}

Status AdminService::Impl::accuracy(const Json& request, const AdminReply& reply) {
  const auto filter = RowFilter::from(request);
  if (!filter) {
    return filter.error();
  }
  Rows out(reply);
  const Status done =
      database.for_each_accuracy(filter->from_s(), [&](const storage::AccuracyRow& row) {
        return !stopping() && (!filter->matches(row) || out.add(row_json(row)));
      });
  if (!done || stopping()) {
    return !done ? done : stopped();
  }
  out.finish();
  return core::ok_status();
}

Status AdminService::Impl::check(const Json&, const AdminReply& reply) {
  Json alarms = Json::array();
  if (live != nullptr) {
    alarms = Json(live->alarms());
  } else {  // what a daemon with default settings would say
    AccuracyLog log;
    const Status read = log.read(database);
    const auto slower = database.find_meta(kSlowerWinnersEntry);
    if (!read || !slower) {
      return !read ? read : Status(slower.error());
    }
    SlowerWinners winners;
    winners.from_text(slower->value_or(std::string()));
    std::vector<Alarm> all = drift_alarms(log, models()->champion, DriftRule{});
    for (const Alarm& alarm : winners.alarms()) {
      all.push_back(alarm);
    }
    for (const Alarm& alarm : all) {
      alarms.push_back({{"kind", alarm.kind}, {"text", alarm.text}});
    }
  }
  reply(dump({{"ok", alarms.empty()}, {"alarms", alarms}}), false);
  return core::ok_status();
}

Status AdminService::Impl::acknowledge(const Json&, const AdminReply& reply) {
  if (const Status done = live->clear_upgrade_alarms(); !done) {
    return done;
  }
  reply(dump({{"ok", live->alarms().empty()}}), false);
  return core::ok_status();
}

}  // namespace reformer::daemon
