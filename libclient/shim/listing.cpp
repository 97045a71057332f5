#include "libclient/shim/listing.h"

#include "libclient/shim/engine.h"

#include <algorithm>
#include <utility>

namespace reformer::shim {
namespace {

bool is_rarely_listed(const core::DecisionEntry& entry) {
  return (entry.behavior_notes & core::behavior_note::kRarelyListed) != 0;
}

}  // namespace

std::vector<std::size_t> Listing::offered(const RealCudnn& real,
                                          const Served& served,
                                          std::int64_t mode) {
  const auto& entries = served.answer->decision.entries;
  const bool ask = !entries.empty() && is_rarely_listed(entries.front());
  if (ask) {
    const std::lock_guard lock(mutex_);
    if (const auto known = known_.find(served.answer); known != known_.end()) {
      return known->second;
    }
  }
  const std::vector<core::EngineConfig> listed =
      ask ? own_list(real, served, mode) : std::vector<core::EngineConfig>{};
  std::vector<std::size_t> offered;
  for (std::size_t i = 0; i < entries.size(); ++i) {
    if (listed.empty() || !is_rarely_listed(entries[i]) ||
        std::find(listed.begin(), listed.end(), entries[i].config) != listed.end()) {
      offered.push_back(i);
    }
  }
  if (ask) {
    const std::lock_guard lock(mutex_);
    return known_.emplace(served.answer, std::move(offered)).first->second;
  }
  return offered;
}

}  // namespace reformer::shim
