#include "cli/ablate_html.h"

#include "cli/ablate_svg.h"
#include "cli/ablation_page.h"
#include "cli/units.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <set>

namespace reformer::cli {
namespace {

constexpr std::size_t kFrequentClasses = 10;
constexpr std::size_t kConfidenceBins = 10;
constexpr std::size_t kMostLines = 7;  // of variants in the distribution
constexpr std::size_t kCurvePoints = 160;
constexpr double kLongestSlowdown = 10;

constexpr const char* kHead = R"(<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Reformer: ablation</title>
<style>
body{font:15px/1.5 system-ui,sans-serif;max-width:66rem;margin:2rem auto;padding:0 1rem;color:#222;background:#fff}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:13px}
th,td{padding:.2rem .6rem;text-align:right;border-bottom:1px solid #ddd;white-space:nowrap}
th:first-child,td:first-child{text-align:left}
td small{color:#777}
.wide{overflow-x:auto}
svg{max-width:100%;height:auto}text{font-size:12px;fill:#444}
</style></head><body>
)";

class Page {
 public:
  explicit Page(const AblateReport& report) : report_(report), plan_(report.plan()) {}

  std::string html() const {
    std::string html = kHead;
    html += fmt::format(
        "<h1>Ablation of the Reformer</h1>\n<p>{} held-out problems of shapes that no variant was "
        "trained on; {} of {} trainings finished. 95 % intervals over seeds and shapes.</p>\n",
        human_count(report_.records().size()),
        report_.finished_runs(),
        report_.planned_runs());
    for (const Study& study : plan_.studies) {
      html += study_table(study);
    }
    html += baseline_table();
    html += "<h2>Accuracy against inference time</h2>\n" +
            trade_off(&ChoiceFigures::top1, 100, "fastest chosen, %") +
            trade_off(&ChoiceFigures::geomean_slowdown, 1, "slowdown, geometric mean");
    html += "<h2>Distribution of the slowdown</h2>\n" + distribution();
    for (const std::size_t variant : closely_looked_at()) {
      const std::string name = escape_html(plan_.variants[variant].name);
      html += "<h2>Confusion among the frequent classes: " + name + "</h2>\n" + confusion(variant);
      html += "<h2>Calibration: " + name + "</h2>\n" + calibration(variant);
    }
    return html + "</body></html>\n";
  }

 private:
  bool finished(std::size_t variant) const { return !report_.runs(variant).empty(); }

  static std::string cell(const model::Estimate& estimate, double scale, int digits) {
    const std::string text = estimate_text(estimate, scale, digits);
    const std::size_t bracket = text.find(" (");
    if (bracket == std::string::npos) {
      return "<td>" + text + "</td>";
    }
    return "<td>" + text.substr(0, bracket) + " <small>" + text.substr(bracket + 1) +
           "</small></td>";
  }

  std::string study_table(const Study& study) const {
    std::string html = "<h2>" + escape_html(study.title) +
                       "</h2>\n<div class=\"wide\"><table><tr><th>variant</th><th>runs</th>"
                       "<th>top-1 %</th><th>top-3 %</th><th>within 5 %</th><th>slowdown</th>"
                       "<th>p90</th><th>p99</th><th>served</th><th>best of its classes</th>"
                       "<th>parameters</th><th>inference p50, us</th><th>training, s</th>"
                       "<th>ln slowdown, paired</th></tr>\n";
    for (const Study::Row& row : study.rows) {
      if (!finished(row.variant)) {
        continue;
      }
      const VariantFigures& f = report_.figures(row.variant);
      html += "<tr><td>" + escape_html(row.label) + "</td><td>" +
              std::to_string(report_.runs(row.variant).size()) + "</td>";
      html += cell(f.chosen.top1, 100, 1) + cell(f.chosen.top3, 100, 1) +
              cell(f.chosen.within_5pct, 100, 1) + cell(f.chosen.geomean_slowdown, 1, 4) +
              cell(f.chosen.p90_slowdown, 1, 3) + cell(f.chosen.p99_slowdown, 1, 2) +
              cell(f.served_slowdown, 1, 4) + cell(f.ceiling_slowdown, 1, 4) +
              cell(f.parameters, 1, 0) + cell(f.inference_p50_us, 1, 2) + cell(f.training_s, 1, 1);
      html += row.variant == row.against || !finished(row.against)
                  ? std::string("<td>-</td>")
                  : signed_cell(report_.paired(row.variant, row.against).log_slowdown);
      html += "</tr>\n";
    }
    return html + "</table></div>\n";
  }

  static std::string signed_cell(const model::Estimate& estimate) {
    return fmt::format("<td>{:+.4f} <small>({:+.4f} to {:+.4f})</small></td>",
                       estimate.value,
                       estimate.interval.low,
                       estimate.interval.high);
  }

  std::string baseline_table() const {
    std::string html =
        "<h2>Without a model</h2>\n<div class=\"wide\"><table><tr><th>chooser</th><th>top-1 %</th>"
        "<th>within 5 %</th><th>slowdown</th><th>p90</th><th>p99</th><th>not covered</th></tr>\n";
    for (std::size_t i = 0; i < AblateReport::kBaselines; ++i) {
      const ChoiceFigures& f = report_.baseline_figures(i);
      html += fmt::format("<tr><td>{}</td>", escape_html(AblateReport::kBaselineTitles[i]));
      html += cell(f.top1, 100, 1) + cell(f.within_5pct, 100, 1) + cell(f.geomean_slowdown, 1, 4) +
              cell(f.p90_slowdown, 1, 3) + cell(f.p99_slowdown, 1, 2) +
              fmt::format("<td>{:.0f}</td></tr>\n", f.uncovered);
    }
    return html + "</table></div>\n";
  }

  std::string trade_off(model::Estimate ChoiceFigures::*figure,
                        double scale,
                        const char* title) const {
    PlotAxis x{1e9, 0, "inference p50, us", Scale::kLinear};
    PlotAxis y{1e9, 0, title, Scale::kLinear};
    const auto include = [](PlotAxis& axis, const model::Estimate& e, double by) {
      axis.low = std::min({axis.low, e.value * by, e.interval.low * by});
      axis.high = std::max({axis.high, e.value * by, e.interval.high * by});
    };
    for (std::size_t v = 0; v < plan_.variants.size(); ++v) {
      if (finished(v) && plan_.variants[v].noise <= 0) {
        include(x, report_.figures(v).inference_p50_us, 1);
        include(y, report_.figures(v).chosen.*figure, scale);
      }
    }
    if (!(x.high > 0)) {
      return "<p>Nothing is finished.</p>\n";
    }
    for (PlotAxis* axis : {&x, &y}) {
      const double room = std::max(0.12 * (axis->high - axis->low), 1e-3 * axis->high);
      axis->low -= room;
      axis->high += room;
    }
    Plot plot(x, y);
    std::string names = "<p>";
    for (std::size_t v = 0; v < plan_.variants.size(); ++v) {
      if (!finished(v) || plan_.variants[v].noise > 0) {
        continue;
      }
      const model::Estimate& time = report_.figures(v).inference_p50_us;
      const model::Estimate& value = report_.figures(v).chosen.*figure;
      plot.dot({time.value, value.value * scale},
               {time.interval.low, time.interval.high},
               {value.interval.low * scale, value.interval.high * scale},
               v,
               std::to_string(v + 1));
      names += fmt::format("<b style=\"color:{}\">{}</b> {} &ensp;",
                           plot_colour(v),
                           v + 1,
                           escape_html(plan_.variants[v].name));
    }
    return plot.svg() + names + "</p>\n";
  }

  // The share of problems that are slower than each slowdown; those without a choice are.
  static std::vector<PlotPoint> curve(std::vector<double> slowdowns, std::size_t all) {
    std::ranges::sort(slowdowns);
    std::vector<PlotPoint> points;
    for (std::size_t i = 0; i <= kCurvePoints; ++i) {
      const double share = static_cast<double>(i) / static_cast<double>(kCurvePoints);
      const double x = std::pow(kLongestSlowdown, share);
      const auto below = std::ranges::upper_bound(slowdowns, x) - slowdowns.begin();
      points.push_back({x, 100 - 100 * static_cast<double>(below) / static_cast<double>(all)});
    }
    return points;
  }

  static void add_slowdowns(std::span<const Outcome> outcomes, std::vector<double>& slowdowns) {
    for (const Outcome& outcome : outcomes) {
      if (outcome.covered) {
        slowdowns.push_back(outcome.slowdown);
      }
    }
  }

  std::string distribution() const {
    Plot plot({1, kLongestSlowdown, "slowdown against the fastest candidate", Scale::kLog},
              {0.5, 100, "problems slower than that, %", Scale::kLog});
    std::size_t lines = 0;
    for (std::size_t v = 0; v < plan_.variants.size() && lines < kMostLines; ++v) {
      if (!finished(v) || plan_.variants[v].noise > 0) {
        continue;
      }
      std::vector<double> slowdowns;
      std::size_t all = 0;
      for (const VariantRun& run : report_.runs(v)) {
        add_slowdowns(run.outcomes, slowdowns);
        all += run.outcomes.size();
      }
      plot.line(curve(std::move(slowdowns), all), v);
      plot.legend(v, plan_.variants[v].name);
      ++lines;
    }
    constexpr std::size_t kHeuristics = 2;  // A and B: the first two of the baselines
    for (std::size_t i = 0; i < kHeuristics; ++i) {
      std::vector<double> slowdowns;
      add_slowdowns(report_.baseline(i), slowdowns);
      plot.line(curve(std::move(slowdowns), report_.records().size()), kMostLines + i);
      plot.legend(kMostLines + i, AblateReport::kBaselineTitles[i]);
    }
    return plot.svg();
  }

  // The reference, and what is best without noise.
  std::set<std::size_t> closely_looked_at() const {
    std::set<std::size_t> variants;
    std::size_t best = plan_.reference;
    for (std::size_t v = 0; v < plan_.variants.size(); ++v) {
      const bool better =
          finished(v) && plan_.variants[v].noise <= 0 &&
          (!finished(best) || report_.figures(v).chosen.geomean_slowdown.value <
                                  report_.figures(best).chosen.geomean_slowdown.value);
      best = better ? v : best;
    }
    for (const std::size_t v : {plan_.reference, best}) {
      if (finished(v)) {
        variants.insert(v);
      }
    }
    return variants;
  }

  std::string confusion(std::size_t variant) const {
    std::map<core::EngineConfig, std::size_t> sightings;
    for (const core::Record& record : report_.records()) {
      ++sightings[core::fastest(record)->config];
    }
    std::vector<std::pair<std::size_t, core::EngineConfig>> ordered;
    ordered.reserve(sightings.size());
    for (const auto& [config, count] : sightings) {
      ordered.emplace_back(count, config);
    }
    std::ranges::sort(ordered, std::greater<>{});
    ordered.resize(std::min(ordered.size(), kFrequentClasses));
    std::vector<std::string> names;
    std::map<core::EngineConfig, std::size_t> place;
    for (const auto& [count, config] : ordered) {
      place[config] = names.size();
      names.push_back(core::format_engine_config(config));
    }
    names.emplace_back("others");
    const std::size_t size = names.size();
    const auto at = [&](const core::EngineConfig& config) {
      const auto found = place.find(config);
      return found == place.end() ? size - 1 : found->second;
    };
    std::vector<std::size_t> counts(size * size);
    for (const VariantRun& run : report_.runs(variant)) {
      for (std::size_t i = 0; i < run.outcomes.size(); ++i) {
        const core::EngineConfig& truth = core::fastest(report_.records()[i])->config;
        counts[at(truth) * size + at(run.outcomes[i].predicted)] += 1;
      }
    }
    return matrix_svg(names, names, counts);
  }

  std::string calibration(std::size_t variant) const {
    std::array<std::size_t, kConfidenceBins> all{};
    std::array<std::size_t, kConfidenceBins> within{};
    std::array<double, kConfidenceBins> confidence{};
    std::size_t most = 1;
    for (const VariantRun& run : report_.runs(variant)) {
      for (const Outcome& outcome : run.outcomes) {
        const auto bin = std::min(kConfidenceBins - 1,
                                  static_cast<std::size_t>(outcome.confidence * kConfidenceBins));
        ++all[bin];
        within[bin] += outcome.within_5pct ? 1 : 0;
        confidence[bin] += static_cast<double>(outcome.confidence);
        most = std::max(most, all[bin]);
      }
    }
    Plot plot({0, 1, "confidence", Scale::kLinear},
              {0, 1, "share that was within 5 % (bars: how many)", Scale::kLinear});
    std::vector<PlotPoint> points;
    for (std::size_t bin = 0; bin < kConfidenceBins; ++bin) {
      const double low = static_cast<double>(bin) / kConfidenceBins;
      const auto n = static_cast<double>(all[bin]);
      plot.bar(low,
               low + 1.0 / kConfidenceBins,
               0.3 * n / static_cast<double>(most),
               7,
               human_count(all[bin]) + " problems");
      if (all[bin] > 0) {
        points.push_back({confidence[bin] / n, static_cast<double>(within[bin]) / n});
      }
    }
    plot.dashed_line({0, 0}, {1, 1});
    plot.line(points, 0);
    return plot.svg();
  }

  const AblateReport& report_;
  const Plan& plan_;
};

}  // namespace

std::string ablate_page(const AblateReport& report) {
  return Page(report).html();
}

}  // namespace reformer::cli
