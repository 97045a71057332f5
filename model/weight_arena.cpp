#include "model/weight_arena.h"

#include "model/half.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <new>

namespace reformer::model {
namespace {

constexpr std::size_t kLine = 64;
constexpr std::size_t kLargePage = std::size_t{2} << 20;

std::size_t rounded_up(std::size_t bytes, std::size_t unit) {
  return (bytes + unit - 1) / unit * unit;
}

}  // namespace

void WeightArena::Free::operator()(std::byte* chunk) const {
  std::free(chunk);
}

std::byte* WeightArena::take(std::size_t bytes) {
  bytes = rounded_up(bytes, kLine);
  if (static_cast<std::size_t>(end_ - next_) < bytes) {
    const std::size_t size = rounded_up(bytes, kLargePage);
    auto* memory = static_cast<std::byte*>(std::aligned_alloc(kLargePage, size));
    if (memory == nullptr) {
      throw std::bad_alloc();
    }
    chunks_.emplace_back(memory);
    // Only advice: small pages do as well.
    (void)::madvise(memory, size, MADV_HUGEPAGE);
    next_ = memory;
    end_ = memory + size;
  }
  std::byte* const result = next_;
  next_ += bytes;
  return result;
}

const float* WeightArena::keep(std::span<const float> values) {
  auto* kept = reinterpret_cast<float*>(take(values.size_bytes()));
  std::ranges::copy(values, kept);
  return kept;
}

const std::uint16_t* WeightArena::keep_halves(std::span<const float> values) {
  auto* kept = reinterpret_cast<std::uint16_t*>(take(values.size() * sizeof(std::uint16_t)));
  std::ranges::transform(values, kept, float_to_half);
  return kept;
}

}  // namespace reformer::model
