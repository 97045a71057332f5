#include "libclient/shim/listing.h"

#include <algorithm>
#include <numeric>
#include <optional>
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

bool is_compiled(const core::DecisionEntry& entry) {
  return (entry.behavior_notes & core::behavior_note::kRuntimeCompilation) != 0;
}

bool is_far_behind(const core::DecisionEntry& entry) {
  return (entry.behavior_notes & core::behavior_note::kFarBehind) != 0;
}

bool is_listed(const core::DecisionEntry& entry, const std::vector<Listed>& listed) {
  return std::ranges::find(listed, entry.config, &Listed::config) != listed.end();
}

// What is to be run without compiling, by cuDNN's own choice, where the first entry is not listed
// and `offered` begin with something compiled (or nothing, and cuDNN's own list does).
std::optional<core::DecisionEntry> stand_in(const Entries& entries,
                                            const std::vector<std::size_t>& offered,
                                            const std::vector<Listed>& listed) {
  const core::DecisionEntry& first = entries.front();
  if (!is_rarely_listed(first) || is_compiled(first) || is_listed(first, listed) ||
      !(offered.empty() ? listed.front().compiled : is_compiled(entries[offered.front()]))) {
    return std::nullopt;
  }
  const auto found = std::ranges::find_if(listed, [&first](const Listed& one) {
    return one.config.engine() == first.config.engine() && !one.compiled;
  });
  if (found == listed.end()) {
    return std::nullopt;
  }
  core::DecisionEntry entry = first;
  entry.config = found->config;
  return entry;
}

// Entries that `listed` has or that are not rarely listed. Where the first is not among them, those
// far behind it go as well, and where the best of those for whoever refuses something is not, all
// others for him: they may be any number of times slower, and then cuDNN's own list follows.
std::vector<std::size_t> those_there(const Entries& entries,
                                     bool of_f32,
                                     const std::vector<Listed>& listed) {
  const auto is_there = [&listed](const core::DecisionEntry& entry) {
    return !is_rarely_listed(entry) || is_listed(entry, listed);
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

std::vector<std::size_t> all_of(const Entries& entries) {
  std::vector<std::size_t> indices(entries.size());
  std::iota(indices.begin(), indices.end(), std::size_t{0});
  return indices;
}

}  // namespace

Listing::Offer Listing::check(const Served& served, const std::vector<Listed>& listed) {
  const Entries& entries = served.answer->decision.entries;
  Offer offer;
  if (listed.empty()) {
    offer.entries = all_of(entries);
    return offer;
  }
  offer.entries = those_there(entries, served.of_f32, listed);
  const auto standing_in = served.of_f32 ? std::nullopt : stand_in(entries, offer.entries, listed);
  if (standing_in) {
    auto copy = std::make_unique<client::Answer>(*served.answer);
    copy->decision.entries.push_back(*standing_in);
    offer.entries.insert(offer.entries.begin(), copy->decision.entries.size() - 1);
    offer.with_stand_in = std::move(copy);
  }
  return offer;
}

void Listing::set_offered(const RealCudnn& real, Served& served, std::int64_t mode) {
  if (!begins_rarely_listed(served.answer->decision.entries, served.of_f32)) {
    served.entries = all_of(served.answer->decision.entries);
    return;
  }
  const auto set = [&served](const Offer& offer) {
    served.entries = offer.entries;
    if (offer.with_stand_in != nullptr) {
      served.answer = offer.with_stand_in.get();
    }
  };
  {
    const std::lock_guard lock(mutex_);
    if (const auto known = known_.find(served.answer); known != known_.end()) {
      set(known->second);
      return;
    }
  }
  Offer offer = check(served, own_list(real, served, mode));
  const std::lock_guard lock(mutex_);
  set(known_.emplace(served.answer, std::move(offer)).first->second);
}

}  // namespace reformer::shim
