// An allocator of the application's own, which knows its memory: the shim's is not to come here,
// and this not to go there.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>

namespace {
constexpr std::uint64_t kMark = 0x6170706c69636174;
}  // namespace
void* operator new(std::size_t bytes) {
  auto* memory = static_cast<std::uint64_t*>(std::malloc(bytes + 16));
  if (memory == nullptr) {
    std::abort();
  }
  *memory = kMark;
  return memory + 2;
}
void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
  return operator new(bytes);
}
void operator delete(void* memory) noexcept {
  if (memory != nullptr) {
    auto* start = static_cast<std::uint64_t*>(memory) - 2;
    if (*start != kMark) {
      std::abort();
    }
    *start = 0;
    std::free(start);
  }
}
void operator delete(void* memory, std::size_t) noexcept {
  operator delete(memory);
}
