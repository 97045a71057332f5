#include "model/predictor.h"

#include "model/cover.h"
#include "model/inference.h"
#include "model/model_file.h"
#include "model/packed_layer.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <numeric>
#include <unordered_map>
#include <utility>
#include <vector>

namespace reformer::model {
namespace {

constexpr std::size_t kBatch = InferenceNetwork::kMaxBatch;
constexpr std::uint32_t kUnknown = ~std::uint32_t{0};
// A class that was a candidate of fewer than one in so many training problems is rarely listed. Of
// those that rank first for an unseen shape, two thirds do not exist there; of the others 3 %.
constexpr std::size_t kRareShare = 50;
// An entry that is expected to take so many times the time of the first is far behind.
constexpr float kFarBehindTimes = 2;

// A combination in one number, in the order of its members: cheap to search for.
std::uint64_t packed_key(const Combination& c) {
  std::uint64_t key = 0;
  for (const auto part : {static_cast<unsigned>(c.operation),
                          static_cast<unsigned>(c.mode),
                          static_cast<unsigned>(c.type),
                          static_cast<unsigned>(c.weight_type),
                          static_cast<unsigned>(c.output_type),
                          static_cast<unsigned>(c.compute_type),
                          static_cast<unsigned>(c.layout),
                          static_cast<unsigned>(c.spatial_rank),
                          static_cast<unsigned>(c.grouping),
                          static_cast<unsigned>(c.view)}) {
    key = key * 16 + (part & 15U);
  }
  return key;
}

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

// Turns the expected times of an answer's entries, building included, into notes: a prediction has
// no times.
void note_what_is_far_behind(std::vector<core::DecisionEntry>& entries) {
  const float first_us = entries.empty() ? 0 : entries.front().time_us;
  for (core::DecisionEntry& entry : entries) {
    if (entry.time_us > kFarBehindTimes * first_us) {
      entry.behavior_notes |= core::behavior_note::kFarBehind;
    }
    entry.time_us = core::kNoTime;
  }
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

struct Predictor::Impl {
  Impl(ModelData model, const Kernels& kernels)
      : data(std::move(model)),
        network(data, kernels),
        sm_count(data.info.contexts.front().device.sm_count),
        judge{PackedLayer(arena,
                          kJudgeInputs,
                          data.calibration.hidden_weights,
                          data.calibration.hidden_bias,
                          Activation::kRelu),
              PackedLayer(arena,
                          kJudgeHidden,
                          data.calibration.output_weights,
                          data.calibration.output_bias,
                          Activation::kNone)},
        times{PackedLayer(arena,
                          kTimeInputs,
                          data.times.hidden1_weights,
                          data.times.hidden1_bias,
                          Activation::kRelu),
              PackedLayer(arena,
                          kTimeHidden[0],
                          data.times.hidden2_weights,
                          data.times.hidden2_bias,
                          Activation::kRelu),
              PackedLayer(arena,
                          kTimeHidden[1],
                          data.times.output_weights,
                          {&data.times.output_bias, 1},
                          Activation::kNone)},
        used_kernels(kernels),
        target(parse_target_kind(data.info.target).value_or(TargetKind::kOneHot)) {
    for (const CombinationClasses& c : data.classes.combinations) {
      keys.push_back(packed_key(c.combination));
    }
    for (KernelClass& kernel : data.classes.classes) {
      if (kernel.sightings * kRareShare < data.info.training_problems) {
        kernel.entry.behavior_notes |= core::behavior_note::kRarelyListed;
      }
      class_ids.emplace(kernel.entry.config, static_cast<std::int32_t>(configs.size()));
      configs.push_back(kernel.entry.config);
    }
    for (const CombinationClasses& combination : data.classes.combinations) {
      precompiled.push_back(precompiled_of(combination));
      Coverable& of_combination = coverable.emplace_back();
      for (const std::int32_t id : combination.classes) {
        of_combination.add(data.classes.classes[static_cast<std::size_t>(id)].entry);
      }
    }
  }

  // A view that training had nothing of its own for is the one before.
  std::uint32_t combination(const core::Problem& problem, View view) const {
    if (problem.fusion != 0) {
      return kUnknown;
    }
    const std::uint32_t found = find(combination_of(problem, view));
    if (found != kUnknown || view == View::kAll || view == View::kWithoutTensorCores) {
      return found;
    }
    return find(combination_of(
        problem, view == View::kDeterministic ? View::kWithoutTensorCores : View::kAll));
  }

  std::uint32_t find(const Combination& c) const {
    const auto found = std::ranges::lower_bound(keys, packed_key(c));
    const auto index = static_cast<std::size_t>(found - keys.begin());
    const bool known = found != keys.end() && data.classes.combinations[index].combination == c;
    return known ? static_cast<std::uint32_t>(index) : kUnknown;
  }

  // The views that an answer is made of, the widest first: without those that the constraints leave
  // nothing of, and without that of determinism where training had none such. None where f32 is not
  // known without tensor cores, for who would take such an answer?
  std::span<const View> views_for(const core::Problem& problem,
                                  const core::Constraints& constraints) const {
    if (!has_view(problem, View::kWithoutTensorCores)) {
      return std::span(kApplicationViews).first(1);
    }
    const auto known = [&](View view) { return find(combination_of(problem, view)) != kUnknown; };
    if (!known(View::kWithoutTensorCores)) {
      return {};
    }
    const std::size_t end = kApplicationViews.size() - (known(View::kDeterministic) ? 0 : 1);
    std::size_t widest = 0;
    while (widest + 1 < end && (refused_notes(kApplicationViews[widest + 1]) &
                                ~constraints.forbidden_numerical_notes) == 0) {
      ++widest;
    }
    return std::span(kApplicationViews).subspan(widest, end - widest);
  }

  bool knows(const core::Context& context) const {
    return std::ranges::find(data.info.contexts, context) != data.info.contexts.end();
  }

  // The precompiled view of a combination: its own combination, and of each of that one's classes
  // the row here.
  struct Precompiled {
    std::uint32_t combination = kUnknown;
    std::vector<std::uint32_t> rows;
  };

  Precompiled precompiled_of(const CombinationClasses& whole) const {
    Precompiled part;
    Combination wanted = whole.combination;
    if (wanted.view != View::kAll) {
      return part;
    }
    wanted.view = View::kPrecompiled;
    const std::uint32_t found = find(wanted);
    if (found == kUnknown) {
      return part;
    }
    for (const std::int32_t id : data.classes.combinations[found].classes) {
      const auto row = std::ranges::lower_bound(whole.classes, id);
      if (row == whole.classes.end() || *row != id) {
        return part;  // not as training makes it
      }
      part.rows.push_back(static_cast<std::uint32_t>(row - whole.classes.begin()));
    }
    part.combination = found;
    return part;
  }

  ModelData data;
  InferenceNetwork network;
  std::int32_t sm_count;
  std::vector<std::uint64_t> keys;
  std::vector<Coverable> coverable;      // by combination, in the order of its logits
  std::vector<Precompiled> precompiled;  // by combination
  std::vector<core::EngineConfig> configs;
  std::unordered_map<core::EngineConfig, std::int32_t, core::EngineConfigHash> class_ids;
  WeightArena arena;  // of the two small networks
  std::array<PackedLayer, 2> judge;
  std::array<PackedLayer, 3> times;
  const Kernels& used_kernels;
  TargetKind target;
};

struct Predictor::Scratch::Impl {
  explicit Impl(const InferenceNetwork& network)
      : workspace(network.workspace_floats()),
        logits(kBatch * network.logit_stride()),
        precompiled_us(network.logit_stride()) {}

  std::vector<float> workspace;
  std::vector<float> logits;           // [kBatch][logit_stride]
  std::vector<double> precompiled_us;  // expected times of a precompiled view's classes
  std::array<NumericFeatures, kBatch> features{};
  std::array<std::uint32_t, kBatch> combinations{};  // of the known problems, ascending
  std::array<std::uint32_t, kBatch> positions{};     // in the caller's batch
  std::array<std::array<float, kJudgeInputs>, kBatch> judge_inputs{};
  std::array<float, kBatch * kJudgeHidden> judge_hidden{};
  std::array<float, kBatch * padded_columns(kJudgeOutputs)> judge_outputs{};
  // Of the time network, one sample for each view of the problem.
  std::array<std::size_t, kViews.size()> time_samples{};
  std::array<std::array<float, kTimeInputs>, kViews.size()> time_inputs{};
  std::array<float, kViews.size() * kTimeHidden[0]> time_hidden1{};
  std::array<float, kViews.size() * kTimeHidden[1]> time_hidden2{};
  std::array<float, kViews.size() * padded_columns(1)> time_outputs{};
  std::array<Judgement, kBatch> judgements{};  // in the order of `positions`
};

// One batch of at most kBatch problems.
struct Predictor::Batch {
  const Predictor::Impl& model;
  Scratch::Impl& memory;
  View view = View::kAll;
  std::size_t samples = 0;

  // Drops unknown problems and puts the others in the order of their combinations.
  void collect(std::span<const core::Problem> problems, std::span<Ranking> out) {
    for (std::size_t i = 0; i < problems.size(); ++i) {
      out[i].count = 0;
      out[i].confidence = 0;
      out[i].abstained = true;
      const std::uint32_t combination = model.combination(problems[i], view);
      if (combination == kUnknown) {
        continue;
      }
      std::size_t at = samples++;
      for (; at > 0 && memory.combinations[at - 1] > combination; --at) {
        memory.combinations[at] = memory.combinations[at - 1];
        memory.positions[at] = memory.positions[at - 1];
      }
      memory.combinations[at] = combination;
      memory.positions[at] = static_cast<std::uint32_t>(i);
    }
    if (samples == 1) {
      model.network.prefetch(memory.combinations[0]);
    }
    for (std::size_t s = 0; s < samples; ++s) {
      numeric_features(problems[memory.positions[s]], model.sm_count, memory.features[s]);
      model.data.normaliser.apply(memory.features[s]);
    }
  }

  void compute_logits() {
    const std::size_t stride = model.network.logit_stride();
    const std::size_t width = padded_columns(model.network.embedding());
    const float* embeddings = model.network.embed(
        std::span(memory.combinations).first(samples), memory.features[0].data(), memory.workspace);
    for (std::size_t first = 0; first < samples;) {
      std::size_t end = first + 1;
      while (end < samples && memory.combinations[end] == memory.combinations[first]) {
        ++end;
      }
      model.network.logits(memory.combinations[first],
                           embeddings + first * width,
                           end - first,
                           &memory.logits[first * stride]);
      first = end;
    }
  }

  std::span<float> logits(std::size_t sample) const {
    const std::size_t classes =
        model.data.classes.combinations[memory.combinations[sample]].classes.size();
    return std::span(memory.logits).subspan(sample * model.network.logit_stride(), classes);
  }

  void judge_all() {
    constexpr std::size_t kOutputs = padded_columns(kJudgeOutputs);
    for (std::size_t s = 0; s < samples; ++s) {
      const Combination& combination =
          model.data.classes.combinations[memory.combinations[s]].combination;
      RankFeatures rank{};
      rank_features(logits(s), memory.features[s], rank);
      auto next = std::ranges::copy(memory.features[s], memory.judge_inputs[s].begin()).out;
      next = std::ranges::copy(indicator_features(combination), next).out;
      std::ranges::copy(rank, next);
    }
    const Kernels& kernels = model.used_kernels;
    model.judge[0].apply(
        kernels, samples, memory.judge_inputs[0].data(), memory.judge_hidden.data());
    model.judge[1].apply(kernels, samples, memory.judge_hidden.data(), memory.judge_outputs.data());
    for (std::size_t s = 0; s < samples; ++s) {
      memory.judgements[s] = judgement_of(std::span<const float, kJudgeOutputs>(
          &memory.judge_outputs[s * kOutputs], kJudgeOutputs));
    }
  }
};

core::Result<std::shared_ptr<const Predictor>> Predictor::load(const std::filesystem::path& path) {
  core::Result<ModelData> data = read_model(path);
  if (!data.ok()) {
    return data.error();
  }
  return std::shared_ptr<const Predictor>(
      new Predictor(std::make_unique<Impl>(std::move(*data), best_kernels())));
}

Predictor::Predictor(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Predictor::~Predictor() = default;

Predictor::Scratch::Scratch(const Predictor& predictor)
    : impl_(std::make_unique<Impl>(predictor.impl_->network)) {}
Predictor::Scratch::~Scratch() = default;
Predictor::Scratch::Scratch(Scratch&&) noexcept = default;
Predictor::Scratch& Predictor::Scratch::operator=(Scratch&&) noexcept = default;

const ModelInfo& Predictor::info() const {
  return impl_->data.info;
}

std::span<const core::EngineConfig> Predictor::classes() const {
  return impl_->configs;
}

const core::DecisionEntry& Predictor::class_entry(std::int32_t class_index) const {
  return impl_->data.classes.classes[static_cast<std::size_t>(class_index)].entry;
}

std::int32_t Predictor::class_of(const core::EngineConfig& config) const {
  const auto found = impl_->class_ids.find(config);
  return found == impl_->class_ids.end() ? -1 : found->second;
}

bool Predictor::has_seen_shape(const core::Problem& problem) const {
  return std::ranges::binary_search(impl_->data.seen_shapes,
                                    static_cast<std::uint32_t>(shape_hash(problem)));
}

bool Predictor::knows(const core::Context& context) const {
  return impl_->knows(context);
}

void Predictor::rank(const core::Problem& problem,
                     std::size_t count,
                     Scratch& scratch,
                     Ranking& out,
                     View view) const {
  rank_batch({&problem, 1}, count, scratch, {&out, 1}, view);
}

void Predictor::rank_batch(std::span<const core::Problem> problems,
                           std::size_t count,
                           Scratch& scratch,
                           std::span<Ranking> out,
                           View view) const {
  count = std::clamp<std::size_t>(count, 1, kMaxRanked);
  for (std::size_t first = 0; first < problems.size(); first += kBatch) {
    const std::size_t size = std::min(kBatch, problems.size() - first);
    const std::span<Ranking> rankings = out.subspan(first, size);
    Batch batch{*impl_, *scratch.impl_, view};
    batch.collect(problems.subspan(first, size), rankings);
    if (batch.samples == 0) {
      continue;
    }
    batch.compute_logits();
    batch.judge_all();
    for (std::size_t s = 0; s < batch.samples; ++s) {
      Ranking& ranking = rankings[scratch.impl_->positions[s]];
      const auto& classes =
          impl_->data.classes.combinations[scratch.impl_->combinations[s]].classes;
      const std::span<const float> logits = batch.logits(s);
      std::array<std::uint32_t, kMaxRanked> rows{};
      ranking.count = static_cast<std::uint32_t>(
          impl_->used_kernels.select_top(logits.data(), logits.size(), count, rows.data()));
      for (std::uint32_t i = 0; i < ranking.count; ++i) {
        ranking.classes[i] = {classes[rows[i]], logits[rows[i]]};
      }
      ranking.confidence = scratch.impl_->judgements[s].confidence;
      ranking.abstained = impl_->data.calibration.abstains(scratch.impl_->judgements[s]);
    }
  }
}

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
  note_what_is_far_behind(entries);
  decision.entries = std::move(entries);
  decision.source = decision.entries.empty() ? core::Source::kAbstain : core::Source::kPredicted;
  return decision;
}

}  // namespace reformer::model
