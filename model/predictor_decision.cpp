// Makes an answer of rankings: the views of a problem, what building costs, what applications
// refuse.
#include "model/predictor_impl.h"

#include <cmath>
#include <iterator>
#include <utility>

namespace reformer::model {
namespace {

constexpr FilterSet kAllFilters = ~FilterSet{0};
// A narrower view's part of an answer's entries and engines is one in so many.
constexpr std::size_t kShareOfView = 4;

// The application filters that pass something of the wider view that the narrower one lacks.
FilterSet filters_between(View wider, View narrower) {
  core::DecisionEntry lacking;
  lacking.numerical_notes = refused_notes(narrower) & ~refused_notes(wider);
  return filters_passed_by(lacking);
}

// Puts the entries of the narrower view before the first of the wider one's that are in it too, but
// not before the first of all.
void merge(View narrower,
           std::vector<core::DecisionEntry> own,
           std::vector<core::DecisionEntry>& entries) {
  if (entries.empty()) {
    entries = std::move(own);
    return;
  }
  std::erase_if(own, [&entries](const core::DecisionEntry& entry) {
    return entry.config == entries.front().config;
  });
  const auto second = entries.begin() + 1;
  const auto is_own = [&own](const core::DecisionEntry& entry) {
    return std::ranges::find(own, entry.config, &core::DecisionEntry::config) != own.end();
  };
  entries.erase(std::remove_if(second, entries.end(), is_own), entries.end());
  const auto place = std::find_if(second, entries.end(), [narrower](const auto& entry) {
    return is_in(narrower, entry.numerical_notes, entry.behavior_notes);
  });
  entries.insert(place, own.begin(), own.end());
}

// By the expected times of an answer's entries, building included: leaves out what is not worth
// trying, and notes what is far behind of the rest. A prediction has no times itself.
void keep_what_is_worth_trying(core::DataType input,
                               const core::BuildPolicy& policy,
                               std::vector<core::DecisionEntry>& entries) {
  std::array<double, core::kMaxDecisionEntries> cost_us{};
  std::array<bool, core::kMaxDecisionEntries> worth{};
  std::ranges::transform(entries, cost_us.begin(), &core::DecisionEntry::time_us);
  core::mark_worth_trying(entries,
                          std::span(cost_us).first(entries.size()),
                          input,
                          policy,
                          std::span(worth).first(entries.size()));
  std::size_t kept = 0;
  for (std::size_t i = 0; i < entries.size(); ++i) {
    if (worth[i]) {
      core::DecisionEntry& entry = entries[kept++] = entries[i];
      entry.time_us = core::kNoTime;
      if (cost_us[i] > core::kFarBehindTimes * cost_us[0]) {
        entry.behavior_notes |= core::behavior_note::kFarBehind;
      }
    }
  }
  entries.resize(kept);
}

// Of whatever the time network says, NaN included.
double sane_time_us(float log2_us) {
  constexpr float kLeast = -10;
  constexpr float kMost = 40;
  return std::exp2(log2_us > kLeast ? std::min(log2_us, kMost) : kLeast);
}

// Gives the classes at `rows` the logits that say what they are expected to take by another view.
// None of them can be faster than the best of all: where two judgements contradict each other like
// that, all of them are scaled.
void rank_by_expected_times(std::span<const double> us,
                            std::span<const std::uint32_t> rows,
                            const ExpectedTimes& times,
                            double best_logit,
                            std::span<float> logits) {
  if (us.empty()) {
    return;
  }
  const double scale = std::max(1.0, times.best_us / *std::ranges::min_element(us));
  for (std::size_t i = 0; i < us.size(); ++i) {
    logits[rows[i]] = static_cast<float>(best_logit - times.behind(scale * us[i]));
  }
}

}  // namespace

void Predictor::expect_times(const core::Problem& problem, Scratch& scratch) const {
  Scratch::Impl& memory = *scratch.impl_;
  NumericFeatures features{};
  numeric_features(problem, impl_->sm_count, features);
  impl_->data.normaliser.apply(features);
  std::size_t samples = 0;
  for (const View view : kViews) {
    if (has_view(problem, view)) {
      const auto next = std::ranges::copy(features, memory.time_inputs[samples].begin()).out;
      std::ranges::copy(indicator_features(combination_of(problem, view)), next);
      memory.time_samples[static_cast<std::size_t>(view)] = samples++;
    }
  }
  const Kernels& kernels = impl_->used_kernels;
  const auto& [first, second, last] = impl_->times;
  first.apply(kernels, samples, memory.time_inputs[0].data(), memory.time_hidden1.data());
  second.apply(kernels, samples, memory.time_hidden1.data(), memory.time_hidden2.data());
  last.apply(kernels, samples, memory.time_hidden2.data(), memory.time_outputs.data());
}

ExpectedTimes Predictor::expected_times(View view, const Scratch& scratch) const {
  const Scratch::Impl& memory = *scratch.impl_;
  const std::size_t sample = memory.time_samples[static_cast<std::size_t>(view)];
  const float log2_us = memory.time_outputs[sample * padded_columns(1)];
  return {impl_->target, impl_->data.info.sharpness, sane_time_us(log2_us)};
}

std::span<const double> Predictor::expect_precompiled(const core::Problem& problem,
                                                      std::uint32_t combination,
                                                      Scratch& scratch) const {
  if (combination == kUnknown || impl_->precompiled[combination].combination == kUnknown) {
    return {};
  }
  Ranking ranking;
  rank(problem, 1, scratch, ranking, View::kPrecompiled);
  if (ranking.abstained || ranking.count == 0) {
    return {};
  }
  const Batch batch{.model = *impl_, .memory = *scratch.impl_, .samples = 1};
  const std::span<const float> logits = batch.logits(0);
  const ExpectedTimes times = expected_times(View::kPrecompiled, scratch);
  const std::span<double> us = std::span(scratch.impl_->precompiled_us).first(logits.size());
  std::ranges::transform(logits, us.begin(), [&](float logit) {
    return times.us(static_cast<double>(ranking.classes[0].logit) - logit);
  });
  return us;
}

core::Decision Predictor::choose(const core::Problem& problem,
                                 View view,
                                 const core::Constraints& constraints,
                                 const core::BuildPolicy& policy,
                                 const Part& part,
                                 Scratch& scratch) const {
  core::Decision decision;
  const std::span<const double> precompiled_us =
      view == View::kAll ? expect_precompiled(problem, impl_->combination(problem, view), scratch)
                         : std::span<const double>();
  Ranking ranking;
  rank(problem, 1, scratch, ranking, view);
  decision.confidence = ranking.confidence;
  if (ranking.abstained || ranking.count == 0) {
    return decision;
  }
  // rank() left this problem's logits and judgement in the scratch memory.
  const Batch batch{.model = *impl_, .memory = *scratch.impl_, .samples = 1};
  const std::span<float> logits = batch.logits(0);
  const double best_logit = ranking.classes[0].logit;
  const ExpectedTimes times = expected_times(view, scratch);
  const std::uint32_t combination = scratch.impl_->combinations[0];
  rank_by_expected_times(
      precompiled_us, impl_->precompiled[combination].rows, times, best_logit, logits);
  const auto& classes = impl_->data.classes.combinations[combination].classes;
  const Cover cover = choose_cover(impl_->coverable[combination],
                                   logits,
                                   {.constraints = constraints,
                                    .policy = policy,
                                    .times = times,
                                    .filters = part.filters,
                                    .max_entries = part.entries,
                                    .max_engines = part.engines});
  decision.source = core::Source::kPredicted;
  decision.entries.reserve(core::kMaxDecisionEntries);
  for (std::size_t i = 0; i < cover.count; ++i) {
    core::DecisionEntry& entry = decision.entries.emplace_back(class_entry(classes[cover.rows[i]]));
    entry.time_us = static_cast<float>(times.us(best_logit - logits[cover.rows[i]]));
  }
  return decision;
}

core::Decision Predictor::decide(const core::Context& context,
                                 const core::Problem& problem,
                                 const core::Constraints& constraints,
                                 const core::BuildPolicy& policy,
                                 std::size_t max_entries,
                                 std::size_t max_engines,
                                 Scratch& scratch) const {
  core::Decision decision;
  decision.model = impl_->data.info.name;
  if (!impl_->knows(context)) {
    return decision;
  }
  max_entries = std::min(max_entries, core::kMaxDecisionEntries);
  expect_times(problem, scratch);
  const std::span<const View> views = impl_->views_for(problem, constraints);
  Part left{max_entries, max_engines, 0};
  std::vector<core::DecisionEntry> entries;
  for (std::size_t i = views.size(); i-- > 0;) {  // the narrowest first
    Part part = i == 0 ? left : Part{max_entries / kShareOfView, max_engines / kShareOfView, 0};
    left = {left.entries - part.entries, left.engines - part.engines, 0};
    part.filters = i + 1 < views.size() ? filters_between(views[i], views[i + 1]) : kAllFilters;
    core::Constraints refusing = constraints;
    refusing.forbidden_numerical_notes |= refused_notes(views[i]);
    core::Decision chosen = choose(problem, views[i], refusing, policy, part, scratch);
    decision.confidence = chosen.confidence;
    if (chosen.source != core::Source::kPredicted) {
      return decision;
    }
    if (i + 1 < views.size()) {
      merge(views[i + 1], std::move(entries), chosen.entries);
    }
    entries = std::move(chosen.entries);
  }
  keep_what_is_worth_trying(problem.x.type, policy, entries);
  decision.entries = std::move(entries);
  decision.source = decision.entries.empty() ? core::Source::kAbstain : core::Source::kPredicted;
  return decision;
}

}  // namespace reformer::model
