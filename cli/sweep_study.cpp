#include "cli/sweep_study.h"

#include "cli/exit_code.h"
#include "core/problem_text.h"

#include <fmt/format.h>

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <initializer_list>
#include <optional>
#include <utility>
#include <vector>

namespace reformer::cli {
namespace {

using cudnn::Measurer;

// A configuration's time in a record; infinity where it has none.
double time_in(const core::Record& record, const core::Candidate* chosen) {
  for (const core::Candidate& candidate : record.candidates) {
    if (chosen != nullptr && candidate.config == chosen->config && candidate.timed()) {
      return static_cast<double>(candidate.time_us);
    }
  }
  return HUGE_VAL;
}

struct Totals {
  std::size_t problems = 0;
  double log_ratio = 0;   // by the exhaustive run's times: its best is flattered by chance
  double log_judged = 0;  // by a third look at only the choices
  double race_us = 0;
  double exhaustive_us = 0;
  double log_share = 0;
  std::size_t same = 0;         // by the exhaustive run's times
  std::size_t same_judged = 0;  // by the third look
  std::size_t same_config = 0;
  std::vector<double> ratios;
};

// The plans of a few configurations, taken out of an enumeration.
cudnn::Enumeration only(cudnn::Enumeration& all,
                        std::initializer_list<const core::Candidate*> wanted) {
  cudnn::Enumeration some;
  for (cudnn::Planned& planned : all.candidates) {
    if (planned.plan != nullptr &&
        std::any_of(wanted.begin(), wanted.end(), [&](const core::Candidate* candidate) {
          return candidate->config == planned.candidate.config;
        })) {
      some.candidates.push_back(std::move(planned));
    }
  }
  return some;
}

bool within_1pct(double one, double other) {
  return std::abs(one - other) <= 0.01 * std::min(one, other);
}

core::Status study_one(Measurer& measurer,
                       Prepared& prepared,
                       Totals& totals,
                       const std::atomic<bool>& interrupted) {
  const auto stop = [&] { return interrupted.load(); };
  Measurer::Limits exhaustive;
  exhaustive.race.exhaustive = true;
  measurer.load(prepared.problem, *prepared.candidates, {}, stop);
  std::vector<Measurer::Measured> runs;
  for (const Measurer::Limits& limits : {Measurer::Limits{}, exhaustive, Measurer::Limits{}}) {
    auto measured = measurer.measure(prepared.problem, *prepared.candidates, limits, stop);
    if (!measured) {
      return measured.error();
    }
    runs.push_back(std::move(*measured));
  }
  const core::Candidate* const first = core::fastest(runs[0].record);
  const core::Candidate* const best = core::fastest(runs[1].record);
  const core::Candidate* const second = core::fastest(runs[2].record);
  if (first == nullptr || best == nullptr || second == nullptr) {
    return core::make_error(core::ErrorCode::kUnsupported, "nothing could be timed");
  }
  const cudnn::Enumeration few = only(*prepared.candidates, {first, best, second});
  const auto judged = measurer.measure(prepared.problem, few, exhaustive, stop);
  if (!judged) {
    return judged.error();
  }
  const double first_us = time_in(runs[1].record, first);
  const double second_us = time_in(runs[1].record, second);
  const double judged_first = time_in(judged->record, first);
  const double judged_second = time_in(judged->record, second);
  const double judged_best = std::min({judged_first, judged_second, time_in(judged->record, best)});
  const double ratio = first_us / static_cast<double>(best->time_us);
  ++totals.problems;
  totals.log_ratio += std::log(ratio);
  totals.ratios.push_back(ratio);
  totals.log_judged += std::log(judged_first / judged_best);
  totals.race_us += runs[0].gpu_us;
  totals.exhaustive_us += runs[1].gpu_us;
  totals.log_share += std::log(runs[0].gpu_us / runs[1].gpu_us);
  totals.same += within_1pct(first_us, second_us) ? 1 : 0;
  totals.same_judged += within_1pct(judged_first, judged_second) ? 1 : 0;
  totals.same_config += first->config == second->config ? 1 : 0;
  if (ratio > 1.01 || !within_1pct(judged_first, judged_second)) {
    fmt::print(stderr,
               "{}: exhaustive {:.2f} us; first choice {:.2f}, judged {:.2f}; second {:.2f}, "
               "judged {:.2f}; race/exhaustive {:.2f}/{:.2f} ms\n",
               core::format_problem(prepared.problem),
               best->time_us,
               first_us,
               judged_first,
               second_us,
               judged_second,
               runs[0].gpu_us / 1000,
               runs[1].gpu_us / 1000);
  }
  return core::ok_status();
}

}  // namespace

int study_race(Equipment& equipment,
               Pipeline& pipeline,
               std::size_t wanted,
               const std::atomic<bool>& interrupted) {
  Totals totals;
  while (totals.problems < wanted) {
    auto prepared = pipeline.take();
    if (!prepared) {
      break;
    }
    if (!prepared->candidates) {
      continue;
    }
    const core::Status done = study_one(*equipment.measurer, *prepared, totals, interrupted);
    if (!done && done.error().code == core::ErrorCode::kInternal) {
      fmt::print(stderr, "reformerctl sweep: {}\n", done.error().message);
      std::fflush(nullptr);
      _exit(kExitFailed);  // the GPU is gone: destructors would hang in it
    }
    pipeline.retire(std::move(*prepared->candidates));
  }
  const auto n = static_cast<double>(std::max<std::size_t>(1, totals.problems));
  std::sort(totals.ratios.begin(), totals.ratios.end());
  const double worst = totals.ratios.empty() ? 0 : totals.ratios.back();
  fmt::print(
      "{{\"problems\":{},\"geomean_ratio\":{:.5f},\"geomean_ratio_judged\":{:.5f},"
      "\"worst_ratio\":{:.3f},\"gpu_time_share\":{:.4f},\"gpu_time_share_geomean\":{:.4f},"
      "\"same_winner_within_1pct\":{:.4f},\"same_winner_within_1pct_judged\":{:.4f},"
      "\"same_configuration\":{:.4f}}}\n",
      totals.problems,
      std::exp(totals.log_ratio / n),
      std::exp(totals.log_judged / n),
      worst,
      totals.exhaustive_us > 0 ? totals.race_us / totals.exhaustive_us : 0.0,
      std::exp(totals.log_share / n),
      static_cast<double>(totals.same) / n,
      static_cast<double>(totals.same_judged) / n,
      static_cast<double>(totals.same_config) / n);
  fmt::print(stderr, "{}\n", equipment.measurer->profile());
  return totals.problems > 0 ? kExitOk : kExitFailed;
}

}  // namespace reformer::cli
