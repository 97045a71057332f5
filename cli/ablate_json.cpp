#include "cli/ablate_report.h"

#include <cmath>

namespace reformer::cli {
namespace {

using model::Estimate;

Json number(double value) {
  return std::isfinite(value) ? Json(value) : Json(nullptr);
}

Json pair_of(const model::Interval& interval) {
  return Json::array({number(interval.low), number(interval.high)});
}

// The members that the daemon's `ablation` reply has, too.
void add_choices(const ChoiceFigures& figures, Json& json, Json& intervals) {
  const auto add = [&](const char* name, const Estimate& estimate) {
    json[name] = number(estimate.value);
    intervals[name] = pair_of(estimate.interval);
  };
  add("top1", figures.top1);
  add("top3", figures.top3);
  add("within_5pct", figures.within_5pct);
  add("geomean_slowdown", figures.geomean_slowdown);
  add("p90_slowdown", figures.p90_slowdown);
  add("p99_slowdown", figures.p99_slowdown);
  json["uncovered"] = figures.uncovered;
}

Json paired_json(const AblateReport& report, std::size_t variant, std::size_t against) {
  const PairedFigures paired = report.paired(variant, against);
  return {{"against", report.plan().variants[against].name},
          {"log_slowdown", number(paired.log_slowdown.value)},
          {"interval", pair_of(paired.log_slowdown.interval)},
          {"pairs", paired.pairs},
          {"left_out", paired.left_out},
          {"better", paired.better},
          {"worse", paired.worse}};
}

Json variant_json(const AblateReport& report, std::size_t index) {
  const Variant& variant = report.plan().variants[index];
  const VariantFigures& figures = report.figures(index);
  Json json{{"name", variant.name},
            {"block", to_string(variant.options.block)},
            {"blocks", variant.options.blocks},
            {"target", to_string(variant.options.loss.target)},
            {"sharpness", variant.options.loss.sharpness},
            {"noise", variant.noise}};
  Json seeds = Json::array();
  for (const VariantRun& run : report.runs(index)) {
    seeds.push_back(run.seed);
  }
  json["seeds"] = seeds;
  Json intervals = Json::object();
  add_choices(figures.chosen, json, intervals);
  const auto add = [&](const char* name, const Estimate& estimate) {
    json[name] = number(estimate.value);
    intervals[name] = pair_of(estimate.interval);
  };
  add("served_geomean_slowdown", figures.served_slowdown);
  add("classes_geomean_slowdown", figures.ceiling_slowdown);
  add("parameters", figures.parameters);
  add("training_s", figures.training_s);
  json["classes"] = figures.classes;
  json["abstained"] = figures.abstained;
  json["unanswered"] = figures.unanswered;
  json["inference_us"] = {{"p50", number(figures.inference_p50_us.value)},
                          {"p99", number(figures.inference_p99_us.value)}};
  intervals["inference_us"] = {{"p50", pair_of(figures.inference_p50_us.interval)},
                               {"p99", pair_of(figures.inference_p99_us.interval)}};
  json["interval"] = intervals;
  return json;
}

}  // namespace

Json AblateReport::to_json() const {
  Json variants = Json::array();
  for (std::size_t v = 0; v < plan_.variants.size(); ++v) {
    if (!runs_[v].empty()) {
      Json variant = variant_json(*this, v);
      if (v != plan_.reference && !runs_[plan_.reference].empty()) {
        variant["paired"] = paired_json(*this, v, plan_.reference);
      }
      variants.push_back(std::move(variant));
    }
  }
  Json studies = Json::array();
  for (const Study& study : plan_.studies) {
    Json rows = Json::array();
    for (const Study::Row& row : study.rows) {
      if (runs_[row.variant].empty()) {
        continue;
      }
      Json member{{"label", row.label}, {"variant", plan_.variants[row.variant].name}};
      if (row.variant != row.against && !runs_[row.against].empty()) {
        member["paired"] = paired_json(*this, row.variant, row.against);
      }
      rows.push_back(std::move(member));
    }
    studies.push_back({{"name", study.name}, {"title", study.title}, {"rows", rows}});
  }
  Json baselines = Json::object();
  for (std::size_t i = 0; i < kBaselines; ++i) {
    Json figures = Json::object();
    Json intervals = Json::object();
    add_choices(baseline_figures_[i], figures, intervals);
    figures["interval"] = intervals;
    baselines[kBaselineNames[i]] = figures;
  }
  return {{"problems", data_.held_out().size()},
          {"training_problems", data_.training().size()},
          {"seeds", seeds_},
          {"finished_runs", finished_runs()},
          {"planned_runs", planned_runs()},
          {"reference", plan_.variants[plan_.reference].name},
          {"studies", studies},
          {"variants", variants},
          {"baselines", baselines}};
}

}  // namespace reformer::cli
