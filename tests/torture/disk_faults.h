#pragma once

#include <atomic>
#include <cstdint>

namespace reformer::testing {

// What a preloaded tests/torture/disk_faults.cpp does to a process's files below a folder: a page
// of shared memory (the file that kFaultsFile names), written by the torturer.
struct DiskFaults {
  std::atomic<std::uint32_t> error{0};           // errno of what fails; 0: nothing does
  std::atomic<std::uint32_t> thousandths{1000};  // share of the calls that fail
  std::atomic<std::uint32_t> delay_us{0};        // of each write; a sync takes four times as long
};

inline constexpr const char* kFaultsFile = "REFORMER_TORTURE_FAULTS";
inline constexpr const char* kFaultsFolder = "REFORMER_TORTURE_FOLDER";

}  // namespace reformer::testing
