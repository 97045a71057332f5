#include "model/time_network.h"

#include "model/half.h"
#include "model/stack_trainer.h"

#include <algorithm>

namespace reformer::model {
namespace {

constexpr StackOptions kTraining{.epochs = 100, .batch = 256, .rate = 3e-3F, .decay = 0.1F};
constexpr float kQuadraticWithin = 1;  // log2

// y = x W + b for W [inputs][outputs].
std::vector<float> affine_of(std::span<const float> x,
                             std::span<const float> weights,
                             std::span<const float> bias) {
  std::vector<float> y(bias.begin(), bias.end());
  for (std::size_t i = 0; i < x.size(); ++i) {
    for (std::size_t j = 0; j < y.size(); ++j) {
      y[j] += x[i] * weights[i * y.size() + j];
    }
  }
  return y;
}

std::vector<float> relu(std::vector<float> values) {
  for (float& value : values) {
    value = std::max(value, 0.0F);
  }
  return values;
}

}  // namespace

TimeNetwork time_network_of(std::span<const float> parameters) {
  Pieces pieces(parameters);
  TimeNetwork network;
  network.hidden1_weights = pieces.take(kTimeInputs * kTimeHidden[0]);
  network.hidden1_bias = pieces.take(kTimeHidden[0]);
  network.hidden2_weights = pieces.take(kTimeHidden[0] * kTimeHidden[1]);
  network.hidden2_bias = pieces.take(kTimeHidden[1]);
  network.output_weights = pieces.take(kTimeHidden[1]);
  network.output_bias = pieces.take(1).front();
  return network;
}

TimeNetwork fit_times(std::span<const TimeSample> samples, std::uint64_t seed) {
  LayerStack stack;
  stack.push_back(affine<float>(kTimeInputs, kTimeHidden[0], true));
  stack.push_back(affine<float>(kTimeHidden[0], kTimeHidden[1], true));
  stack.push_back(affine<float>(kTimeHidden[1], 1, false));
  StackOptions options = kTraining;
  options.seed = seed;
  const std::vector<float> parameters =
      samples.empty()
          ? std::vector<float>(parameters_of(stack))
          : train_stack(
                stack,
                {.count = samples.size(),
                 .inputs = [&](std::size_t sample,
                               float* x) { std::copy_n(samples[sample].inputs, kTimeInputs, x); },
                 .gradient =
                     [&](std::size_t sample, const float* outputs, float* gradient) {
                       *gradient = std::clamp(*outputs - samples[sample].log2_best_us,
                                              -kQuadraticWithin,
                                              kQuadraticWithin);
                     }},
                options);
  TimeNetwork network = time_network_of(parameters);
  // Half the memory to read in a prediction.
  for (std::vector<float>* weights :
       {&network.hidden1_weights, &network.hidden2_weights, &network.output_weights}) {
    round_to_half(*weights);
  }
  return network;
}

float expected_log2_us(const TimeNetwork& network, std::span<const float, kTimeInputs> inputs) {
  const std::vector<float> first =
      relu(affine_of(inputs, network.hidden1_weights, network.hidden1_bias));
  const std::vector<float> second =
      relu(affine_of(first, network.hidden2_weights, network.hidden2_bias));
  return affine_of(second, network.output_weights, {&network.output_bias, 1}).front();
}

}  // namespace reformer::model
