#include "model/kernels.h"

#ifdef REFORMER_WIDE_ISA
#include <cpuid.h>
#endif

#include <array>

namespace reformer::model {

// Defined in kernels_isa.cpp, one for each instruction set.
namespace isa_v2 {
extern const Kernels kKernels;
}
#ifdef REFORMER_WIDE_ISA
namespace isa_v3 {
extern const Kernels kKernels;
}
namespace isa_v4 {
extern const Kernels kKernels;
}
#endif

#ifdef REFORMER_WIDE_ISA
namespace {
// clang 14 does not know it by name.
bool supports_f16c() {
  unsigned eax = 0;
  unsigned ebx = 0;
  unsigned ecx = 0;
  unsigned edx = 0;
  return __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_F16C) != 0;
}
}  // namespace
#endif

std::span<const Kernels* const> supported_kernels() {
#ifdef REFORMER_WIDE_ISA
  static constexpr std::array<const Kernels*, 3> kAll = {
      &isa_v2::kKernels, &isa_v3::kKernels, &isa_v4::kKernels};
  // Asked once: CPUID takes tens of microseconds in a virtual machine.
  static const std::size_t count = [] {
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") || !supports_f16c()) {
      return std::size_t{1};
    }
    const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
                        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq");
    return std::size_t{avx512 ? 3U : 2U};
  }();
  return std::span(kAll).first(count);
#else
  static constexpr std::array<const Kernels*, 1> kAll = {&isa_v2::kKernels};
  return kAll;
#endif
}

const Kernels& best_kernels() {
  return *supported_kernels().back();
}

void pack_panels(const float* matrix, std::size_t rows, std::size_t columns, float* packed) {
  for (std::size_t panel = 0; panel < padded_columns(columns); panel += kPanelColumns) {
    for (std::size_t row = 0; row < rows; ++row) {
      for (std::size_t lane = 0; lane < kPanelColumns; ++lane) {
        const std::size_t column = panel + lane;
        *packed++ = column < columns ? matrix[row * columns + column] : 0.0F;
      }
    }
  }
}

}  // namespace reformer::model
