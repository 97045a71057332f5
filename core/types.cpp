#include "core/types.h"

#include <array>
#include <cstddef>

namespace reformer::core {
namespace {

constexpr std::array<std::string_view, 3> kOperations{"fwd", "dgrad", "wgrad"};
constexpr std::array<std::string_view, kDataTypeCount> kDataTypes{
    "f32", "f64", "f16", "bf16", "i8", "u8", "i32", "i64", "e4m3", "e5m2", "fp8f32"};
constexpr std::array<std::string_view, 2> kModes{"xcorr", "conv"};

template <typename Enum, std::size_t kCount>
std::string_view name_of(const std::array<std::string_view, kCount>& names, Enum value) {
  const auto index = static_cast<std::size_t>(value);
  return index < kCount ? names[index] : std::string_view("?");
}

template <typename Enum, std::size_t kCount>
std::optional<Enum> find(const std::array<std::string_view, kCount>& names, std::string_view text) {
  for (std::size_t i = 0; i < kCount; ++i) {
    if (names[i] == text) {
      return static_cast<Enum>(i);
    }
  }
  return std::nullopt;
}

}  // namespace

std::string_view to_string(Operation operation) {
  return name_of(kOperations, operation);
}
std::string_view to_string(DataType type) {
  return name_of(kDataTypes, type);
}
std::string_view to_string(ConvolutionMode mode) {
  return name_of(kModes, mode);
}

std::optional<Operation> parse_operation(std::string_view text) {
  return find<Operation>(kOperations, text);
}
std::optional<DataType> parse_data_type(std::string_view text) {
  return find<DataType>(kDataTypes, text);
}
std::optional<ConvolutionMode> parse_convolution_mode(std::string_view text) {
  return find<ConvolutionMode>(kModes, text);
}

int size_of(DataType type) {
  switch (type) {
    case DataType::kF64:
    case DataType::kI64:
      return 8;
    case DataType::kF32:
    case DataType::kI32:
    case DataType::kFastFloatForFp8:
      return 4;
    case DataType::kF16:
    case DataType::kBf16:
      return 2;
    case DataType::kI8:
    case DataType::kU8:
    case DataType::kFp8E4m3:
    case DataType::kFp8E5m2:
      return 1;
  }
  return 0;
}

}  // namespace reformer::core
