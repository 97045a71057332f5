#include "libclient/shim/listing.h"

#include "libclient/shim/engine.h"

#include <algorithm>
#include <numeric>
#include <span>
#include <utility>

namespace reformer::shim {
namespace {

using Entries = std::vector<core::DecisionEntry>;

bool is_rarely_listed(const core::DecisionEntry& entry) {
  return (entry.behavior_notes & core::behavior_note::kRarelyListed) != 0;
}

bool is_left(const core::DecisionEntry& entry, std::uint32_t refused) {
  return (entry.numerical_notes & refused) == 0;
}

auto first_left(const Entries& entries, std::uint32_t refused) {
  return std::find_if(entries.begin(), entries.end(), [refused](const auto& entry) {
    return is_left(entry, refused);
  });
}

// What an application may refuse of an answer, and then take the first that is left.
std::span<const std::uint32_t> refusals(bool of_f32) {
  const std::span<const std::uint32_t> all = core::kF32Refusals;
  return of_f32 ? all : all.first(1);
}

// Whether an application may take such an entry without looking at another.
bool begins_rarely_listed(const Entries& entries, bool of_f32) {
  const auto begins = [&entries](std::uint32_t refused) {
    const auto first = first_left(entries, refused);
    return first != entries.end() && is_rarely_listed(*first);
  };
  return std::ranges::any_of(refusals(of_f32), begins);
}

bool is_far_behind(const core::DecisionEntry& entry) {
  return (entry.behavior_notes & core::behavior_note::kFarBehind) != 0;
}

// Entries that `listed` has or that are not rarely listed. Where the first is not among them, those
// far behind it go as well, and where the best of those for whoever refuses something is not, all
// others for him: they may be any number of times slower, and then cuDNN's own list follows.
std::vector<std::size_t> check(const Entries& entries,
                               bool of_f32,
                               const std::vector<core::EngineConfig>& listed) {
  const auto is_there = [&listed](const core::DecisionEntry& entry) {
    return !is_rarely_listed(entry) ||
           std::find(listed.begin(), listed.end(), entry.config) != listed.end();
  };
  std::vector<bool> offered(entries.size());
  const bool first_is_there = is_there(entries.front());
  std::transform(entries.begin(), entries.end(), offered.begin(), [&](const auto& entry) {
    return is_there(entry) && (first_is_there || !is_far_behind(entry));
  });
  for (const std::uint32_t refused : refusals(of_f32)) {
    const auto first = first_left(entries, refused);
    if (first == entries.end() || first == entries.begin() || is_there(*first)) {
      continue;
    }
    for (std::size_t i = 0; i < entries.size(); ++i) {
      offered[i] = offered[i] && !is_left(entries[i], refused);
    }
  }
  std::vector<std::size_t> indices;
  for (std::size_t i = 0; i < entries.size(); ++i) {
    if (offered[i]) {
      indices.push_back(i);
    }
  }
  return indices;
}

}  // namespace

std::vector<std::size_t> Listing::offered(const RealCudnn& real,
                                          const Served& served,
                                          std::int64_t mode) {
  const Entries& entries = served.answer->decision.entries;
  const auto all = [&entries] {
    std::vector<std::size_t> indices(entries.size());
    std::iota(indices.begin(), indices.end(), std::size_t{0});
    return indices;
  };
  if (!begins_rarely_listed(entries, served.of_f32)) {
    return all();
  }
  {
    const std::lock_guard lock(mutex_);
    if (const auto known = known_.find(served.answer); known != known_.end()) {
      return known->second;
    }
  }
  const std::vector<core::EngineConfig> listed = own_list(real, served, mode);
  std::vector<std::size_t> offered = listed.empty() ? all() : check(entries, served.of_f32, listed);
  const std::lock_guard lock(mutex_);
  return known_.emplace(served.answer, std::move(offered)).first->second;
}

}  // namespace reformer::shim
