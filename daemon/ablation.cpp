#include "daemon/ablation.h"

#include "daemon/estimates.h"
#include "daemon/scoring.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>
#include <type_traits>
#include <utility>

namespace reformer::daemon {
namespace {

using Json = nlohmann::ordered_json;

Json number(double value) {
  return std::isfinite(value) ? Json(value) : Json(nullptr);
}

Json pair_of(const model::Interval& interval) {
  return std::isfinite(interval.low) && std::isfinite(interval.high)
             ? Json::array({interval.low, interval.high})
             : Json(nullptr);
}

// Of the mean of logarithms: the ratio, less one.
double excess(double log_ratio) {
  return std::expm1(log_ratio);
}

bool all_equal(std::span<const double> weights) {
  double first = 0;
  for (const double weight : weights) {
    if (weight > 0 && first > 0 && weight != first) {
      return false;
    }
    first = weight > 0 ? weight : first;
  }
  return true;
}

// As `reformerctl eval` has them.
Json summary_json(const model::Summary& summary) {
  Json json;
  model::visit_figures(summary, [&json](const char* name, const auto& value) {
    if constexpr (std::is_same_v<decltype(value), const model::Interval&>) {
      json[name] = pair_of(value);
    } else {
      json[name] = value;
    }
  });
  return json;
}

class Report {
 public:
  Report(const AccuracyLog& log, const ReportOptions& options)
      : log_(log),
        options_(options),
        equal_(all_equal(options.weights)),
        names_(log.variants()),
        estimates_(estimate(
            log, names_, options.champion, options.weights, options.resamples, options.seed)) {}

  Json make() {
    Json variants = Json::array();
    std::vector<double> p_values;
    std::vector<std::size_t> compared;
    for (std::size_t v = 0; v < names_.size(); ++v) {
      if (estimates_[v].n == 0) {
        continue;
      }
      Json variant = variant_json(v);
      if (names_[v] != options_.champion && !log_.of(options_.champion).empty()) {
        variant["paired"] = paired_json(v);
        p_values.push_back(variant["paired"]["p_value"]);
        compared.push_back(variants.size());
      }
      variants.push_back(std::move(variant));
    }
    const std::vector<double> adjusted = holm(p_values);
    for (std::size_t i = 0; i < compared.size(); ++i) {
      variants[compared[i]]["paired"]["p_adjusted"] = adjusted[i];
    }
    const auto problems = std::count_if(
        options_.weights.begin(), options_.weights.end(), [](double weight) { return weight > 0; });
    return {{"view", model::to_string(log_.view())},
            {"problems", problems},
            {"waiting", options_.waiting},
            {"weighted", !equal_},
            {"champion", options_.champion},
            {"studies", studies_json()},
            {"variants", std::move(variants)}};
  }

 private:
  [[nodiscard]] bool counts(std::span<const AccuracyLog::Entry> entries, std::size_t i) const {
    return entries[i].present && options_.weights[i] > 0;
  }

  Json variant_json(std::size_t v) const {
    const std::string& name = names_[v];
    const auto entries = log_.of(name);
    std::vector<model::Score> chosen;
    std::vector<model::Score> served;
    for (std::size_t i = 0; i < entries.size(); ++i) {
      if (counts(entries, i)) {
        chosen.push_back(score_of(entries[i]));
        served.push_back(score_of(log_.served(entries, i)));
      }
    }
    const VariantEstimates& made = estimates_[v];
    Json json{{"name", name}, {"n", made.n}, {"effective_n", number(made.effective_n)}};
    if (const auto info = std::ranges::find(options_.models, name, &model::ModelInfo::name);
        info != options_.models.end()) {
      json.update({{"champion", name == options_.champion},
                   {"block", info->block},
                   {"blocks", info->blocks},
                   {"target", info->target},
                   {"sharpness", static_cast<double>(info->sharpness)}});
    }
    Json figures = summary_json(model::summarise(chosen));
    Json of_served = summary_json(model::summarise(served));
    if (!equal_) {
      correct(made, figures, of_served);
    }
    json.update(figures);
    json["abstained_share"] = number(value(made, Figure::kAbstainedShare));
    json["inference_us"] = {{"p50", number(value(made, Figure::kInferenceP50))},
                            {"p99", number(value(made, Figure::kInferenceP99))}};
    json["interval"] = intervals(made);
    of_served["interval"] = {{"geomean_slowdown", interval(made, Figure::kServedSlowdown)}};
    json["served"] = std::move(of_served);
    return json;
  }

  // Figures over unequally weighted problems. Those that have no weighted form are left out.
  static void correct(const VariantEstimates& made, Json& figures, Json& served) {
    for (Json* json : {&figures, &served}) {
      for (const char* name :
           {"top1_95", "top3_95", "within_5pct_95", "geomean_slowdown_95", "p90_slowdown_95"}) {
        json->erase(name);
      }
    }
    for (const char* name : {"top1", "top3", "within_5pct", "p90_slowdown", "p99_slowdown"}) {
      served.erase(name);
    }
    served.erase("total_time_ratio");
    served["geomean_slowdown"] = number(value(made, Figure::kServedSlowdown));
    for (const auto& [name, figure] : kNamed) {
      figures[name] = number(value(made, figure));
    }
    figures["total_time_ratio"] = made.total_time_ratio;
  }

  Json intervals(const VariantEstimates& made) const {
    Json json = Json::object();
    for (const auto& [name, figure] : kNamed) {
      json[name] = interval(made, figure);
    }
    json["abstained_share"] = interval(made, Figure::kAbstainedShare);
    json["inference_p50_us"] = interval(made, Figure::kInferenceP50);
    json["inference_p99_us"] = interval(made, Figure::kInferenceP99);
    return json;
  }

  Json paired_json(std::size_t v) const {
    const auto ours = log_.of(names_[v]);
    const auto theirs = log_.of(options_.champion);
    std::size_t pairs = 0;
    std::size_t better = 0;
    std::size_t worse = 0;
    for (std::size_t i = 0; i < std::min(ours.size(), theirs.size()); ++i) {
      if (counts(ours, i) && counts(theirs, i) && ours[i].covered && theirs[i].covered) {
        ++pairs;
        better += ours[i].time_us < theirs[i].time_us ? 1 : 0;
        worse += ours[i].time_us > theirs[i].time_us ? 1 : 0;
      }
    }
    const VariantEstimates& made = estimates_[v];
    const auto around = [&](Figure figure) {
      const model::Interval logs = made.interval[static_cast<std::size_t>(figure)];
      return pair_of({excess(logs.low), excess(logs.high)});
    };
    const double p_value = sign_test(better, worse);
    return {{"difference", number(excess(value(made, Figure::kLogRatio)))},
            {"interval", around(Figure::kLogRatio)},
            {"served_difference", number(excess(value(made, Figure::kServedLogRatio)))},
            {"served_interval", around(Figure::kServedLogRatio)},
            {"pairs", pairs},
            {"better", better},
            {"worse", worse},
            {"p_value", p_value},
            {"p_adjusted", p_value}};
  }

  // The two studies of the paper's plan, from the loaded models that belong in them.
  Json studies_json() const {
    constexpr int kPaperBlocks = 3;
    Json blocks = Json::array();
    Json targets = Json::array();
    std::vector<const model::ModelInfo*> infos;
    for (const model::ModelInfo& info : options_.models) {
      if (info.block == "gamma" && !log_.of(info.name).empty()) {
        infos.push_back(&info);
      }
    }
    std::ranges::stable_sort(infos, {}, [](const auto* info) { return info->blocks; });
    for (const model::ModelInfo* info : infos) {
      if (info->target == "ratio") {
        blocks.push_back(
            {{"label", "L = " + std::to_string(info->blocks)}, {"variant", info->name}});
      }
      if (info->blocks == kPaperBlocks) {
        targets.push_back({{"label", info->target}, {"variant", info->name}});
      }
    }
    return Json::array(
        {{{"name", "blocks"},
          {"title", "Number of Γ-blocks (ratio target)"},
          {"rows", std::move(blocks)}},
         {{"name", "target"}, {"title", "Target (L = 3)"}, {"rows", std::move(targets)}}});
  }

  static double value(const VariantEstimates& made, Figure figure) {
    return made.value[static_cast<std::size_t>(figure)];
  }
  static Json interval(const VariantEstimates& made, Figure figure) {
    return pair_of(made.interval[static_cast<std::size_t>(figure)]);
  }

  static constexpr std::array<std::pair<const char*, Figure>, 6> kNamed{
      {{"top1", Figure::kTop1},
       {"top3", Figure::kTop3},
       {"within_5pct", Figure::kWithin5pct},
       {"geomean_slowdown", Figure::kGeomeanSlowdown},
       {"p90_slowdown", Figure::kP90Slowdown},
       {"p99_slowdown", Figure::kP99Slowdown}}};

  const AccuracyLog& log_;
  const ReportOptions& options_;
  bool equal_;
  std::vector<std::string> names_;
  std::vector<VariantEstimates> estimates_;
};

}  // namespace

double sign_test(std::size_t better, std::size_t worse) {
  const double n = static_cast<double>(better + worse);
  if (n == 0) {
    return 1;
  }
  const double difference = std::abs(static_cast<double>(better) - static_cast<double>(worse)) - 1;
  return std::erfc(std::max(0.0, difference) / std::sqrt(n) / std::sqrt(2.0));
}

std::vector<double> holm(std::span<const double> p_values) {
  std::vector<std::size_t> order(p_values.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::sort(order, {}, [&](std::size_t i) { return p_values[i]; });
  std::vector<double> adjusted(p_values.size());
  double largest = 0;
  for (std::size_t i = 0; i < order.size(); ++i) {
    const double times = static_cast<double>(order.size() - i);
    largest = std::max(largest, std::min(1.0, p_values[order[i]] * times));
    adjusted[order[i]] = largest;
  }
  return adjusted;
}

Json ablation_report(const AccuracyLog& log, const ReportOptions& options) {
  return Report(log, options).make();
}

}  // namespace reformer::daemon
