#include "daemon/admin_list.h"

#include "core/problem_text.h"

#include <algorithm>
#include <map>
#include <string_view>
#include <tuple>
#include <utility>

namespace reformer::daemon {
namespace {

constexpr double kLast = std::numeric_limits<double>::infinity();

}  // namespace

core::Result<ListedPlaces> ListedPlaces::from(const Json& request) {
  static const std::map<std::string_view, Sort> orders{{"problem", Sort::kProblem},
                                                       {"uses", Sort::kUses},
                                                       {"gain", Sort::kGain},
                                                       {"time", Sort::kTime},
                                                       {"age", Sort::kAge}};
  const auto order = orders.find(request.value("sort", std::string("problem")));
  if (order == orders.end()) {
    return core::make_error(core::ErrorCode::kInvalidArgument,
                            "sort: expected problem, uses, gain, time or age");
  }
  ListedPlaces places;
  places.sort_ = order->second;
  const auto limit = request.find("limit");
  if (limit != request.end() && limit->is_number_unsigned() && *limit > 0) {
    places.limit_ = limit->get<std::size_t>();
  }
  return places;
}

bool ListedPlaces::before(const Place& one, const Place& other) {
  return std::tie(one.number, one.text, one.sequence) <
         std::tie(other.number, other.text, other.sequence);
}

double ListedPlaces::number_of(const core::Record& record, std::uint64_t uses) const {
  const core::Candidate* const best = core::fastest(record);
  const core::Candidate* const first = core::first_of_heuristic_a(record);
  switch (sort_) {
    case Sort::kUses:
      return -static_cast<double>(uses);
    case Sort::kGain:
      return best != nullptr && first != nullptr
                 ? -static_cast<double>(first->time_us) / static_cast<double>(best->time_us)
                 : kLast;
    case Sort::kTime:
      return best != nullptr ? -static_cast<double>(best->time_us) : kLast;
    case Sort::kAge:
      return static_cast<double>(record.provenance.measured_at_s);
    case Sort::kProblem:
      break;
  }
  return 0;
}

void ListedPlaces::add(const core::Record& record,
                       const std::function<std::uint64_t(const core::KeyHash&)>& uses) {
  const core::KeyHash hash = core::hash_key(record.key);
  places_.push_back(
      {number_of(record, sort_ == Sort::kUses ? uses(hash) : 0),
       sort_ == Sort::kProblem ? core::format_problem(record.key.problem) : std::string(),
       total_++,
       hash});
  std::push_heap(places_.begin(), places_.end(), before);
  if (places_.size() > limit_) {
    std::pop_heap(places_.begin(), places_.end(), before);
    places_.pop_back();
  }
}

std::vector<core::KeyHash> ListedPlaces::in_order() {
  std::sort_heap(places_.begin(), places_.end(), before);
  std::vector<core::KeyHash> hashes;
  hashes.reserve(places_.size());
  for (const Place& place : places_) {
    hashes.push_back(place.hash);
  }
  places_.clear();
  return hashes;
}

}  // namespace reformer::daemon
