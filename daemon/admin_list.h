#pragma once

#include "core/key.h"
#include "core/record.h"
#include "core/result.h"
#include "daemon/admin_views.h"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <vector>

namespace reformer::daemon {

// Which records `list` shows, and in which order: `sort` and `limit` of the request. Holds about a
// hundred bytes for each of the first `limit` records and nothing of the others. Threads: one.
class ListedPlaces {
 public:
  // Errors: kInvalidArgument (no such order).
  static core::Result<ListedPlaces> from(const Json& request);

  // `uses` is asked only where the order needs it.
  void add(const core::Record& record,
           const std::function<std::uint64_t(const core::KeyHash&)>& uses);
  [[nodiscard]] std::size_t total() const { return total_; }  // that were added
  // The first `limit`; of equal ones the one that was added first. Once, after the last add().
  [[nodiscard]] std::vector<core::KeyHash> in_order();

 private:
  enum class Sort { kProblem, kUses, kGain, kTime, kAge };
  struct Place {
    double number = 0;  // the smaller, the earlier
    std::string text;   // of equal numbers
    std::size_t sequence = 0;
    core::KeyHash hash;
  };
  static bool before(const Place& one, const Place& other);
  [[nodiscard]] double number_of(const core::Record& record, std::uint64_t uses) const;

  Sort sort_ = Sort::kProblem;
  std::size_t limit_ = std::numeric_limits<std::size_t>::max();
  std::size_t total_ = 0;
  std::vector<Place> places_;  // a heap with the last of them on top
};

}  // namespace reformer::daemon
