#include "model/corpus.h"

#include "core/decision.h"
#include "model/random.h"

#include <algorithm>
#include <array>
#include <limits>
#include <map>
#include <set>

namespace reformer::model {
namespace {

constexpr float kCoverWithin = 1.03F;
constexpr float kContendsWithin = 1.02F;
constexpr std::size_t kFewProblems = 3000;
constexpr std::size_t kProblemsPerContention = 15000;

float median(std::vector<float>& values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::ranges::nth_element(values, middle);
  return *middle;
}

CorpusTimes times_of(const core::Record& record) {
  CorpusTimes times;
  if (const core::Candidate* best = core::fastest(record)) {
    times.best_us = best->time_us;
  }
  if (const core::Candidate* a = core::first_of_heuristic_a(record)) {
    times.heuristic_a_us = a->time_us;
  }
  return times;
}

core::Record part_in(View view, const core::Record& record) {
  return core::without_notes(record, refused_notes(view), refused_behavior_notes(view));
}

std::array<CorpusTimes, kViews.size()> times_by_view(const core::Record& record) {
  std::array<CorpusTimes, kViews.size()> views;
  views.front() = times_of(record);
  const auto set = [&views](View view, const core::Record& part) {
    views[static_cast<std::size_t>(view)] = times_of(part);
  };
  const core::Problem& problem = record.key.problem;
  if (has_view(problem, View::kWithoutTensorCores)) {
    const core::Record without = part_in(View::kWithoutTensorCores, record);
    set(View::kWithoutTensorCores, without);
    const core::Record deterministic = part_in(View::kDeterministic, record);
    if (deterministic.candidates.size() < without.candidates.size()) {
      set(View::kDeterministic, deterministic);
    }
  }
  if (has_view(problem, View::kPrecompiled)) {
    set(View::kPrecompiled, part_in(View::kPrecompiled, record));
  }
  return views;
}

// Greedy set cover: again and again the configuration that is within 3 % of the best for most of
// the problems that have no such member yet.
std::vector<bool> cover(const Corpus& corpus, std::span<const std::size_t> indices) {
  std::vector<std::vector<std::size_t>> covers(corpus.configs().size());
  for (const std::size_t index : indices) {
    const CorpusProblem& problem = corpus.problems()[index];
    for (const CorpusCandidate& candidate : corpus.candidates(problem)) {
      if (candidate.time_us <= kCoverWithin * problem.best_us()) {
        covers[candidate.config].push_back(index);
      }
    }
  }
  std::vector<bool> chosen(covers.size());
  std::vector<bool> covered(corpus.problems().size());
  for (std::size_t left = indices.size(); left > 0;) {
    std::size_t best = 0;
    std::size_t gain = 0;
    for (std::size_t config = 0; config < covers.size(); ++config) {
      // What is covered already is dropped while counting, so that the loop gets cheaper.
      std::erase_if(covers[config], [&](std::size_t index) { return covered[index]; });
      if (covers[config].size() > gain) {
        gain = covers[config].size();
        best = config;
      }
    }
    chosen[best] = true;
    for (const std::size_t index : covers[best]) {
      covered[index] = true;
    }
    left -= gain;
  }
  return chosen;
}

// What an application can run: the notes, the workspace and the building that it accepts.
std::vector<core::Constraints> demands() {
  const auto filters = core::application_filters();
  std::vector<core::Constraints> result{core::Constraints{}};
  result.insert(result.end(), filters.begin(), filters.end());
  const std::size_t count = result.size();
  for (std::size_t i = 0; i < count; ++i) {
    core::Constraints cheap = result[i];
    cheap.max_build_us = core::BuildPolicy{}.cheap_build_us;
    result.push_back(cheap);
  }
  return result;
}

// Of each configuration: how many of the problems had it within 2 % of the best of a demand.
std::vector<std::uint32_t> count_contentions(const Corpus& corpus,
                                             std::span<const std::size_t> indices) {
  const std::vector<core::Constraints> all = demands();
  std::vector<std::uint32_t> count(corpus.configs().size());
  std::vector<core::DecisionEntry> entries;
  std::vector<bool> contends;
  for (const std::size_t index : indices) {
    const std::span<const CorpusCandidate> candidates = corpus.candidates(corpus.problems()[index]);
    entries.resize(candidates.size());
    for (std::size_t i = 0; i < candidates.size(); ++i) {
      entries[i].numerical_notes = corpus.numerical_notes(candidates[i].config);
      entries[i].behavior_notes = corpus.behavior_notes(candidates[i].config);
      entries[i].workspace_bytes = candidates[i].workspace_bytes;
      entries[i].build_us = candidates[i].build_us;
    }
    contends.assign(candidates.size(), false);
    for (const core::Constraints& demand : all) {
      float best = std::numeric_limits<float>::infinity();
      for (std::size_t i = 0; i < candidates.size(); ++i) {
        if (candidates[i].time_us < best && core::passes(entries[i], demand)) {
          best = candidates[i].time_us;
        }
      }
      for (std::size_t i = 0; i < candidates.size(); ++i) {
        if (candidates[i].time_us <= kContendsWithin * best && core::passes(entries[i], demand)) {
          contends[i] = true;
        }
      }
    }
    for (std::size_t i = 0; i < candidates.size(); ++i) {
      count[candidates[i].config] += contends[i] ? 1 : 0;
    }
  }
  return count;
}

std::size_t contentions_needed(const ClassRule& rule, std::size_t problems) {
  if (rule.min_contentions > 0) {
    return rule.min_contentions;
  }
  return problems < kFewProblems ? 0
                                 : (problems + kProblemsPerContention - 1) / kProblemsPerContention;
}

std::vector<bool> choose(const Corpus& corpus,
                         std::span<const std::size_t> indices,
                         const ClassRule& rule) {
  if (rule.choice == ClassChoice::kCover) {
    return cover(corpus, indices);
  }
  std::vector<bool> chosen(corpus.configs().size(), true);
  const std::size_t least = contentions_needed(rule, indices.size());
  if (rule.choice == ClassChoice::kContenders && least > 0) {
    const std::vector<std::uint32_t> contentions = count_contentions(corpus, indices);
    for (std::size_t config = 0; config < chosen.size(); ++config) {
      chosen[config] = contentions[config] >= least;
    }
  }
  return chosen;
}

}  // namespace

std::uint64_t shape_hash(const core::Problem& p) {
  std::uint64_t hash = 0;
  const auto add = [&hash](std::int64_t value) {
    hash = Random::mix(hash ^ (static_cast<std::uint64_t>(value) + 0x9e3779b97f4a7c15ULL));
  };
  for (std::size_t axis = 1; axis < core::kTensorAxes; ++axis) {
    add(p.x.dims[axis]);
  }
  for (const std::int64_t dim : p.w.dims) {
    add(dim);
  }
  for (std::size_t axis = 0; axis < core::kSpatialAxes; ++axis) {
    add(p.pad_before[axis]);
    add(p.pad_after[axis]);
    add(p.stride[axis]);
    add(p.dilation[axis]);
  }
  return hash;
}

std::uint32_t Corpus::intern(const core::Candidate& candidate) {
  const auto [found, added] =
      ids_.try_emplace(candidate.config, static_cast<std::uint32_t>(configs_.size()));
  if (added) {
    configs_.push_back(candidate.config);
    notes_.emplace_back();
  }
  notes_[found->second].numerical |= candidate.numerical_notes;
  notes_[found->second].behavior |= candidate.behavior_notes;
  return found->second;
}

Corpus::Added Corpus::add(const core::Record& record) {
  if (core::fastest(record) == nullptr) {
    return Added::kNothingTimed;
  }
  if (problems_.empty()) {
    context_ = record.key.context;
  } else if (record.key.context != context_) {
    return Added::kOtherContext;
  }
  CorpusProblem problem;
  problem.key = core::hash_key(record.key);
  if (!keys_.insert(problem.key).second) {
    return Added::kDuplicate;
  }
  problem.problem = record.key.problem;
  problem.shape = shape_hash(record.key.problem);
  problem.first = candidates_.size();
  problem.views = times_by_view(record);
  for (const core::Candidate& candidate : record.candidates) {
    if (candidate.timed()) {
      candidates_.push_back(
          {intern(candidate), candidate.time_us, candidate.build_us, candidate.workspace_bytes});
    }
  }
  problem.count = candidates_.size() - problem.first;
  problems_.push_back(problem);
  return Added::kYes;
}

ClassList make_class_list(const Corpus& corpus,
                          std::span<const std::size_t> indices,
                          const ClassRule& rule) {
  struct Seen {
    std::vector<float> workspace;
    std::vector<float> build;
  };
  std::vector<Seen> seen(corpus.configs().size());
  for (const std::size_t index : indices) {
    for (const CorpusCandidate& candidate : corpus.candidates(corpus.problems()[index])) {
      seen[candidate.config].workspace.push_back(static_cast<float>(candidate.workspace_bytes));
      seen[candidate.config].build.push_back(candidate.build_us);
    }
  }
  const std::vector<bool> chosen = choose(corpus, indices, rule);
  ClassList list;
  std::vector<std::int32_t> class_of(seen.size(), -1);
  for (std::uint32_t config = 0; config < seen.size(); ++config) {
    const std::size_t sightings = seen[config].build.size();
    if (!chosen[config] || sightings < std::max<std::size_t>(1, rule.min_sightings)) {
      continue;
    }
    class_of[config] = static_cast<std::int32_t>(list.classes.size());
    KernelClass kernel;
    kernel.entry.config = corpus.configs()[config];
    kernel.entry.numerical_notes = corpus.numerical_notes(config);
    kernel.entry.behavior_notes = corpus.behavior_notes(config);
    kernel.entry.workspace_bytes = static_cast<std::int64_t>(median(seen[config].workspace));
    kernel.entry.build_us = median(seen[config].build);
    kernel.sightings = static_cast<std::uint32_t>(sightings);
    list.classes.push_back(kernel);
  }
  std::map<Combination, std::set<std::int32_t>> combinations;
  for (const std::size_t index : indices) {
    const CorpusProblem& problem = corpus.problems()[index];
    for (const View view : kViews) {
      if (problem.times(view).best_us <= 0) {
        continue;
      }
      std::set<std::int32_t>& classes = combinations[combination_of(problem.problem, view)];
      for (const CorpusCandidate& candidate : corpus.candidates(problem)) {
        if (class_of[candidate.config] >= 0 && corpus.holds(view, candidate)) {
          classes.insert(class_of[candidate.config]);
        }
      }
    }
  }
  for (const auto& [combination, classes] : combinations) {
    if (!classes.empty()) {
      list.combinations.push_back({combination, {classes.begin(), classes.end()}});
    }
  }
  return list;
}

}  // namespace reformer::model
