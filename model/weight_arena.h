#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace reformer::model {

// Memory for the weights of one network, in the order in which a prediction reads them: a few large
// pages instead of many small ones, which costs least where neither caches nor address translation
// are warm. What it keeps stays where it is until the arena dies.
class WeightArena {
 public:
  // Copies, aligned to a cache line.
  [[nodiscard]] const float* keep(std::span<const float> values);
  // The same as float16; only for values that it holds exactly.
  [[nodiscard]] const std::uint16_t* keep_halves(std::span<const float> values);

 private:
  struct Free {
    void operator()(std::byte* chunk) const;
  };
  std::byte* take(std::size_t bytes);

  std::vector<std::unique_ptr<std::byte, Free>> chunks_;
  std::byte* next_ = nullptr;
  std::byte* end_ = nullptr;
};

}  // namespace reformer::model
