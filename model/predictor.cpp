#include "model/predictor_impl.h"

#include <utility>

namespace reformer::model {
namespace {

// A class that was a candidate of fewer than one in so many training problems is rarely listed. Of
// those that rank first for an unseen shape, cuDNN lists two in five and refuses three in a
// hundred.
constexpr std::size_t kRareShare = 50;

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

}  // namespace

Predictor::Impl::Impl(ModelData model, const Kernels& kernels)
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

std::uint32_t Predictor::Impl::combination(const core::Problem& problem, View view) const {
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

std::uint32_t Predictor::Impl::find(const Combination& c) const {
  const auto found = std::ranges::lower_bound(keys, packed_key(c));
  const auto index = static_cast<std::size_t>(found - keys.begin());
  const bool known = found != keys.end() && data.classes.combinations[index].combination == c;
  return known ? static_cast<std::uint32_t>(index) : kUnknown;
}

std::span<const View> Predictor::Impl::views_for(const core::Problem& problem,
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

Predictor::Impl::Precompiled Predictor::Impl::precompiled_of(
    const CombinationClasses& whole) const {
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

void Predictor::Batch::collect(std::span<const core::Problem> problems, std::span<Ranking> out) {
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

void Predictor::Batch::compute_logits() {
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

void Predictor::Batch::judge_all() {
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
  model.judge[0].apply(kernels, samples, memory.judge_inputs[0].data(), memory.judge_hidden.data());
  model.judge[1].apply(kernels, samples, memory.judge_hidden.data(), memory.judge_outputs.data());
  for (std::size_t s = 0; s < samples; ++s) {
    memory.judgements[s] = judgement_of(
        std::span<const float, kJudgeOutputs>(&memory.judge_outputs[s * kOutputs], kJudgeOutputs));
  }
}

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

}  // namespace reformer::model
