#pragma once

#include "core/decision.h"
#include "core/device.h"
#include "core/problem.h"
#include "core/result.h"
#include "model/features.h"
#include "model/targets.h"

#include <array>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace reformer::model {

// What a model file says about itself; shown by `reformerctl models`.
struct ModelInfo {
  std::string name;    // "gamma3-ratio-s4-5f0c1a2b"; unique among the loaded ones
  std::string block;   // "gamma", "mlp", "transformer"
  std::string target;  // "ratio", "one-hot", "softmax"
  int blocks = 0;
  float sharpness = 0;
  std::uint64_t seed = 0;
  std::size_t parameters = 0;
  std::size_t classes = 0;
  std::string data_hash;  // xxh3-128 of the training records' keys, hexadecimal
  std::size_t training_problems = 0;
  std::vector<core::Context> contexts;  // GPUs and cuDNN versions seen in training
  float abstain_below = 0;              // confidence under which the model does not answer
  std::vector<std::pair<std::string, double>> metrics;  // validation figures at training time
};

struct RankedClass {
  std::int32_t class_index = 0;
  float logit = 0;
};

inline constexpr std::size_t kMaxRanked = 16;

// The ranking of one problem. Plain data, no allocation.
struct Ranking {
  std::array<RankedClass, kMaxRanked> classes{};
  std::uint32_t count = 0;
  float confidence = 0;   // calibrated probability that classes[0] is within 5 % of the best
  bool abstained = true;  // below the threshold, or a problem this model was never trained for
};

// A loaded model file, immutable: any number of threads may use one at once, each with its own
// Scratch. Predicting allocates nothing, locks nothing and does no I/O.
class Predictor {
 public:
  // Reads and checks the whole file. Errors: kUnavailable (cannot be read), kCorrupt (truncated,
  // altered, impossible values), kUnsupported (another version or feature schema).
  static core::Result<std::shared_ptr<const Predictor>> load(const std::filesystem::path& path);
  ~Predictor();
  Predictor(const Predictor&) = delete;
  Predictor& operator=(const Predictor&) = delete;

  // Working memory of one thread.
  class Scratch {
   public:
    explicit Scratch(const Predictor& predictor);
    ~Scratch();
    Scratch(Scratch&&) noexcept;
    Scratch& operator=(Scratch&&) noexcept;
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;

   private:
    friend class Predictor;
    struct Impl;
    std::unique_ptr<Impl> impl_;
  };

  [[nodiscard]] const ModelInfo& info() const;

  // Whether the model was trained for this GPU and cuDNN version. rank() does not ask; decide()
  // does.
  [[nodiscard]] bool knows(const core::Context& context) const;

  // Ranks the classes for a canonical problem: the best `count` (at most kMaxRanked) by logit.
  // Abstains without ranking (count 0) on fused problems and types it has no classes for.
  // `view`: which candidates are to be ranked; one that is not the problem's counts as kAll.
  void rank(const core::Problem& problem,
            std::size_t count,
            Scratch& scratch,
            Ranking& out,
            View view = View::kAll) const;
  // Faster than one by one where problems share operation, types and layout.
  void rank_batch(std::span<const core::Problem> problems,
                  std::size_t count,
                  Scratch& scratch,
                  std::span<Ranking> out,
                  View view = View::kAll) const;

  // What is known of a class from training: configuration, notes (kRarelyListed among them), median
  // workspace and build time.
  [[nodiscard]] const core::DecisionEntry& class_entry(std::int32_t class_index) const;
  // The configuration of every class, by class index (what score_ranking wants).
  [[nodiscard]] std::span<const core::EngineConfig> classes() const;
  // The class of a configuration, or -1.
  [[nodiscard]] std::int32_t class_of(const core::EngineConfig& config) const;

  // Whether the model was trained on a layer of this shape (whatever batch size, type or
  // operation). A few in a million others are taken for seen.
  [[nodiscard]] bool has_seen_shape(const core::Problem& problem) const;

  // The answer to a query: rank(), then the constraints and the build policy, then the same cover
  // of application filters as core::decide_measured. At most `max_entries` entries and
  // `max_engines` distinct engines, because building an engine descriptor costs the client 0.35 ms.
  // The building of a class that is compiled at run time is part of its expected cost
  // (CoverRequest). Entries that may not exist for this problem have the note kRarelyListed, those
  // that are there for applications which refuse the others may have kFarBehind.
  //
  // Of f32 problems each view that the constraints allow is ranked: the first entry that an
  // application may run is the best of its own view (unless it is the first of a wider one). Of
  // others with groups the classes that need no compiling come in the order of their own view.
  //
  // Source kPredicted, or kAbstain without entries: for a context that the model was not trained
  // for (another GPU or cuDNN version), for combinations that it does not know (f32 without tensor
  // cores among them), and where its judge says so. Allocates the decision only.
  [[nodiscard]] core::Decision decide(const core::Context& context,
                                      const core::Problem& problem,
                                      const core::Constraints& constraints,
                                      const core::BuildPolicy& policy,
                                      std::size_t max_entries,
                                      std::size_t max_engines,
                                      Scratch& scratch) const;

 private:
  struct Impl;
  struct Batch;
  // What a view's part of an answer may hold at most, and is to cover.
  struct Part {
    std::size_t entries = 0;
    std::size_t engines = 0;
    std::uint32_t filters = 0;  // a FilterSet
  };
  // Asks the time network for each view of the problem; expected_times() then says what it said of
  // one of them.
  void expect_times(const core::Problem& problem, Scratch& scratch) const;
  [[nodiscard]] ExpectedTimes expected_times(View view, const Scratch& scratch) const;
  // What each class of the precompiled view is expected to take, microseconds, in that view's
  // order, where the problem's `combination` has such a view and the judge trusts it; valid until
  // the next call. Overwrites what rank() left in the scratch memory.
  [[nodiscard]] std::span<const double> expect_precompiled(const core::Problem& problem,
                                                           std::uint32_t combination,
                                                           Scratch& scratch) const;
  // One view's part of an answer, with expected times: kPredicted, perhaps without entries, or
  // kAbstain.
  [[nodiscard]] core::Decision choose(const core::Problem& problem,
                                      View view,
                                      const core::Constraints& constraints,
                                      const core::BuildPolicy& policy,
                                      const Part& part,
                                      Scratch& scratch) const;
  explicit Predictor(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace reformer::model
