#pragma once

#include "core/engine_config.h"
#include "core/key.h"

#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace reformer::core {

// How a candidate's time was taken, worst founded first. Numbers are stored: append only.
enum class Timing : std::uint8_t {
  kNone = 0,          // no time: see Candidate::status
  kFirstLaunch = 1,   // hopeless on its first launches (10x the best), not tried again
  kSingleLaunch = 2,  // launch overhead included
  kGraphOnce = 3,     // one launch of a captured graph of repeats
  kGraphMedian = 4,   // median of several graph launches
  kInApplication = 5  // events around the application's own executions
};
// "none", "first_launch", "single_launch", "graph_once", "graph_median7", "in_application".
[[nodiscard]] std::string_view to_string(Timing timing);
[[nodiscard]] std::optional<Timing> parse_timing(std::string_view text);

inline constexpr std::int16_t kNoRank = -1;
inline constexpr float kNoTime = std::numeric_limits<float>::quiet_NaN();

// One engine configuration of a problem and what is known of it.
struct Candidate {
  EngineConfig config;
  // Position in the lists of heuristic modes A, B and FALLBACK; kNoRank where not listed.
  std::int16_t rank_a = kNoRank;
  std::int16_t rank_b = kNoRank;
  std::int16_t rank_fallback = kNoRank;
  Timing timing = Timing::kNone;
  std::uint16_t samples = 0;          // launches behind time_us
  std::uint32_t numerical_notes = 0;  // bits of numerical_note
  std::uint32_t behavior_notes = 0;   // bits of behavior_note
  std::int64_t workspace_bytes = 0;
  float build_us = 0;       // processor time to finalise the execution plan, of one thread
  float time_us = kNoTime;  // GPU time of one execution; NaN where timing is kNone
  float spread = kNoTime;   // (6th - 2nd of 7) / median; NaN where not taken
  std::string status;       // why there is no time ("workspace_over_4GiB"); empty where there is

  // A usable measurement: finite and above zero. Anything else is never trusted.
  [[nodiscard]] bool timed() const {
    return timing != Timing::kNone && std::isfinite(time_us) && time_us > 0;
  }
  friend bool operator==(const Candidate&, const Candidate&) = default;
};

// Conditions under which a record was taken.
struct Provenance {
  std::int64_t measured_at_s = 0;     // Unix time; 0 unknown (imported without a date)
  std::string library;                // path and build id of the cuDNN that ran; empty unknown
  std::string source;                 // "worker", "import", "recorded", "fleet"
  std::int32_t sm_clock_mhz = 0;      // 0 unknown
  std::int32_t temperature_c = 0;     // 0 unknown
  std::int32_t other_processes = -1;  // on the GPU while timing; -1 unknown
  bool disturbed = false;             // throttling or others at work: to be repeated
  friend bool operator==(const Provenance&, const Provenance&) = default;
};

inline constexpr std::size_t kMaxCandidates = 4096;

// The truth about one problem: every candidate, measured. A prediction is never stored as one.
struct Record {
  Key key;
  std::vector<Candidate> candidates;
  float heuristic_a_us = kNoTime;  // CPU time that cuDNN took for its lists; NaN unknown
  float heuristic_b_us = kNoTime;
  float heuristic_fallback_us = kNoTime;
  Provenance provenance;
};

// The fastest timed candidate, or null. Ties: the smaller configuration.
[[nodiscard]] const Candidate* fastest(const Record& record);
// The first timed candidate of heuristic A's (B's) list, or null where the record has none.
[[nodiscard]] const Candidate* first_of_heuristic_a(const Record& record);
[[nodiscard]] const Candidate* first_of_heuristic_b(const Record& record);
// The fastest among the first `count` of heuristic A's list (10: what PyTorch's benchmark mode
// finds), or null.
[[nodiscard]] const Candidate* fastest_of_first_a(const Record& record, int count);

// The record as somebody sees it who refuses candidates with any of these notes: without them, the
// others' ranks counted anew.
[[nodiscard]] Record without_notes(const Record& record,
                                   std::uint32_t numerical_notes,
                                   std::uint32_t behavior_notes = 0);

// Which of two records of the same key to keep: the one that is undisturbed, then has the better
// timing for its winner, then more timed candidates, then the later one. True: `other` is better.
[[nodiscard]] bool better_founded(const Record& other, const Record& than);

// What better_founded looks at, for those who cannot keep whole records.
struct Foundation {
  Timing winner = Timing::kNone;  // kNone: no timed candidate
  bool disturbed = false;
  std::int64_t timed_candidates = 0;
  std::int64_t measured_at_s = 0;
};
[[nodiscard]] Foundation foundation_of(const Record& record);
[[nodiscard]] bool better_founded(const Foundation& other, const Foundation& than);

}  // namespace reformer::core
