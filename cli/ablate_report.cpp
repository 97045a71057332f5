#include "cli/ablate_report.h"

#include "cli/table.h"
#include "cli/units.h"

#include <fmt/format.h>

#include <cmath>
#include <limits>

namespace reformer::cli {
namespace {

using model::Estimate;
constexpr std::uint64_t kBootstrapSeed = 20210521;
constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

template <typename Value>
std::vector<std::vector<double>> values_of(std::span<const std::vector<Outcome>* const> runs,
                                           const Value& value) {
  std::vector<std::vector<double>> values;
  for (const std::vector<Outcome>* run : runs) {
    std::vector<double>& of_run = values.emplace_back();
    for (const Outcome& outcome : *run) {
      of_run.push_back(value(outcome));
    }
  }
  return values;
}

double positive_or_none(double value) {
  return value > 0 ? value : kNone;
}

ChoiceFigures choice_figures(const model::Bootstrap& bootstrap,
                             std::span<const std::vector<Outcome>* const> runs) {
  const auto share = [&](bool Outcome::*flag) {
    return bootstrap.mean(values_of(runs, [flag](const Outcome& o) { return o.*flag ? 1.0 : 0; }));
  };
  const auto slowdowns =
      values_of(runs, [](const Outcome& o) { return positive_or_none(o.slowdown); });
  ChoiceFigures figures;
  figures.top1 = share(&Outcome::top1);
  figures.top3 = share(&Outcome::top3);
  figures.within_5pct = share(&Outcome::within_5pct);
  figures.geomean_slowdown = bootstrap.geomean(slowdowns);
  figures.p90_slowdown = bootstrap.percentile(slowdowns, 0.90);
  figures.p99_slowdown = bootstrap.percentile(slowdowns, 0.99);
  for (const std::vector<double>& run : slowdowns) {
    for (const double slowdown : run) {
      figures.uncovered += std::isnan(slowdown) ? 1 : 0;
    }
  }
  figures.uncovered /= static_cast<double>(runs.size());
  return figures;
}

VariantFigures variant_figures(const model::Bootstrap& bootstrap,
                               const std::vector<VariantRun>& runs) {
  VariantFigures figures;
  if (runs.empty()) {
    return figures;
  }
  std::vector<const std::vector<Outcome>*> outcomes;
  std::vector<double> parameters;
  std::vector<double> seconds;
  for (const VariantRun& run : runs) {
    outcomes.push_back(&run.outcomes);
    parameters.push_back(static_cast<double>(run.parameters));
    seconds.push_back(run.training_s);
    figures.classes += static_cast<double>(run.classes) / static_cast<double>(runs.size());
  }
  figures.chosen = choice_figures(bootstrap, outcomes);
  figures.served_slowdown = bootstrap.geomean(
      values_of(outcomes, [](const Outcome& o) { return positive_or_none(o.served_slowdown); }));
  figures.ceiling_slowdown = bootstrap.geomean(
      values_of(outcomes, [](const Outcome& o) { return positive_or_none(o.ceiling); }));
  const auto share = [&](const auto& of) { return bootstrap.mean(values_of(outcomes, of)).value; };
  figures.abstained = share([](const Outcome& o) { return o.abstained ? 1.0 : 0; });
  figures.unanswered = share([](const Outcome& o) { return o.answered ? 0 : 1.0; });
  const auto inference =
      values_of(outcomes, [](const Outcome& o) { return static_cast<double>(o.inference_us); });
  figures.inference_p50_us = bootstrap.percentile(inference, 0.5);
  figures.inference_p99_us = bootstrap.percentile(inference, 0.99);
  figures.parameters = bootstrap.mean_of_runs(parameters);
  figures.training_s = bootstrap.mean_of_runs(seconds);
  return figures;
}

std::vector<Outcome> baseline_outcomes(std::span<const core::Record> records,
                                       model::Score (*score)(const core::Record&)) {
  std::vector<Outcome> outcomes;
  for (const core::Record& record : records) {
    const model::Score s = score(record);
    Outcome outcome;
    outcome.covered = s.covered;
    outcome.top1 = s.covered && s.top1;
    outcome.top3 = s.covered && s.top3;
    outcome.within_5pct = s.covered && s.within_5pct;
    outcome.slowdown = s.covered ? s.slowdown : 0;
    outcome.predicted = s.predicted;
    outcomes.push_back(outcome);
  }
  return outcomes;
}

Cell difference_cell(const PairedFigures& paired, bool itself) {
  const auto [value, interval] = paired.log_slowdown;
  if (itself || std::isnan(value)) {
    return "-";
  }
  const Tone tone = interval.high < 0 ? Tone::kGood : interval.low > 0 ? Tone::kBad : Tone::kPlain;
  return {fmt::format("{:+.4f} ({:+.4f} to {:+.4f})", value, interval.low, interval.high), tone};
}

}  // namespace

std::string estimate_text(const Estimate& estimate, double scale, int digits) {
  const auto [value, interval] = estimate;
  if (std::isnan(value)) {
    return "-";
  }
  std::string text = fmt::format("{:.{}f}", value * scale, digits);
  if (interval.high > interval.low) {
    text += fmt::format(
        " ({:.{}f}-{:.{}f})", interval.low * scale, digits, interval.high * scale, digits);
  }
  return text;
}

AblateReport::AblateReport(const AblateData& data,
                           const Plan& plan,
                           const std::vector<std::vector<VariantRun>>& runs,
                           std::size_t seeds)
    : data_(data),
      plan_(plan),
      runs_(runs),
      seeds_(seeds),
      bootstrap_(data.shapes(), seeds, kBootstrapSeed) {
  for (const std::vector<VariantRun>& variant : runs) {
    figures_.push_back(variant_figures(bootstrap_, variant));
  }
  constexpr std::array<model::Score (*)(const core::Record&), kBaselines> kScores = {
      model::score_heuristic_a,
      model::score_heuristic_b,
      model::score_a_first_10,
      model::score_oracle};
  for (std::size_t i = 0; i < kBaselines; ++i) {
    baselines_[i] = baseline_outcomes(data.held_out(), kScores[i]);
    const std::array<const std::vector<Outcome>*, 1> once{&baselines_[i]};
    baseline_figures_[i] = choice_figures(bootstrap_, once);
  }
}

PairedFigures AblateReport::paired(std::size_t variant, std::size_t against) const {
  const std::vector<VariantRun>& ours = runs_[variant];
  const std::vector<VariantRun>& theirs = runs_[against];
  PairedFigures paired;
  std::vector<std::vector<double>> differences;
  for (std::size_t r = 0; r < std::min(ours.size(), theirs.size()); ++r) {
    std::vector<double>& of_run = differences.emplace_back();
    for (std::size_t i = 0; i < ours[r].outcomes.size(); ++i) {
      const Outcome& one = ours[r].outcomes[i];
      const Outcome& other = theirs[r].outcomes[i];
      if (!one.covered || !other.covered) {
        ++paired.left_out;
        of_run.push_back(kNone);
        continue;
      }
      ++paired.pairs;
      paired.better += one.slowdown < other.slowdown ? 1 : 0;
      paired.worse += one.slowdown > other.slowdown ? 1 : 0;
      of_run.push_back(std::log(one.slowdown / other.slowdown));
    }
  }
  paired.log_slowdown = bootstrap_.mean(differences);
  return paired;
}

std::size_t AblateReport::finished_runs() const {
  std::size_t finished = 0;
  for (const std::vector<VariantRun>& variant : runs_) {
    finished += variant.size();
  }
  return finished;
}

void AblateReport::print_study(std::ostream& out, bool colour, const Study& study) const {
  Table choices({{"variant"},
                 {"top-1 %", Align::kRight},
                 {"top-3 %", Align::kRight},
                 {"within 5 %", Align::kRight},
                 {"slowdown (geomean)", Align::kRight}});
  Table tails({{"variant"},
               {"p90", Align::kRight},
               {"p99", Align::kRight},
               {"served", Align::kRight},
               {"best of its classes", Align::kRight}});
  Table costs({{"variant"},
               {"runs", Align::kRight},
               {"parameters", Align::kRight},
               {"inference p50, us", Align::kRight},
               {"training, s", Align::kRight},
               {"ln slowdown, paired", Align::kRight}});
  for (const Study::Row& row : study.rows) {
    if (runs_[row.variant].empty()) {
      continue;
    }
    const VariantFigures& f = figures_[row.variant];
    choices.add({row.label,
                 estimate_text(f.chosen.top1, 100, 1),
                 estimate_text(f.chosen.top3, 100, 1),
                 estimate_text(f.chosen.within_5pct, 100, 1),
                 estimate_text(f.chosen.geomean_slowdown, 1, 4)});
    tails.add({row.label,
               estimate_text(f.chosen.p90_slowdown, 1, 3),
               estimate_text(f.chosen.p99_slowdown, 1, 2),
               estimate_text(f.served_slowdown, 1, 4),
               fmt::format("{:.4f}", f.ceiling_slowdown.value)});
    costs.add({row.label,
               std::to_string(runs_[row.variant].size()),
               human_count(static_cast<std::uint64_t>(std::llround(f.parameters.value))),
               estimate_text(f.inference_p50_us, 1, 2),
               estimate_text(f.training_s, 1, 1),
               difference_cell(paired(row.variant, row.against), row.variant == row.against)});
  }
  if (choices.empty()) {
    return;
  }
  out << '\n' << in_tone(study.title, Tone::kTitle, colour) << "\n\n";
  for (const Table* table : {&choices, &tails, &costs}) {
    table->print(out, colour);
    out << '\n';
  }
}

void AblateReport::print_baselines(std::ostream& out, bool colour) const {
  Table table({{"without a model"},
               {"top-1 %", Align::kRight},
               {"within 5 %", Align::kRight},
               {"slowdown (geomean)", Align::kRight},
               {"p90", Align::kRight},
               {"p99", Align::kRight},
               {"not covered", Align::kRight}});
  for (std::size_t i = 0; i < kBaselines; ++i) {
    const ChoiceFigures& f = baseline_figures_[i];
    table.add({kBaselineTitles[i],
               estimate_text(f.top1, 100, 1),
               estimate_text(f.within_5pct, 100, 1),
               estimate_text(f.geomean_slowdown, 1, 4),
               fmt::format("{:.3f}", f.p90_slowdown.value),
               fmt::format("{:.2f}", f.p99_slowdown.value),
               human_count(static_cast<std::uint64_t>(f.uncovered))});
  }
  out << '\n';
  table.print(out, colour);
}

void AblateReport::print(std::ostream& out, bool colour) const {
  out << fmt::format(
      "{} held-out problems, shapes that no variant was trained on; {} of {} trainings finished; "
      "in "
      "brackets\n95 % intervals over seeds and shapes; paired: against {} (below 0 is faster)\n",
      human_count(data_.held_out().size()),
      finished_runs(),
      planned_runs(),
      plan_.variants[plan_.reference].name);
  for (const Study& study : plan_.studies) {
    print_study(out, colour, study);
  }
  print_baselines(out, colour);
  Table asides({{"variant"},
                {"classes", Align::kRight},
                {"abstained", Align::kRight},
                {"none of 16 exists", Align::kRight},
                {"no class exists, problems", Align::kRight}});
  for (std::size_t v = 0; v < plan_.variants.size(); ++v) {
    if (!runs_[v].empty()) {
      const VariantFigures& f = figures_[v];
      asides.add({plan_.variants[v].name,
                  human_count(static_cast<std::uint64_t>(std::llround(f.classes))),
                  human_share(f.abstained),
                  human_share(f.unanswered),
                  fmt::format("{:.1f}", f.chosen.uncovered)});
    }
  }
  out << '\n';
  asides.print(out, colour);
}

}  // namespace reformer::cli
