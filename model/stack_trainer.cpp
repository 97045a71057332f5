#include "model/stack_trainer.h"

#include "model/kernels.h"
#include "model/random.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace reformer::model {
namespace {

constexpr float kBeta1 = 0.9F;
constexpr float kBeta2 = 0.99F;

class StackTrainer {
 public:
  StackTrainer(const LayerStack& stack, const StackSamples& samples, const StackOptions& options)
      : stack_(stack),
        samples_(samples),
        options_(options),
        parameters_(parameters_of(stack)),
        gradient_(parameters_.size()),
        m_(parameters_.size()),
        v_(parameters_.size()),
        values_(stack.size() + 1),
        gradients_(stack.size() + 1),
        random_(options.seed) {
    std::size_t first = 0;
    for (const auto& layer : stack_) {
      firsts_.push_back(first);
      layer->initialise(random_, parameters_.data() + first);
      first += layer->parameters();
    }
  }

  std::vector<float> train() && {
    std::vector<std::size_t> order(samples_.count);
    std::iota(order.begin(), order.end(), std::size_t{0});
    const std::size_t batches = (order.size() + options_.batch - 1) / options_.batch;
    for (std::size_t epoch = 0; epoch < options_.epochs; ++epoch) {
      random_.shuffle(order);
      for (std::size_t b = 0; b < batches; ++b) {
        const std::size_t begin = b * order.size() / batches;
        const std::size_t end = (b + 1) * order.size() / batches;
        step(std::span(order).subspan(begin, end - begin));
        update(static_cast<double>(epoch * batches + b) /
               static_cast<double>(options_.epochs * batches));
      }
    }
    return std::move(parameters_);
  }

 private:
  // The gradient of a batch's mean loss.
  void step(std::span<const std::size_t> batch) {
    const std::size_t n = batch.size();
    values_[0].resize(n * stack_.front()->inputs());
    for (std::size_t i = 0; i < n; ++i) {
      samples_.inputs(batch[i], &values_[0][i * stack_.front()->inputs()]);
    }
    for (std::size_t l = 0; l < stack_.size(); ++l) {
      values_[l + 1].resize(n * stack_[l]->outputs());
      gradients_[l + 1].resize(values_[l + 1].size());
      stack_[l]->forward(
          &parameters_[firsts_[l]], n, values_[l].data(), values_[l + 1].data(), nullptr);
    }
    const std::size_t outputs = stack_.back()->outputs();
    for (std::size_t i = 0; i < n; ++i) {
      samples_.gradient(batch[i], &values_.back()[i * outputs], &gradients_.back()[i * outputs]);
    }
    for (float& value : gradients_.back()) {
      value /= static_cast<float>(n);
    }
    std::ranges::fill(gradient_, 0.0F);
    for (std::size_t l = stack_.size(); l-- > 0;) {
      stack_[l]->backward(&parameters_[firsts_[l]],
                          n,
                          values_[l].data(),
                          values_[l + 1].data(),
                          nullptr,
                          gradients_[l + 1].data(),
                          l > 0 ? gradients_[l].data() : nullptr,
                          &gradient_[firsts_[l]]);
    }
  }

  void update(double progress) {
    ++steps_;
    AdamStep step;
    step.rate = options_.rate * static_cast<float>(0.5 * (1 + std::cos(3.14159265 * progress)));
    step.decay = step.rate * options_.decay;
    step.beta1 = kBeta1;
    step.beta2 = kBeta2;
    step.correction1 = static_cast<float>(1 / (1 - std::pow(0.9, steps_)));
    step.correction2 = static_cast<float>(1 / (1 - std::pow(0.99, steps_)));
    best_kernels().adamw(
        step, gradient_.data(), m_.data(), v_.data(), parameters_.data(), parameters_.size());
  }

  const LayerStack& stack_;
  const StackSamples& samples_;
  const StackOptions& options_;
  std::vector<std::size_t> firsts_;  // of each layer's parameters
  std::vector<float> parameters_, gradient_, m_, v_;
  // [layer][samples][width]: the layer's inputs and what the loss changes by with them.
  std::vector<std::vector<float>> values_, gradients_;
  Random random_;
  int steps_ = 0;
};

}  // namespace

std::size_t parameters_of(const LayerStack& stack) {
  std::size_t parameters = 0;
  for (const auto& layer : stack) {
    parameters += layer->parameters();
  }
  return parameters;
}

std::vector<float> train_stack(const LayerStack& stack,
                               const StackSamples& samples,
                               const StackOptions& options) {
  return StackTrainer(stack, samples, options).train();
}

}  // namespace reformer::model
