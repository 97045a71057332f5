#include "libclient/shim/offer.h"

#include "libclient/shim/engine.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace reformer::shim {
namespace {

// What an application may refuse of an answer besides what its first entry has.
std::span<const std::uint32_t> refusals(bool of_f32) {
  const std::span<const std::uint32_t> all = core::kF32Refusals;
  return of_f32 ? all.subspan(1) : all.first(0);
}

bool is_far_behind(const core::DecisionEntry& entry) {
  return (entry.behavior_notes & core::behavior_note::kFarBehind) != 0;
}

}  // namespace

bool is_rarely_listed(const core::DecisionEntry& entry) {
  return (entry.behavior_notes & core::behavior_note::kRarelyListed) != 0;
}

void set_offered(const RealCudnn& real, Served& served) {
  const std::vector<core::DecisionEntry>& entries = served.answer->decision.entries;
  std::vector<bool> offered(entries.size(), true);
  const auto is_refused = [&](std::size_t entry) {
    return is_rarely_listed(entries[entry]) && !try_configuration(real, served, entry);
  };
  std::size_t first = 0;
  for (; first < entries.size() && is_refused(first); ++first) {
    offered[first] = false;
  }
  for (std::size_t entry = first; first > 0 && entry < entries.size(); ++entry) {
    offered[entry] = !is_far_behind(entries[entry]);
  }
  for (const std::uint32_t notes : refusals(served.of_f32)) {
    const auto is_left = [&](std::size_t entry) {
      return offered[entry] && (entries[entry].numerical_notes & notes) == 0;
    };
    std::size_t begin = first;
    while (begin < entries.size() && !is_left(begin)) {
      ++begin;
    }
    if (begin == entries.size() || !is_refused(begin)) {
      continue;
    }
    for (std::size_t entry = begin; entry < entries.size(); ++entry) {
      offered[entry] = !is_left(entry) && offered[entry];
    }
  }
  served.entries.clear();
  for (std::size_t entry = 0; entry < entries.size(); ++entry) {
    if (offered[entry]) {
      served.entries.push_back(entry);
    }
  }
}

}  // namespace reformer::shim
