#include "model/trainer.h"

#include "model/kernels.h"
#include "model/linear_algebra.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>

namespace reformer::model {
namespace {

constexpr std::size_t kPredictBatch = 256;

// Samples of one batch or part of it, grouped by combination, and what the head needs for them.
// Rows and embeddings carry a last column: the class's bias, and a constant 1.
class HeadPass {
 public:
  HeadPass(const Dataset& data, const ConfigFeatures& features, std::size_t row_width)
      : data_(data), features_(features), width_(row_width) {}

  // Calls `each(first, count, combination)` for every run of samples of one combination.
  template <typename Each>
  void for_each_run(std::span<const std::size_t> samples, const Each& each) const {
    for (std::size_t first = 0; first < samples.size();) {
      const std::uint32_t combination = data_.samples()[samples[first]].combination;
      std::size_t end = first + 1;
      while (end < samples.size() && data_.samples()[samples[end]].combination == combination) {
        ++end;
      }
      each(first, end - first, combination);
      first = end;
    }
  }

  // logits [count][classes] of samples [first, first + count).
  std::span<float> logits(std::span<const float> rows,
                          std::uint32_t combination,
                          const float* embeddings,
                          std::size_t first,
                          std::size_t count) {
    const std::span<const std::uint32_t> indices = features_.combination_rows(combination);
    const std::size_t width = width_ - 1;
    rows_.resize(indices.size() * width_);
    for (std::size_t i = 0; i < indices.size(); ++i) {
      std::copy_n(&rows[indices[i] * width_], width_, &rows_[i * width_]);
    }
    extended_.resize(count * width_);
    for (std::size_t i = 0; i < count; ++i) {
      std::copy_n(embeddings + (first + i) * width, width, &extended_[i * width_]);
      extended_[i * width_ + width] = 1;
    }
    logits_.resize(count * indices.size());
    multiply_nt(count, indices.size(), width_, extended_.data(), rows_.data(), logits_.data());
    return logits_;
  }

  // After logits() of the same run: from d_logits the gradients of embeddings and rows.
  void backward(std::span<const float> d_logits,
                std::uint32_t combination,
                std::size_t first,
                std::size_t count,
                std::span<float> d_embeddings,
                std::span<float> row_gradient) {
    const std::span<const std::uint32_t> indices = features_.combination_rows(combination);
    d_extended_.resize(count * width_);
    multiply_nn(count, width_, indices.size(), d_logits.data(), rows_.data(), d_extended_.data());
    for (std::size_t i = 0; i < count; ++i) {
      std::copy_n(&d_extended_[i * width_], width_ - 1, &d_embeddings[(first + i) * (width_ - 1)]);
    }
    d_rows_.resize(indices.size() * width_);
    multiply_tn(indices.size(), width_, count, d_logits.data(), extended_.data(), d_rows_.data());
    for (std::size_t i = 0; i < indices.size(); ++i) {
      float* target = &row_gradient[indices[i] * width_];
      for (std::size_t j = 0; j < width_; ++j) {
        target[j] += d_rows_[i * width_ + j];
      }
    }
  }

 private:
  const Dataset& data_;
  const ConfigFeatures& features_;
  std::size_t width_;
  std::vector<float> rows_, extended_, logits_, d_extended_, d_rows_;
};

void gather_inputs(const Dataset& data,
                   std::span<const std::size_t> samples,
                   std::vector<float>& x) {
  x.resize(samples.size() * data.width());
  for (std::size_t i = 0; i < samples.size(); ++i) {
    std::copy_n(data.input(samples[i]), data.width(), &x[i * data.width()]);
  }
}

void sort_by_combination(const Dataset& data, std::span<std::size_t> samples) {
  std::ranges::stable_sort(
      samples, {}, [&data](std::size_t sample) { return data.samples()[sample].combination; });
}

// One part of a batch, with its own buffers.
class Shard {
 public:
  Shard(const Dataset& data,
        const ConfigFeatures& features,
        const Network<float>& network,
        const LossOptions& loss)
      : data_(data),
        network_(network),
        loss_(loss),
        head_(data, features, network.row_width()),
        gradient_(network.trunk_parameters()),
        row_gradient_(features.rows() * network.row_width()) {}

  // Gradients of the sum of the samples' losses times `scale`.
  void run(std::span<const float> parameters,
           std::span<const float> rows,
           std::span<const std::size_t> samples,
           float scale) {
    std::ranges::fill(gradient_, 0.0F);
    std::ranges::fill(row_gradient_, 0.0F);
    loss_sum_ = 0;
    if (samples.empty()) {
      return;
    }
    gather_inputs(data_, samples, x_);
    const float* embeddings = network_.forward(parameters, samples.size(), x_.data(), workspace_);
    d_embeddings_.resize(samples.size() * network_.embedding());
    head_.for_each_run(samples, [&](std::size_t first, std::size_t count, std::uint32_t c) {
      const std::span<const float> logits = head_.logits(rows, c, embeddings, first, count);
      const std::size_t classes = logits.size() / count;
      d_logits_.resize(logits.size());
      for (std::size_t i = 0; i < count; ++i) {
        const Sample& sample = data_.samples()[samples[first + i]];
        loss_sum_ += static_cast<double>(
            loss_and_gradient<float>(loss_,
                                     data_.existing(sample),
                                     logits.subspan(i * classes, classes),
                                     std::span(d_logits_).subspan(i * classes, classes)));
      }
      for (float& value : d_logits_) {
        value *= scale;
      }
      head_.backward(d_logits_, c, first, count, d_embeddings_, row_gradient_);
    });
    network_.backward(parameters, samples.size(), x_.data(), d_embeddings_, workspace_, gradient_);
  }

  std::span<const float> gradient() const { return gradient_; }
  std::span<const float> row_gradient() const { return row_gradient_; }
  double loss_sum() const { return loss_sum_; }

 private:
  const Dataset& data_;
  const Network<float>& network_;
  const LossOptions& loss_;
  HeadPass head_;
  Network<float>::Workspace workspace_;
  std::vector<float> x_, d_embeddings_, d_logits_, gradient_, row_gradient_;
  double loss_sum_ = 0;
};

void add(std::span<const float> from, std::span<float> to) {
  for (std::size_t i = 0; i < from.size(); ++i) {
    to[i] += from[i];
  }
}

float scheduled_rate(const FitOptions& options, std::size_t step, std::size_t steps) {
  const double progress = static_cast<double>(step) / static_cast<double>(steps);
  constexpr double kWarmUp = 0.05;
  constexpr double kFloor = 0.02;
  if (progress < kWarmUp) {
    return options.rate * static_cast<float>((progress + 1 / static_cast<double>(steps)) / kWarmUp);
  }
  const double cosine =
      0.5 * (1 + std::cos(std::numbers::pi * (progress - kWarmUp) / (1 - kWarmUp)));
  return options.rate * static_cast<float>(kFloor + (1 - kFloor) * cosine);
}

// AdamW over all parameters, and the moving average of what it produces.
class Optimiser {
 public:
  Optimiser(const Network<float>& network, const FitOptions& options, std::size_t steps)
      : network_(network),
        options_(options),
        steps_(steps),
        parameters_(network.parameters()),
        average_(parameters_.size()),
        m_(parameters_.size()),
        v_(parameters_.size()) {
    Random random(options.seed);
    network.initialise(random, parameters_);
  }

  std::span<const float> parameters() const { return parameters_; }
  std::span<const float> average() const { return average_; }

  void step(std::span<const float> gradient) {
    AdamStep step;
    step.rate = scheduled_rate(options_, step_, steps_);
    step.beta1 = 0.9F;
    step.beta2 = 0.99F;
    ++step_;
    const auto t = static_cast<double>(step_);
    step.correction1 = static_cast<float>(1 / (1 - std::pow(0.9, t)));
    step.correction2 = static_cast<float>(1 / (1 - std::pow(0.99, t)));
    const std::size_t own = network_.first_own_parameter();
    update(step, options_.decay, gradient, 0, own);
    update(step, options_.own_decay, gradient, own, parameters_.size());
    // Early averages forget faster, so that the initial values do not linger.
    const float keep = std::min(options_.averaging, static_cast<float>(t / (t + 10)));
    for (std::size_t i = 0; i < parameters_.size(); ++i) {
      average_[i] = keep * average_[i] + (1 - keep) * parameters_[i];
    }
  }

 private:
  void update(AdamStep step,
              float decay,
              std::span<const float> gradient,
              std::size_t first,
              std::size_t end) {
    step.decay = step.rate * decay;
    best_kernels().adamw(step,
                         gradient.data() + first,
                         m_.data() + first,
                         v_.data() + first,
                         parameters_.data() + first,
                         end - first);
  }

  const Network<float>& network_;
  const FitOptions& options_;
  std::size_t steps_;
  std::size_t step_ = 0;
  std::vector<float> parameters_, average_, m_, v_;
};

class Fit {
 public:
  Fit(const Dataset& data,
      const ConfigFeatures& features,
      std::span<const std::size_t> train,
      const FitOptions& options,
      const ParallelFor& parallel_for)
      : data_(data),
        options_(options),
        parallel_for_(parallel_for),
        network_(options.shape, data.width(), features),
        order_(train.begin(), train.end()),
        batches_((train.size() + options.batch - 1) / std::max<std::size_t>(1, options.batch)),
        optimiser_(network_, options, batches_ * options.epochs),
        random_(options.seed ^ 0x5851f42d4c957f2dULL),
        rows_(features.rows() * network_.row_width()),
        gradient_(network_.parameters()) {
    for (std::size_t i = 0; i < std::max<std::size_t>(1, options.shards); ++i) {
      shards_.emplace_back(data, features, network_, options_.loss);
    }
  }

  // Mean loss.
  double epoch() {
    random_.shuffle(order_);
    double loss = 0;
    for (std::size_t b = 0; b < batches_; ++b) {
      const std::size_t first = b * order_.size() / batches_;
      const std::size_t end = (b + 1) * order_.size() / batches_;
      batch_.assign(order_.begin() + static_cast<std::ptrdiff_t>(first),
                    order_.begin() + static_cast<std::ptrdiff_t>(end));
      loss += step();
    }
    return loss / static_cast<double>(order_.size());
  }

  std::span<const float> average() const { return optimiser_.average(); }

 private:
  double step() {
    sort_by_combination(data_, batch_);
    network_.compute_rows(optimiser_.parameters(), rows_);
    const float scale = 1.0F / static_cast<float>(batch_.size());
    parallel_for_(shards_.size(), [&](std::size_t i) {
      const std::size_t first = i * batch_.size() / shards_.size();
      const std::size_t end = (i + 1) * batch_.size() / shards_.size();
      shards_[i].run(optimiser_.parameters(),
                     rows_,
                     std::span<const std::size_t>(batch_).subspan(first, end - first),
                     scale);
    });
    std::ranges::fill(gradient_, 0.0F);
    row_gradient_.assign(rows_.size(), 0.0F);
    double loss = 0;
    for (const Shard& shard : shards_) {
      add(shard.gradient(), gradient_);
      add(shard.row_gradient(), row_gradient_);
      loss += shard.loss_sum();
    }
    network_.scatter_rows(row_gradient_, gradient_);
    optimiser_.step(gradient_);
    return loss;
  }

  const Dataset& data_;
  const FitOptions options_;
  const ParallelFor& parallel_for_;
  Network<float> network_;
  std::vector<std::size_t> order_;
  std::size_t batches_;
  Optimiser optimiser_;
  Random random_;
  std::vector<Shard> shards_;
  std::vector<std::size_t> batch_;
  std::vector<float> rows_, row_gradient_, gradient_;
};

struct Validation {
  double slowdown = 0;         // geometric mean
  double capped_slowdown = 0;  // the same, of slowdowns that count as at most kMostSlowdown
};

// A few recorded times are wrong by far (a kernel that was still being loaded): one of them would
// outweigh fifty problems when epochs are compared.
constexpr float kMostSlowdown = 2;

Validation validate(const Dataset& data,
                    const ConfigFeatures& features,
                    const NetworkShape& shape,
                    std::span<const float> parameters,
                    std::span<const std::size_t> samples) {
  const float most = std::log(kMostSlowdown);
  double sum = 0;
  double capped = 0;
  predict(data,
          features,
          shape,
          weights_of(data, features, shape, parameters),
          samples,
          [&](std::size_t sample, std::span<const float>, std::span<const float> logits) {
            const float chosen = choose(data.existing(data.samples()[sample]), logits).log_slowdown;
            sum += chosen;
            capped += std::min(chosen, most);
          });
  const auto count = static_cast<double>(samples.size());
  return {std::exp(sum / count), std::exp(capped / count)};
}

}  // namespace

const Existing& choose(std::span<const Existing> existing, std::span<const float> logits) {
  return *std::ranges::max_element(
      existing, {}, [logits](const Existing& e) { return logits[e.row]; });
}

Weights weights_of(const Dataset& data,
                   const ConfigFeatures& features,
                   const NetworkShape& shape,
                   std::span<const float> parameters) {
  const Network<float> network(shape, data.width(), features);
  const std::span<const float> trunk = parameters.first(network.trunk_parameters());
  Weights weights{{trunk.begin(), trunk.end()}, {}};
  weights.rows.resize(features.rows() * network.row_width());
  network.compute_rows(parameters, weights.rows);
  return weights;
}

void predict(const Dataset& data,
             const ConfigFeatures& features,
             const NetworkShape& shape,
             const Weights& weights,
             std::span<const std::size_t> samples,
             const VisitLogits& visit) {
  const Network<float> network(shape, data.width(), features);
  std::vector<std::size_t> order(samples.begin(), samples.end());
  sort_by_combination(data, order);
  HeadPass head(data, features, network.row_width());
  Network<float>::Workspace workspace;
  std::vector<float> x;
  for (std::size_t start = 0; start < order.size(); start += kPredictBatch) {
    const auto batch = std::span<const std::size_t>(order).subspan(
        start, std::min(kPredictBatch, order.size() - start));
    gather_inputs(data, batch, x);
    const float* embeddings = network.forward(weights.trunk, batch.size(), x.data(), workspace);
    head.for_each_run(batch, [&](std::size_t first, std::size_t count, std::uint32_t c) {
      const std::span<const float> logits = head.logits(weights.rows, c, embeddings, first, count);
      const std::size_t classes = logits.size() / count;
      for (std::size_t i = 0; i < count; ++i) {
        visit(batch[first + i],
              {embeddings + (first + i) * network.embedding(), network.embedding()},
              logits.subspan(i * classes, classes));
      }
    });
  }
}

FitResult fit(const Dataset& data,
              const ConfigFeatures& features,
              std::span<const std::size_t> train,
              std::span<const std::size_t> validation,
              const FitOptions& options,
              const ParallelFor& parallel_for,
              const OnEpoch& on_epoch) {
  Fit run(data, features, train, options, parallel_for);
  FitResult result;
  EpochChoice choice;
  for (std::size_t epoch = 1; epoch <= options.epochs; ++epoch) {
    EpochReport report{epoch, options.epochs, run.epoch(), 0};
    double found = 0;
    if (!validation.empty()) {
      const Validation validated =
          validate(data, features, options.shape, run.average(), validation);
      report.validation_slowdown = validated.slowdown;
      found = validated.capped_slowdown;
    }
    if (choice.keeps(found)) {
      result.parameters.assign(run.average().begin(), run.average().end());
      result.best_epoch = epoch;
      result.validation_slowdown = report.validation_slowdown;
    }
    if (!on_epoch(report)) {
      break;
    }
  }
  return result;
}

}  // namespace reformer::model
