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
  // Lowers logits.
  Chooser(const Coverable& coverable, std::span<float> logits, const CoverRequest& request)
      : coverable_(coverable),
        classes_(coverable.classes()),
        slow_(coverable.slow()),
        logits_(logits),
        request_(request),
        max_entries_(std::min(request.max_entries, core::kMaxDecisionEntries)),
        max_engines_(std::min(request.max_engines, core::kMaxDecisionEntries)) {
    charge_for_building(logits);
    ordered_ =
        best_kernels().select_top(logits.data(), logits.size(), kUsuallyEnough, order_.data());
    if (ordered_ > 0) {
      last_ordered_ = order_[ordered_ - 1];
    }
    find_cheap();
    const auto end = std::remove_if(
        order_.begin(), order_.begin() + ordered_, [this](auto row) { return !allowed(row); });
    ordered_ = static_cast<std::size_t>(end - order_.begin());
  }

  Cover choose() {
    if (!choose_first(kNoFilter)) {
      return {};
    }
    const std::size_t filters = core::application_filters().size();
    for (std::size_t f = 0; f < filters; ++f) {
      if (((request_.filters & ~covered_) >> f & 1) != 0) {
        (void)choose_first(f);
      }
    }
    while (choose_first(kNoFilter)) {
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
  [[nodiscard]] bool passes(const ClassTraits& c) const {
    const core::Constraints& constraints = request_.constraints;
    return (c.numerical_notes & constraints.forbidden_numerical_notes) == 0 &&
           (c.behavior_notes & constraints.forbidden_behavior_notes) == 0 &&
           c.workspace_bytes <= constraints.max_workspace_bytes &&
           !(c.build_us > constraints.max_build_us);
  }

  [[nodiscard]] bool is_cheap(const ClassTraits& c) const {
    return !(c.build_us > std::max(request_.policy.cheap_build_us, Coverable::kAlwaysCheapUs));
  }

  void charge_for_building(std::span<float> logits) const {
    if (slow_.empty()) {
      return;
    }
    const ExpectedTimes& times = request_.times;
    const float best = *std::max_element(logits.begin(), logits.end());
    for (const std::uint32_t row : slow_) {
      if (!is_cheap(classes_[row])) {
        const double us = times.us(static_cast<double>(best) - logits[row]) +
                          request_.policy.share_us(classes_[row].build_us);
        logits[row] = static_cast<float>(best - times.behind(us));
      }
    }
  }

  // The best class that passes and is certain to be cheap: built at once, and not rarely listed.
  void find_cheap() {
    if (slow_.empty()) {
      return;
    }
    const auto fits = [this](std::uint32_t row) {
      const ClassTraits& c = classes_[row];
      return is_cheap(c) && passes(c) &&
             (c.behavior_notes & core::behavior_note::kRarelyListed) == 0;
    };
    const auto end = order_.begin() + static_cast<std::ptrdiff_t>(ordered_);
    if (const auto found = std::find_if(order_.begin(), end, fits); found != end) {
      cheap_ = *found;
      return;
    }
    for (std::uint32_t row = 0; row < classes_.size(); ++row) {
      if (fits(row) && (cheap_ == kNone || better(row, cheap_))) {
        cheap_ = row;
      }
    }
  }

  [[nodiscard]] bool allowed(std::uint32_t row) const {
    return passes(classes_[row]) &&
           (cheap_ == kNone || is_cheap(classes_[row]) || better(row, cheap_));
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

  // The best class that passes the application filter of that index, fits and is not chosen yet, or
  // kNone.
  std::uint32_t find(std::size_t filter) const {
    const auto fits = [&](std::uint32_t row) {
      return engine_fits(classes_[row].engine) && !is_chosen(row);
    };
    const auto end = order_.begin() + static_cast<std::ptrdiff_t>(ordered_);
    const auto found = std::find_if(order_.begin(), end, [&](std::uint32_t row) {
      return (filter == kNoFilter || (classes_[row].filters >> filter & 1) != 0) && fits(row);
    });
    if (found != end) {
      return *found;
    }
    std::uint32_t best = kNone;
    const auto consider = [&](std::uint32_t row) {
      if ((best == kNone || logits_[row] > logits_[best]) && allowed(row) && fits(row) &&
          better(last_ordered_, row)) {
        best = row;
      }
    };
    if (filter == kNoFilter) {
      for (std::uint32_t row = 0; row < classes_.size(); ++row) {
        consider(row);
      }
    } else {
      std::ranges::for_each(coverable_.passing(filter), consider);
    }
    return best;
  }

  bool choose_first(std::size_t filter) {
    const std::uint32_t row = chosen_.count < max_entries_ ? find(filter) : kNone;
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

  // Instead of a filter's index: classes that pass none of them are wanted too.
  static constexpr std::size_t kNoFilter = ~std::size_t{0};

  const Coverable& coverable_;
  std::span<const ClassTraits> classes_;
  std::span<const std::uint32_t> slow_;
  std::span<const float> logits_;
  const CoverRequest& request_;
  std::size_t max_entries_;
  std::size_t max_engines_;
  std::array<std::uint32_t, kUsuallyEnough> order_{};  // the best rows that are allowed
  std::size_t ordered_ = 0;
  std::uint32_t last_ordered_ = 0;  // the worst of the best rows, allowed or not
  std::uint32_t cheap_ = kNone;
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

void Coverable::add(const core::DecisionEntry& entry) {
  const ClassTraits& added = classes_.emplace_back(entry);
  const auto row = static_cast<std::uint32_t>(classes_.size() - 1);
  if (added.build_us > kAlwaysCheapUs) {
    slow_.push_back(row);
  }
  passing_.resize(core::application_filters().size());
  for (std::size_t filter = 0; filter < passing_.size(); ++filter) {
    if ((added.filters >> filter & 1) != 0) {
      passing_[filter].push_back(row);
    }
  }
}

Cover choose_cover(const Coverable& coverable,
                   std::span<float> logits,
                   const CoverRequest& request) {
  return Chooser(coverable, logits, request).choose();
}

}  // namespace reformer::model
