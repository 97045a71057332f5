#pragma once

#include "core/engine_config.h"
#include "core/key.h"
#include "core/record.h"
#include "model/class_list.h"
#include "model/features.h"

#include <array>
#include <cstdint>
#include <span>
#include <unordered_map>
#include <unordered_set>
#include <vector>

namespace reformer::model {

// Measured records in the compact form that training needs (about 1.5 KB a problem instead of 13).
struct CorpusCandidate {
  std::uint32_t config = 0;  // index into Corpus::configs()
  float time_us = 0;
  float build_us = 0;
  std::int64_t workspace_bytes = 0;
};
// What a choice in one view of a problem is measured by.
struct CorpusTimes {
  float best_us = 0;         // 0: none of them is timed
  float heuristic_a_us = 0;  // time of heuristic A's first timed candidate; 0: not covered
};
struct CorpusProblem {
  core::Problem problem;
  core::KeyHash key;
  std::uint64_t shape = 0;  // hash of what shape_hash() says
  std::size_t first = 0;    // candidates
  std::size_t count = 0;
  // By view; nothing where the problem has no such view. Of kDeterministic nothing where it holds
  // as much as the view before.
  std::array<CorpusTimes, kViews.size()> views;

  [[nodiscard]] const CorpusTimes& times(View view) const {
    return views[static_cast<std::size_t>(view)];
  }
  [[nodiscard]] float best_us() const { return views.front().best_us; }
};

// Hash of a problem's channels, image, filter, padding, stride, dilation and groups, without batch
// size, operation, types and layout: problems that share it are the same layer, and never stand on
// two sides of a split.
[[nodiscard]] std::uint64_t shape_hash(const core::Problem& problem);

// Threads: one writer; reading from any number once complete.
class Corpus {
 public:
  // Takes a record's timed candidates. False, and nothing changed: none is timed, or the same key
  // is there already, or it is of another GPU or cuDNN version than the first record.
  enum class Added { kYes, kNothingTimed, kDuplicate, kOtherContext };
  Added add(const core::Record& record);

  [[nodiscard]] const core::Context& context() const { return context_; }
  [[nodiscard]] std::span<const CorpusProblem> problems() const { return problems_; }
  [[nodiscard]] std::span<const CorpusCandidate> candidates(const CorpusProblem& problem) const {
    return std::span(candidates_).subspan(problem.first, problem.count);
  }
  [[nodiscard]] std::span<const core::EngineConfig> configs() const { return configs_; }
  [[nodiscard]] std::uint32_t numerical_notes(std::uint32_t config) const {
    return notes_[config].numerical;
  }
  [[nodiscard]] std::uint32_t behavior_notes(std::uint32_t config) const {
    return notes_[config].behavior;
  }
  [[nodiscard]] bool holds(View view, const CorpusCandidate& candidate) const {
    return is_in(view, numerical_notes(candidate.config), behavior_notes(candidate.config));
  }

 private:
  struct Notes {
    std::uint32_t numerical = 0;
    std::uint32_t behavior = 0;
  };
  std::uint32_t intern(const core::Candidate& candidate);

  core::Context context_;
  std::vector<CorpusProblem> problems_;
  std::vector<CorpusCandidate> candidates_;
  std::vector<core::EngineConfig> configs_;
  std::vector<Notes> notes_;
  std::unordered_map<core::EngineConfig, std::uint32_t, core::EngineConfigHash> ids_;
  std::unordered_set<core::KeyHash, core::KeyHasher> keys_;
};

enum class ClassChoice : std::uint8_t {
  kSeen = 0,   // every configuration that was a timed candidate often enough
  kCover = 1,  // the smallest (greedy) set that has a member within 3 % of the best everywhere
  // Every configuration that was often enough within 2 % of the best of some application: of all
  // candidates or of those that one of core::application_filters() lets through, whatever they cost
  // to build or of those that build fast. On the shipped measurements a sixth of what was seen.
  kContenders = 2,
};
struct ClassRule {
  ClassChoice choice = ClassChoice::kContenders;
  std::uint32_t min_sightings = 3;  // problems that it was a timed candidate of
  // Of kContenders: problems of which it was a contender. 0: the number of problems over 15 000,
  // rounded up; and every configuration where there are fewer than 3 000, because what was best of
  // so few tells too little of what will be (docs/ablation.md).
  std::uint32_t min_contentions = 0;
};

// The classes that the problems named by `indices` teach, and for each combination the classes that
// were candidates there. Each view of a problem is a combination of its own.
[[nodiscard]] ClassList make_class_list(const Corpus& corpus,
                                        std::span<const std::size_t> indices,
                                        const ClassRule& rule);

}  // namespace reformer::model
