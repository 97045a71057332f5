#include "libclient/shim/legacy.h"

#include "libclient/shim/descriptors.h"
#include "libclient/shim/libcudnn.h"

#include <array>
#include <atomic>
#include <limits>

namespace reformer::shim {
namespace {

constexpr int kMostDims = 6;            // cuDNN refuses more
constexpr double kWorthChanging = 0.9;  // of the time of cuDNN's method

// The readers of descriptors, resolved at first use.
struct Readers {
  decltype(&::cudnnGetTensorNdDescriptor) tensor = nullptr;
  decltype(&::cudnnGetFilterNdDescriptor) filter = nullptr;
  decltype(&::cudnnGetConvolutionNdDescriptor) convolution = nullptr;
  decltype(&::cudnnGetConvolutionMathType) math = nullptr;
  [[nodiscard]] bool complete() const {
    return tensor != nullptr && filter != nullptr && convolution != nullptr && math != nullptr;
  }
};

template <typename Function>
void resolve(const char* name, Function& function) {
  function = reinterpret_cast<Function>(real_function(name));
}

const Readers* readers() {
  static const Readers found = [] {
    Readers fresh;
    resolve("cudnnGetTensorNdDescriptor", fresh.tensor);
    resolve("cudnnGetFilterNdDescriptor", fresh.filter);
    resolve("cudnnGetConvolutionNdDescriptor", fresh.convolution);
    resolve("cudnnGetConvolutionMathType", fresh.math);
    return fresh;
  }();
  return found.complete() ? &found : nullptr;
}

std::optional<TensorRecord> read(const Readers& real, cudnnTensorDescriptor_t descriptor) {
  std::array<int, kMostDims> dims{};
  std::array<int, kMostDims> strides{};
  cudnnDataType_t type{};
  int count = 0;
  if (real.tensor(descriptor, kMostDims, &type, &count, dims.data(), strides.data()) !=
          CUDNN_STATUS_SUCCESS ||
      count < 3 || count > kMostDims) {
    return std::nullopt;
  }
  TensorRecord tensor;
  tensor.type = type;
  tensor.alignment = core::kMaxAlignment;
  tensor.dim_count = tensor.stride_count = static_cast<std::size_t>(count);
  std::copy_n(dims.begin(), count, tensor.dims.begin());
  std::copy_n(strides.begin(), count, tensor.strides.begin());
  return tensor;
}

std::optional<TensorRecord> read(const Readers& real, cudnnFilterDescriptor_t descriptor) {
  std::array<int, kMostDims> dims{};
  cudnnDataType_t type{};
  cudnnTensorFormat_t format{};
  int count = 0;
  if (real.filter(descriptor, kMostDims, &type, &format, &count, dims.data()) !=
          CUDNN_STATUS_SUCCESS ||
      count < 3 || count > kMostDims ||
      (format != CUDNN_TENSOR_NCHW && format != CUDNN_TENSOR_NHWC)) {
    return std::nullopt;
  }
  TensorRecord filter;
  filter.type = type;
  filter.alignment = core::kMaxAlignment;
  filter.dim_count = filter.stride_count = static_cast<std::size_t>(count);
  std::copy_n(dims.begin(), count, filter.dims.begin());
  // Packed; with NHWC the channels are innermost, behind the last spatial axis.
  const auto last = static_cast<std::size_t>(count) - 1;
  std::int64_t stride = 1;
  if (format == CUDNN_TENSOR_NHWC) {
    filter.strides[1] = 1;
    stride = filter.dims[1];
  }
  const std::size_t innermost_left = format == CUDNN_TENSOR_NHWC ? 2 : 1;
  for (std::size_t axis = last; axis >= innermost_left; --axis) {
    filter.strides[axis] = stride;
    stride *= filter.dims[axis];
  }
  filter.strides[0] = stride;
  return filter;
}

std::optional<ConvolutionRecord> read(const Readers& real,
                                      cudnnConvolutionDescriptor_t descriptor) {
  std::array<int, kMostDims> pad{};
  std::array<int, kMostDims> stride{};
  std::array<int, kMostDims> dilation{};
  cudnnConvolutionMode_t mode{};
  cudnnDataType_t type{};
  int rank = 0;
  if (real.convolution(descriptor,
                       kMostDims - 2,
                       &rank,
                       pad.data(),
                       stride.data(),
                       dilation.data(),
                       &mode,
                       &type) != CUDNN_STATUS_SUCCESS ||
      rank < 1 || rank > 3) {
    return std::nullopt;
  }
  ConvolutionRecord convolution;
  convolution.compute_type = type;
  convolution.mode = mode;
  convolution.rank = rank;
  std::copy_n(pad.begin(), rank, convolution.pad_before.begin());
  std::copy_n(pad.begin(), rank, convolution.pad_after.begin());
  std::copy_n(stride.begin(), rank, convolution.stride.begin());
  std::copy_n(dilation.begin(), rank, convolution.dilation.begin());
  return convolution;
}

// Whether an application with this mathematics would run the engine at all.
bool allowed(const core::DecisionEntry& entry, cudnnMathType_t math) {
  return math != CUDNN_FMA_MATH || (entry.numerical_notes & core::numerical_note::kTensorCore) == 0;
}

}  // namespace

std::optional<core::Problem> problem_of(const LegacyProblem& legacy) {
  const Readers* real = readers();
  if (real == nullptr) {
    return std::nullopt;
  }
  OperationRecord operation;
  operation.operation = legacy.operation;
  operation.convolution = read(*real, legacy.convolution);
  operation.x = read(*real, legacy.x);
  operation.w = read(*real, legacy.w);
  operation.y = read(*real, legacy.y);
  return problem_of(operation);
}

cudnnMathType_t math_type_of(const LegacyProblem& legacy) {
  cudnnMathType_t math = CUDNN_DEFAULT_MATH;
  const Readers* real = readers();
  if (real == nullptr || real->math(legacy.convolution, &math) != CUDNN_STATUS_SUCCESS) {
    return CUDNN_DEFAULT_MATH;
  }
  return math;
}

Method method_of(core::Operation operation, int algorithm) {
  switch (operation) {
    case core::Operation::kForward:
      return algorithm == CUDNN_CONVOLUTION_FWD_ALGO_FFT ||
                     algorithm == CUDNN_CONVOLUTION_FWD_ALGO_FFT_TILING
                 ? Method::kFft
             : algorithm == CUDNN_CONVOLUTION_FWD_ALGO_WINOGRAD ||
                     algorithm == CUDNN_CONVOLUTION_FWD_ALGO_WINOGRAD_NONFUSED
                 ? Method::kWinograd
                 : Method::kGemm;
    case core::Operation::kDataGradient:
      return algorithm == CUDNN_CONVOLUTION_BWD_DATA_ALGO_FFT ||
                     algorithm == CUDNN_CONVOLUTION_BWD_DATA_ALGO_FFT_TILING
                 ? Method::kFft
             : algorithm == CUDNN_CONVOLUTION_BWD_DATA_ALGO_WINOGRAD ||
                     algorithm == CUDNN_CONVOLUTION_BWD_DATA_ALGO_WINOGRAD_NONFUSED
                 ? Method::kWinograd
                 : Method::kGemm;
    default:
      return algorithm == CUDNN_CONVOLUTION_BWD_FILTER_ALGO_FFT ||
                     algorithm == CUDNN_CONVOLUTION_BWD_FILTER_ALGO_FFT_TILING
                 ? Method::kFft
             : algorithm == CUDNN_CONVOLUTION_BWD_FILTER_ALGO_WINOGRAD ||
                     algorithm == CUDNN_CONVOLUTION_BWD_FILTER_ALGO_WINOGRAD_NONFUSED
                 ? Method::kWinograd
                 : Method::kGemm;
  }
}

Method method_of(const core::DecisionEntry& entry) {
  return (entry.numerical_notes & core::numerical_note::kFft) != 0        ? Method::kFft
         : (entry.numerical_notes & core::numerical_note::kWinograd) != 0 ? Method::kWinograd
                                                                          : Method::kGemm;
}

std::optional<Method> better_method(const core::Decision& decision,
                                    Method first_choice,
                                    cudnnMathType_t math) {
  if (decision.source != core::Source::kMeasured && decision.source != core::Source::kFrozen) {
    return std::nullopt;
  }
  const float never = std::numeric_limits<float>::infinity();
  std::array<float, 3> best{never, never, never};
  for (const core::DecisionEntry& entry : decision.entries) {
    float& time = best[static_cast<std::size_t>(method_of(entry))];
    if (allowed(entry, math) && entry.time_us < time) {
      time = entry.time_us;
    }
  }
  const auto fastest = std::min_element(best.begin(), best.end());
  const auto method = static_cast<Method>(fastest - best.begin());
  const float present = best[static_cast<std::size_t>(first_choice)];
  // A method without a measured time may not have been listed: it is left alone.
  const bool worth = method != first_choice && present < never &&
                     static_cast<double>(*fastest) < kWorthChanging * present;
  return worth ? std::optional(method) : std::nullopt;
}

}  // namespace reformer::shim
