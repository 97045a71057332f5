#include "tests/shim/gpu/reference.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

namespace gpu_check {
namespace {

namespace core = reformer::core;

std::uint16_t to_half(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const auto sign = static_cast<std::uint16_t>((bits >> 16) & 0x8000u);
  const int exponent = static_cast<int>((bits >> 23) & 0xffu) - 127 + 15;
  std::uint32_t mantissa = bits & 0x7fffffu;
  if (exponent <= 0) {
    return sign;  // what is filled in here is never that small, but for zero
  }
  const std::uint32_t rest = mantissa & 0x1fffu;
  std::uint32_t half = (static_cast<std::uint32_t>(exponent) << 10) | (mantissa >> 13);
  half += rest > 0x1000u || (rest == 0x1000u && (half & 1u) != 0) ? 1u : 0u;
  return static_cast<std::uint16_t>(sign | half);
}

float from_half(std::uint16_t half) {
  const std::uint32_t exponent = (half >> 10) & 0x1fu;
  const std::uint32_t mantissa = half & 0x3ffu;
  const float sign = (half & 0x8000u) != 0 ? -1.0F : 1.0F;
  if (exponent == 31) {
    return mantissa != 0 ? std::numeric_limits<float>::quiet_NaN()
                         : sign * std::numeric_limits<float>::infinity();
  }
  return exponent == 0 ? sign * std::ldexp(static_cast<float>(mantissa), -24)
                       : sign * std::ldexp(static_cast<float>(mantissa | 0x400u),
                                           static_cast<int>(exponent) - 25);
}

std::uint16_t to_bf16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  return static_cast<std::uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

std::size_t width_of(core::DataType type) {
  return static_cast<std::size_t>(core::size_of(type));
}

double read(core::DataType type, const std::byte* place) {
  std::uint16_t half = 0;
  float value = 0;
  switch (type) {
    case core::DataType::kF16:
      std::memcpy(&half, place, sizeof half);
      return static_cast<double>(from_half(half));
    case core::DataType::kBf16:
      std::memcpy(&half, place, sizeof half);
      return static_cast<double>(std::bit_cast<float>(static_cast<std::uint32_t>(half) << 16));
    default:
      std::memcpy(&value, place, sizeof value);
      return static_cast<double>(value);
  }
}

std::size_t elements_of(const core::TensorSpec& tensor) {
  std::int64_t last = 0;
  for (std::size_t axis = 0; axis < core::kTensorAxes; ++axis) {
    last += (tensor.dims[axis] - 1) * tensor.strides[axis];
  }
  return static_cast<std::size_t>(last) + 1;
}

std::vector<double> fill(const core::TensorSpec& tensor, Filling filling, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<double> values(elements_of(tensor));
  for (double& value : values) {
    value = filling == Filling::kWhole ? static_cast<double>(random() % 5) - 2
                                       : static_cast<double>(random() % 2001) / 1000 - 1;
  }
  // What the GPU sees is rounded to its type.
  const std::vector<std::byte> rounded = encode(tensor.type, values);
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = read(tensor.type, rounded.data() + i * width_of(tensor.type));
  }
  return values;
}

std::int64_t at(const core::TensorSpec& tensor,
                std::int64_t n,
                std::int64_t c,
                std::int64_t h,
                std::int64_t w) {
  return n * tensor.strides[0] + c * tensor.strides[1] + h * tensor.strides[3] +
         w * tensor.strides[4];
}

// Calls visit(x, w, y), elements of the tensors, for every product of the convolution; 2-D only.
template <typename Visit>
void for_each_product(const core::Problem& problem, Visit visit) {
  const auto& [n, k, flat, out_h, out_w] = problem.y.dims;
  const auto& [filters, channels, deep, rows, columns] = problem.w.dims;
  (void)flat, (void)filters, (void)deep;
  const std::int64_t group_filters = k / problem.groups();
  for (std::int64_t i = 0; i < n * k; ++i) {
    const std::int64_t image = i / k, filter = i % k;
    const std::int64_t first_channel = filter / group_filters * channels;
    for (std::int64_t j = 0; j < out_h * out_w * channels * rows; ++j) {
      const std::int64_t r = j % rows, c = j / rows % channels;
      const std::int64_t oh = j / rows / channels / out_w, ow = j / rows / channels % out_w;
      const std::int64_t h =
          oh * problem.stride[1] - problem.pad_before[1] + r * problem.dilation[1];
      for (std::int64_t s = 0; s < columns; ++s) {
        const std::int64_t w =
            ow * problem.stride[2] - problem.pad_before[2] + s * problem.dilation[2];
        if (h >= 0 && h < problem.x.dims[3] && w >= 0 && w < problem.x.dims[4]) {
          visit(static_cast<std::size_t>(at(problem.x, image, first_channel + c, h, w)),
                static_cast<std::size_t>(at(problem.w, filter, c, r, s)),
                static_cast<std::size_t>(at(problem.y, image, filter, oh, ow)));
        }
      }
    }
  }
}

}  // namespace

std::vector<std::byte> encode(core::DataType type, std::span<const double> values) {
  std::vector<std::byte> bytes(values.size() * width_of(type));
  for (std::size_t i = 0; i < values.size(); ++i) {
    const auto value = static_cast<float>(values[i]);
    if (type == core::DataType::kF32) {
      std::memcpy(bytes.data() + i * sizeof value, &value, sizeof value);
    } else {
      const std::uint16_t half = type == core::DataType::kF16 ? to_half(value) : to_bf16(value);
      std::memcpy(bytes.data() + i * sizeof half, &half, sizeof half);
    }
  }
  return bytes;
}

Tensors make_tensors(const core::Problem& problem, Filling filling) {
  std::vector<double> x = fill(problem.x, filling, 1);
  std::vector<double> w = fill(problem.w, filling, 2);
  std::vector<double> y = fill(problem.y, filling, 3);
  Tensors tensors;
  tensors.expected.assign(elements_of(computed_tensor(problem)), 0);
  std::vector<double>& sum = tensors.expected;
  switch (problem.operation) {
    case core::Operation::kForward:
      for_each_product(problem, [&](auto i, auto j, auto k) { sum[k] += x[i] * w[j]; });
      tensors.x = encode(problem.x.type, x);
      tensors.w = encode(problem.w.type, w);
      break;
    case core::Operation::kDataGradient:
      for_each_product(problem, [&](auto i, auto j, auto k) { sum[i] += w[j] * y[k]; });
      tensors.w = encode(problem.w.type, w);
      tensors.y = encode(problem.y.type, y);
      break;
    case core::Operation::kFilterGradient:
      for_each_product(problem, [&](auto i, auto j, auto k) { sum[j] += x[i] * y[k]; });
      tensors.x = encode(problem.x.type, x);
      tensors.y = encode(problem.y.type, y);
      break;
  }
  return tensors;
}

std::vector<double> with_bias_and_relu(const core::Problem& problem,
                                       std::vector<double> expected,
                                       std::span<const double> bias) {
  const auto& dims = problem.y.dims;
  for (std::int64_t i = 0; i < dims[0] * dims[1] * dims[3] * dims[4]; ++i) {
    const std::int64_t column = i % dims[4], row = i / dims[4] % dims[3];
    const std::int64_t filter = i / dims[4] / dims[3] % dims[1];
    const std::int64_t image = i / dims[4] / dims[3] / dims[1];
    double& value = expected[static_cast<std::size_t>(at(problem.y, image, filter, row, column))];
    value = std::max(0.0, value + bias[static_cast<std::size_t>(filter)]);
  }
  return expected;
}

const core::TensorSpec& computed_tensor(const core::Problem& problem) {
  return problem.operation == core::Operation::kForward        ? problem.y
         : problem.operation == core::Operation::kDataGradient ? problem.x
                                                               : problem.w;
}

std::size_t bytes_of(const core::TensorSpec& tensor) {
  return elements_of(tensor) * width_of(tensor.type);
}

double deviation(core::DataType type,
                 std::span<const std::byte> output,
                 std::span<const double> expected) {
  double largest = 0;
  double magnitude = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const double value = read(type, output.data() + i * width_of(type));
    if (!std::isfinite(value)) {
      return std::numeric_limits<double>::infinity();
    }
    largest = std::max(largest, std::abs(value - expected[i]));
    magnitude += std::abs(expected[i]);
  }
  return largest * static_cast<double>(expected.size()) / std::max(magnitude, 1e-9);
}

double tolerance(core::DataType type) {
  return type == core::DataType::kBf16 ? 0.2 : type == core::DataType::kF16 ? 0.1 : 0.05;
}

std::uint64_t hash_of(std::span<const std::byte> bytes) {
  std::uint64_t hash = 0xcbf29ce484222325u;
  for (const std::byte byte : bytes) {
    hash = (hash ^ static_cast<std::uint64_t>(byte)) * 0x100000001b3u;
  }
  return hash;
}

}  // namespace gpu_check
