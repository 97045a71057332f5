#include "daemon/answers.h"

#include <algorithm>
#include <utility>

namespace reformer::daemon {

void Answers::use_models(std::shared_ptr<const ModelSet> models) {
  models_ = std::move(models);
  champion_ = models_->champion_predictor();
  scratch_.reset();
  if (champion_ != nullptr) {
    scratch_.emplace(*champion_);
  }
}

// The table's answer is a cover: it holds the first configuration that each known application
// filter lets pass. So what passes the constraints starts with the best allowed one if nothing was
// taken from the front, or if the constraints are one of those filters.
Answers::Measured Answers::measured(const core::KeyHash& hash,
                                    const core::Constraints& constraints,
                                    std::size_t max_entries) const {
  auto found = table_ ? table_->view.find(hash) : std::nullopt;
  if (!found) {
    return {};
  }
  auto& entries = found->entries;
  const bool front_passes = !entries.empty() && core::passes(entries.front(), constraints);
  const auto filters = core::application_filters();
  const bool known = std::find(filters.begin(), filters.end(), constraints) != filters.end();
  std::erase_if(entries, [&](const auto& entry) { return !core::passes(entry, constraints); });
  if ((!front_passes && !known) || entries.empty()) {
    return {std::nullopt, true};
  }
  if (entries.size() > max_entries) {
    entries = core::select_cover(entries, max_entries, core::kMaxDecisionEntries);
  }
  return {std::move(found), false};
}

bool Answers::copy_measured(const core::KeyHash& hash, std::vector<std::byte>& out) const {
  return table_ && table_->view.copy_own(hash, out);
}

core::Decision Answers::predicted(const core::Key& key,
                                  const core::Constraints& constraints,
                                  std::size_t max_entries) {
  if (champion_ == nullptr) {
    return {};
  }
  return champion_->decide(key.context,
                           key.problem,
                           constraints,
                           limits_.build_policy,
                           max_entries,
                           limits_.max_engines,
                           *scratch_);
}

}  // namespace reformer::daemon
