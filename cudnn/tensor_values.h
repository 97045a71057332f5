#pragma once

#include "core/problem.h"

#include <cstddef>
#include <vector>

// What measured tensors hold, and whether two kernels computed the same. Private to cudnn/.
namespace reformer::cudnn {

// Random elements of a type in [-1, 1), no zeros; fp8 stays within exponents that are numbers in
// both formats.
[[nodiscard]] std::vector<std::byte> random_values(core::DataType type, std::size_t bytes);

// Whether two outputs agree. Types that are not compared agree.
[[nodiscard]] bool agree(const std::vector<std::byte>& one,
                         const std::vector<std::byte>& other,
                         core::DataType type);

}  // namespace reformer::cudnn
