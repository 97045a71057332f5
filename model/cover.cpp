#include "model/cover.h"

#include "model/kernels.h"

#include <algorithm>

namespace reformer::model {
namespace {

// So many of the best classes mostly hold an answer and its cover.
constexpr std::size_t kUsuallyEnough = 16;
constexpr std::uint32_t kNone = ~std::uint32_t{0};

class Chooser {
 public:
  Chooser(std::span<const ClassTraits> classes,
          std::span<const float> logits,
          const CoverRequest& request)
      : classes_(classes),
        logits_(logits),
        request_(request),
        max_entries_(std::min(request.max_entries, core::kMaxDecisionEntries)),
        max_engines_(std::min(request.max_engines, core::kMaxDecisionEntries)) {
    ordered_ =
        best_kernels().select_top(logits.data(), logits.size(), kUsuallyEnough, order_.data());
    if (ordered_ > 0) {
      last_ordered_ = order_[ordered_ - 1];
    }
    const auto end = std::remove_if(order_.begin(), order_.begin() + ordered_, [this](auto row) {
      return !allowed(classes_[row]);
    });
    ordered_ = static_cast<std::size_t>(end - order_.begin());
  }

  Cover choose(FilterSet coverable) {
    const auto any = [](const ClassTraits&) { return true; };
    if (!choose_first(any)) {
      return {};
    }
    const std::size_t filters = core::application_filters().size();
    for (std::size_t f = 0; f < filters; ++f) {
      const FilterSet filter = FilterSet{1} << f;
      if ((coverable & ~covered_ & filter) != 0) {
        (void)choose_first([filter](const ClassTraits& c) { return (c.filters & filter) != 0; });
      }
    }
    while (choose_first(any)) {
    }
    std::sort(chosen_.rows.begin(),
              chosen_.rows.begin() + static_cast<std::ptrdiff_t>(chosen_.count),
              [this](auto one, auto other) { return better(one, other); });
    return chosen_;
  }

 private:
  [[nodiscard]] bool better(std::uint32_t one, std::uint32_t other) const {
    return logits_[one] != logits_[other] ? logits_[one] > logits_[other] : one < other;
  }

  // As core::passes() has it.
  [[nodiscard]] bool allowed(const ClassTraits& c) const {
    const core::Constraints& constraints = request_.constraints;
    return (c.numerical_notes & constraints.forbidden_numerical_notes) == 0 &&
           (c.behavior_notes & constraints.forbidden_behavior_notes) == 0 &&
           c.workspace_bytes <= constraints.max_workspace_bytes &&
           !(c.build_us > constraints.max_build_us) && !(c.build_us > request_.worth_us);
  }

  [[nodiscard]] bool engine_fits(std::int32_t engine) const {
    return engine_count_ < max_engines_ ||
           std::find(engines_.begin(), engines_.begin() + engine_count_, engine) !=
               engines_.begin() + engine_count_;
  }

  [[nodiscard]] bool is_chosen(std::uint32_t row) const {
    const auto end = chosen_.rows.begin() + static_cast<std::ptrdiff_t>(chosen_.count);
    return std::find(chosen_.rows.begin(), end, row) != end;
  }

  // The best class that is wanted, fits and is not chosen yet, or kNone.
  template <typename Wanted>
  std::uint32_t find(const Wanted& wanted) const {
    const auto fits = [&](std::uint32_t row) {
      return wanted(classes_[row]) && engine_fits(classes_[row].engine) && !is_chosen(row);
    };
    const auto end = order_.begin() + static_cast<std::ptrdiff_t>(ordered_);
    if (const auto found = std::find_if(order_.begin(), end, fits); found != end) {
      return *found;
    }
    std::uint32_t best = kNone;
    for (std::uint32_t row = 0; row < classes_.size(); ++row) {
      if ((best == kNone || logits_[row] > logits_[best]) && allowed(classes_[row]) && fits(row) &&
          better(last_ordered_, row)) {
        best = row;
      }
    }
    return best;
  }

  template <typename Wanted>
  bool choose_first(const Wanted& wanted) {
    const std::uint32_t row = chosen_.count < max_entries_ ? find(wanted) : kNone;
    if (row == kNone) {
      return false;
    }
    const std::int32_t engine = classes_[row].engine;
    const auto end = engines_.begin() + engine_count_;
    if (std::find(engines_.begin(), end, engine) == end) {
      engines_[engine_count_++] = engine;
    }
    covered_ |= classes_[row].filters;
    chosen_.rows[chosen_.count++] = row;
    return true;
  }

  std::span<const ClassTraits> classes_;
  std::span<const float> logits_;
  const CoverRequest& request_;
  std::size_t max_entries_;
  std::size_t max_engines_;
  std::array<std::uint32_t, kUsuallyEnough> order_{};  // the best rows that are allowed
  std::size_t ordered_ = 0;
  std::uint32_t last_ordered_ = 0;  // the worst of the best rows, allowed or not
  Cover chosen_;
  std::array<std::int32_t, core::kMaxDecisionEntries> engines_{};
  std::uint32_t engine_count_ = 0;
  FilterSet covered_ = 0;
};

}  // namespace

FilterSet filters_passed_by(const core::DecisionEntry& entry) {
  const auto filters = core::application_filters();
  FilterSet passed = 0;
  for (std::size_t i = 0; i < filters.size(); ++i) {
    passed |= core::passes(entry, filters[i]) ? FilterSet{1} << i : 0;
  }
  return passed;
}

ClassTraits::ClassTraits(const core::DecisionEntry& entry)
    : workspace_bytes(entry.workspace_bytes),
      numerical_notes(entry.numerical_notes),
      behavior_notes(entry.behavior_notes),
      build_us(entry.build_us),
      engine(entry.config.engine()),
      filters(filters_passed_by(entry)) {}

Cover choose_cover(std::span<const ClassTraits> classes,
                   std::span<const float> logits,
                   FilterSet coverable,
                   const CoverRequest& request) {
  return Chooser(classes, logits, request).choose(coverable);
}

}  // namespace reformer::model
