#pragma once

#include "model/class_list.h"
#include "model/corpus.h"
#include "model/features.h"
#include "model/targets.h"

#include <array>
#include <cstdint>
#include <span>
#include <vector>

namespace reformer::model {

// Brings numeric features to mean 0 and variance 1 over the training problems, within +-kClip;
// features that never vary there become 0. Part of the model file.
struct Normaliser {
  static constexpr float kClip = 5;
  NumericFeatures mean{};
  NumericFeatures scale{};  // 1 / standard deviation; 0 for constant features

  void apply(NumericFeatures& features) const {
    for (std::size_t i = 0; i < kNumericFeatures; ++i) {
      const float value = (features[i] - mean[i]) * scale[i];
      features[i] = value > kClip ? kClip : value < -kClip ? -kClip : value;
    }
  }
};
[[nodiscard]] Normaliser fit_normaliser(const Corpus& corpus, std::span<const std::size_t> indices);

// Width of the network's input: numeric features, indicators, one-hot combination.
[[nodiscard]] constexpr std::size_t input_width(std::size_t combinations) {
  return kNumericFeatures + kIndicatorFeatures + combinations;
}
// The part of the input that is constant over a combination: [kIndicatorFeatures + combinations].
[[nodiscard]] std::vector<float> combination_input(std::span<const CombinationClasses> combinations,
                                                   std::size_t index);

// One problem, ready for the network.
struct Sample {
  std::uint32_t problem = 0;  // index into the corpus
  View view = View::kAll;
  std::uint32_t combination = 0;  // index into the class list's
  std::size_t first = 0;          // its existing classes
  std::size_t count = 0;
};

// The problems of a corpus as one class list and normaliser see them: once in each of their views
// that the class list knows. Problems of an unknown combination, or
// none of whose candidates is a class, have no sample: see sample_of(). Immutable; any number of
// threads.
class Dataset {
 public:
  Dataset(const Corpus& corpus,
          const ClassList& classes,
          const Normaliser& normaliser,
          const LossOptions& loss);

  [[nodiscard]] std::size_t width() const { return width_; }
  [[nodiscard]] std::span<const Sample> samples() const { return samples_; }
  // [width()]: normalised features, indicators, one-hot combination.
  [[nodiscard]] const float* input(std::size_t sample) const { return &inputs_[sample * width_]; }
  [[nodiscard]] std::span<const Existing> existing(const Sample& sample) const {
    return std::span(existing_).subspan(sample.first, sample.count);
  }
  // Sample of a corpus problem, or -1.
  [[nodiscard]] std::int64_t sample_of(std::size_t problem, View view) const {
    return sample_of_[static_cast<std::size_t>(view)][problem];
  }

 private:
  void add(const Corpus& corpus,
           const ClassList& classes,
           std::span<const std::int32_t> config_class,
           const LossOptions& loss,
           const NumericFeatures& features,
           std::size_t index,
           View view);

  std::size_t width_ = 0;
  std::vector<float> inputs_;  // [samples][width]
  std::vector<Sample> samples_;
  std::vector<Existing> existing_;
  std::array<std::vector<std::int64_t>, kViews.size()> sample_of_;  // [View][problems]
};

}  // namespace reformer::model
