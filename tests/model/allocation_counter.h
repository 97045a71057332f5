#pragma once

#include <cstddef>

namespace reformer::model::testing {

// Calls of operator new by this thread since the program began. The test program replaces operator
// new to count them.
[[nodiscard]] std::size_t allocations();
// Bytes that they asked for.
[[nodiscard]] std::size_t allocated_bytes();

}  // namespace reformer::model::testing
