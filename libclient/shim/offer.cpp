#include "libclient/shim/offer.h"

#include "libclient/shim/engine.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
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

void offer_enough_for_a_search(core::DataType input, Served& served) {
  constexpr std::size_t kSearched = 10;  // torch.backends.cudnn.benchmark_limit
  const std::vector<core::DecisionEntry>& entries = served.answer->decision.entries;
  std::vector<std::size_t>& offered = served.entries;
  const auto is_cheap = [&](std::size_t entry) {
    return core::BuildPolicy{}.is_cheap(entries[entry].build_us);
  };
  for (const core::Constraints& filter : core::framework_filters(input)) {
    std::vector<std::size_t> passing;
    std::ranges::copy_if(offered, std::back_inserter(passing), [&](std::size_t entry) {
      return core::passes(entries[entry], filter);
    });
    std::vector<std::size_t> again;
    std::ranges::copy_if(passing, std::back_inserter(again), [&](std::size_t entry) {
      return is_cheap(entry) && !is_far_behind(entries[entry]);
    });
    if (const auto cheap = std::ranges::find_if(passing, is_cheap);
        again.empty() && cheap != passing.end()) {
      again.push_back(*cheap);
    }
    for (std::size_t i = 0; !again.empty() && passing.size() + i < kSearched; ++i) {
      offered.push_back(again[i % again.size()]);
    }
  }
}

}  // namespace reformer::shim
