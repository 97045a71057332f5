#include "libclient/shim/offer.h"

#include "libclient/shim/engine.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <span>
#include <vector>

namespace reformer::shim {

bool is_far_behind(const core::DecisionEntry& entry) {
  return (entry.behavior_notes & core::behavior_note::kFarBehind) != 0;
}

bool is_rarely_listed(const core::DecisionEntry& entry) {
  return (entry.behavior_notes & core::behavior_note::kRarelyListed) != 0;
}

void set_offered(const RealCudnn& real, Served& served) {
  const std::vector<core::DecisionEntry>& entries = served.answer->decision.entries;
  std::vector<std::size_t>& offered = served.entries;
  const auto is_refused = [&](std::size_t entry) {
    return is_rarely_listed(entries[entry]) && !try_configuration(real, served, entry);
  };
  offered.resize(entries.size());
  std::iota(offered.begin(), offered.end(), std::size_t{0});
  const auto first = std::find_if_not(offered.begin(), offered.end(), is_refused);
  if (first != offered.begin()) {
    offered.erase(offered.begin(), first);
    std::erase_if(offered, [&](std::size_t entry) { return is_far_behind(entries[entry]); });
  }
  if (!served.of_f32) {
    return;
  }
  constexpr std::span kRefusals(core::kF32Refusals);
  for (const std::uint32_t notes : kRefusals.subspan(1)) {  // the first refuses nothing
    const auto is_left = [&](std::size_t entry) {
      return (entries[entry].numerical_notes & notes) == 0;
    };
    const auto begin = std::find_if(offered.begin(), offered.end(), is_left);
    if (begin != offered.end() && is_refused(*begin)) {
      std::erase_if(offered, is_left);
    }
  }
}

}  // namespace reformer::shim
