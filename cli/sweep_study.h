#pragma once

#include "cli/sweep_pipeline.h"

#include <atomic>
#include <cstddef>

namespace reformer::cli {

// Times problems by the race, exhaustively, and by the race again, and says on standard output how
// they compare, as one JSON object. Up to `wanted` problems. Returns an exit code.
int study_race(Equipment& equipment,
               Pipeline& pipeline,
               std::size_t wanted,
               const std::atomic<bool>& interrupted);

}  // namespace reformer::cli
