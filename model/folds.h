#pragma once

#include "model/corpus.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

// Ways to leave problems out of a training. All are by shape (shape_hash): no shape is ever on two
// sides. Deterministic.
namespace reformer::model {

struct Split {
  std::vector<std::size_t> train;
  std::vector<std::size_t> held_out;
};

// A random share of the shapes is held out.
[[nodiscard]] Split split_by_shape(const Corpus& corpus,
                                   std::span<const std::size_t> indices,
                                   double held_out_share,
                                   std::uint64_t seed);

// The fold, 0 ... folds - 1, of each of `indices`, by random shapes.
[[nodiscard]] std::vector<std::uint32_t> shape_folds(const Corpus& corpus,
                                                     std::span<const std::size_t> indices,
                                                     std::uint32_t folds,
                                                     std::uint64_t seed);
// The same by whole regions of the space of shapes (k-means clusters of channels, image, filter,
// stride and groups), so that a fold's problems are unlike those of the other folds, as networks of
// another kind are.
[[nodiscard]] std::vector<std::uint32_t> region_folds(const Corpus& corpus,
                                                      std::span<const std::size_t> indices,
                                                      std::uint32_t folds,
                                                      std::uint64_t seed);

}  // namespace reformer::model
