#include "core/record.h"

#include <algorithm>
#include <array>
#include <vector>

namespace reformer::core {
namespace {

constexpr std::array<std::string_view, 6> kTimings{
    "none", "first_launch", "single_launch", "graph_once", "graph_median7", "in_application"};

// The timed candidate with the lowest non-negative rank.
const Candidate* first_by(const Record& record, std::int16_t Candidate::*rank) {
  const Candidate* first = nullptr;
  for (const Candidate& candidate : record.candidates) {
    if (candidate.timed() && candidate.*rank != kNoRank &&
        (first == nullptr || candidate.*rank < first->*rank)) {
      first = &candidate;
    }
  }
  return first;
}

bool faster(const Candidate& one, const Candidate& other) {
  return one.time_us < other.time_us || (one.time_us == other.time_us && one.config < other.config);
}

// Ranks 0, 1, 2, ... again for the candidates that are left of a list.
void close_ranks(Record& record, std::int16_t Candidate::*rank) {
  std::vector<Candidate*> listed;
  for (Candidate& candidate : record.candidates) {
    if (candidate.*rank != kNoRank) {
      listed.push_back(&candidate);
    }
  }
  std::sort(listed.begin(), listed.end(), [rank](const Candidate* one, const Candidate* other) {
    return one->*rank < other->*rank;
  });
  std::int16_t next = 0;
  for (Candidate* candidate : listed) {
    candidate->*rank = next++;
  }
}

std::ptrdiff_t timed_count(const Record& record) {
  return std::count_if(record.candidates.begin(),
                       record.candidates.end(),
                       [](const Candidate& candidate) { return candidate.timed(); });
}

}  // namespace

std::string_view to_string(Timing timing) {
  const auto index = static_cast<std::size_t>(timing);
  return index < kTimings.size() ? kTimings[index] : std::string_view("?");
}

std::optional<Timing> parse_timing(std::string_view text) {
  const auto found = std::find(kTimings.begin(), kTimings.end(), text);
  if (found == kTimings.end()) {
    return std::nullopt;
  }
  return static_cast<Timing>(found - kTimings.begin());
}

const Candidate* fastest(const Record& record) {
  const Candidate* best = nullptr;
  for (const Candidate& candidate : record.candidates) {
    if (candidate.timed() && (best == nullptr || faster(candidate, *best))) {
      best = &candidate;
    }
  }
  return best;
}

const Candidate* first_of_heuristic_a(const Record& record) {
  return first_by(record, &Candidate::rank_a);
}

const Candidate* first_of_heuristic_b(const Record& record) {
  return first_by(record, &Candidate::rank_b);
}

const Candidate* fastest_of_first_a(const Record& record, int count) {
  const Candidate* best = nullptr;
  for (const Candidate& candidate : record.candidates) {
    if (candidate.timed() && candidate.rank_a != kNoRank && candidate.rank_a < count &&
        (best == nullptr || faster(candidate, *best))) {
      best = &candidate;
    }
  }
  return best;
}

Record without_notes(const Record& record,
                     std::uint32_t numerical_notes,
                     std::uint32_t behavior_notes) {
  Record left = record;
  std::erase_if(left.candidates, [=](const Candidate& candidate) {
    return (candidate.numerical_notes & numerical_notes) != 0 ||
           (candidate.behavior_notes & behavior_notes) != 0;
  });
  close_ranks(left, &Candidate::rank_a);
  close_ranks(left, &Candidate::rank_b);
  close_ranks(left, &Candidate::rank_fallback);
  return left;
}

Foundation foundation_of(const Record& record) {
  const Candidate* const best = fastest(record);
  return {.winner = best == nullptr ? Timing::kNone : best->timing,
          .disturbed = record.provenance.disturbed,
          .timed_candidates = timed_count(record),
          .measured_at_s = record.provenance.measured_at_s};
}

bool better_founded(const Foundation& other, const Foundation& than) {
  if (other.winner == Timing::kNone || than.winner == Timing::kNone) {
    return other.winner != Timing::kNone;
  }
  if (other.disturbed != than.disturbed) {
    return than.disturbed;
  }
  if (other.winner != than.winner) {
    return other.winner > than.winner;
  }
  if (other.timed_candidates != than.timed_candidates) {
    return other.timed_candidates > than.timed_candidates;
  }
  return other.measured_at_s > than.measured_at_s;
}

bool better_founded(const Record& other, const Record& than) {
  return better_founded(foundation_of(other), foundation_of(than));
}

}  // namespace reformer::core
