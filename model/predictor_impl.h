#pragma once

#include "model/cover.h"
#include "model/inference.h"
#include "model/model_file.h"
#include "model/packed_layer.h"
#include "model/predictor.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

// What predictor.cpp (loading, ranking) and predictor_decision.cpp (an answer of it) share.
namespace reformer::model {

inline constexpr std::size_t kBatch = InferenceNetwork::kMaxBatch;
inline constexpr std::uint32_t kUnknown = ~std::uint32_t{0};

struct Predictor::Impl {
  Impl(ModelData model, const Kernels& kernels);

  // A view that training had nothing of its own for is the one before.
  std::uint32_t combination(const core::Problem& problem, View view) const;

  // Its place among the combinations, or kUnknown.
  std::uint32_t find(const Combination& c) const;

  // The views that an answer is made of, the widest first: without those that the constraints leave
  // nothing of, and without that of determinism where training had none such. None where f32 is not
  // known without tensor cores, for who would take such an answer?
  std::span<const View> views_for(const core::Problem& problem,
                                  const core::Constraints& constraints) const;

  bool knows(const core::Context& context) const {
    return std::ranges::find(data.info.contexts, context) != data.info.contexts.end();
  }

  // The precompiled view of a combination: its own combination, and of each of that one's classes
  // the row here.
  struct Precompiled {
    std::uint32_t combination = kUnknown;
    std::vector<std::uint32_t> rows;
  };

  Precompiled precompiled_of(const CombinationClasses& whole) const;

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
  void collect(std::span<const core::Problem> problems, std::span<Ranking> out);
  void compute_logits();
  void judge_all();
  std::span<float> logits(std::size_t sample) const {
    const std::size_t classes =
        model.data.classes.combinations[memory.combinations[sample]].classes.size();
    return std::span(memory.logits).subspan(sample * model.network.logit_stride(), classes);
  }
};

}  // namespace reformer::model
