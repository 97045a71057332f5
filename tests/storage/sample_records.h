#pragma once

#include "core/problem_text.h"
#include "core/record.h"

#include <cstdint>
#include <random>
#include <string>

// Records like those of a GPU, made from a number: the same number gives the same record.
namespace reformer::storage::testing {

inline core::Context sample_context() {
  return {.device = {"NVIDIA H200", 90, 132}, .cudnn_version = 91900};
}

inline core::Key sample_key(std::uint32_t number) {
  static constexpr const char* kOperations[] = {"fwd", "dgrad", "wgrad"};
  static constexpr const char* kForms[] = {"f16 nhwc", "bf16 nhwc", "f32 nchw", "f32 nhwc"};
  const std::string text = std::string(kOperations[number % 3]) + " " + kForms[number % 4] + " n" +
                           std::to_string(1 + number % 128) + " c64 h" +
                           std::to_string(7 + number / 128) + " w56 k64 r3 s3 pad1";
  return {.context = sample_context(), .problem = core::parse_problem(text).value()};
}

inline core::Candidate sample_candidate(std::mt19937& random, std::int16_t rank) {
  core::Candidate candidate;
  candidate.config = core::EngineConfig(static_cast<std::int32_t>(random() % 40));
  for (std::int32_t type = 0; type < 21; type += 7) {
    (void)candidate.config.add_knob(
        {.type = type, .value = static_cast<std::int32_t>(random() % 4)});
  }
  candidate.rank_a = random() % 3 == 0 ? core::kNoRank : rank;
  candidate.rank_b = random() % 2 == 0 ? core::kNoRank : static_cast<std::int16_t>(random() % 60);
  candidate.numerical_notes = core::numerical_note::kTensorCore;
  candidate.workspace_bytes = random() % 2 == 0 ? 0 : static_cast<std::int64_t>(random() % 4) << 20;
  candidate.build_us = static_cast<float>(random() % 100) / 10;
  if (random() % 50 == 0) {
    candidate.status = "workspace_over_4GiB";
    return candidate;
  }
  const bool contender = random() % 5 == 0;
  candidate.timing = contender ? core::Timing::kGraphMedian : core::Timing::kGraphOnce;
  candidate.samples = contender ? 7 : 1;
  candidate.time_us = static_cast<float>(10'000 + random() % 200'000) / 1000;
  if (contender) {
    candidate.spread = static_cast<float>(random() % 500) / 10'000;
  }
  return candidate;
}

inline core::Record sample_record(std::uint32_t number, std::int16_t candidates = 50) {
  std::mt19937 random(number);
  core::Record record;
  record.key = sample_key(number);
  for (std::int16_t rank = 0; rank < candidates; ++rank) {
    record.candidates.push_back(sample_candidate(random, rank));
  }
  record.heuristic_a_us = 2478.5F;
  record.provenance = {.measured_at_s = 1'700'000'000 + number,
                       .library = "/usr/lib/libcudnn.so.9 0123456789abcdef",
                       .source = "worker",
                       .sm_clock_mhz = 1980,
                       .temperature_c = 41,
                       .other_processes = 0,
                       .disturbed = false};
  return record;
}

// Whether two records hold the same; NaN is equal to NaN.
inline bool same_time(float a, float b) {
  return (std::isnan(a) && std::isnan(b)) || a == b;
}

inline bool same_candidate(core::Candidate a, core::Candidate b) {
  const bool same = same_time(a.time_us, b.time_us) && same_time(a.build_us, b.build_us) &&
                    same_time(a.spread, b.spread);
  a.time_us = b.time_us = a.build_us = b.build_us = a.spread = b.spread = 0;
  return same && a == b;
}

inline bool same_record(const core::Record& a, const core::Record& b) {
  bool same = a.key == b.key && a.provenance == b.provenance &&
              same_time(a.heuristic_a_us, b.heuristic_a_us) &&
              same_time(a.heuristic_b_us, b.heuristic_b_us) &&
              same_time(a.heuristic_fallback_us, b.heuristic_fallback_us) &&
              a.candidates.size() == b.candidates.size();
  for (std::size_t i = 0; same && i < a.candidates.size(); ++i) {
    same = same_candidate(a.candidates[i], b.candidates[i]);
  }
  return same;
}

}  // namespace reformer::storage::testing
