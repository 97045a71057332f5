#pragma once

#include "daemon/accuracy_log.h"
#include "daemon/scoring.h"

#include <cstring>
#include <string>
#include <vector>

// Rows of an accuracy log as a test wants them.
namespace reformer::testing {

inline core::KeyHash key_number(std::uint64_t number) {
  core::KeyHash key;
  std::memcpy(key.bytes.data(), &number, sizeof number);
  return key;
}

struct Planted {
  std::string variant;
  double slowdown = 1;
  bool abstained = false;
};

// Problem `number` with heuristic A at 1.2 and the given variants.
inline std::vector<storage::AccuracyRow> rows_of(std::uint64_t number,
                                                 std::vector<Planted> variants,
                                                 float probability = 1,
                                                 std::uint32_t pool = 1) {
  variants.push_back({std::string(daemon::kHeuristicA), 1.2});
  std::vector<storage::AccuracyRow> rows;
  for (const Planted& planted : variants) {
    storage::AccuracyRow row;
    row.time_s = static_cast<std::int64_t>(number);
    row.key = key_number(number);
    row.variant = planted.variant;
    row.best_us = 100;
    row.time_us = static_cast<float>(100 * planted.slowdown);
    row.served_time_us = planted.abstained ? 120 : row.time_us;
    row.top1 = row.top3 = planted.slowdown <= 1;
    row.within_5pct = planted.slowdown <= 1.05;
    row.rank_of_best = row.top1 ? 0 : 65535;
    row.abstained = planted.abstained;
    row.inference_ns = 5000;
    row.selection_probability = probability;
    row.pool = pool;
    row.operation = static_cast<core::Operation>(number % 3);
    row.type = number % 2 == 0 ? core::DataType::kF16 : core::DataType::kF32;
    row.device = "NVIDIA H200/sm90/132";
    rows.push_back(row);
  }
  return rows;
}

inline void add(daemon::AccuracyLog& log, const std::vector<storage::AccuracyRow>& rows) {
  for (const auto& row : rows) {
    log.add(row);
  }
}

}  // namespace reformer::testing
