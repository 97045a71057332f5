#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

namespace reformer::core {

// The numbers of these enumerations are part of the wire, shared-memory and database formats:
// append, never renumber.

enum class Operation : std::uint8_t { kForward = 0, kDataGradient = 1, kFilterGradient = 2 };

enum class DataType : std::uint8_t {
  kF32 = 0,
  kF64 = 1,
  kF16 = 2,
  kBf16 = 3,
  kI8 = 4,
  kU8 = 5,
  kI32 = 6,
  kI64 = 7,
  kFp8E4m3 = 8,
  kFp8E5m2 = 9,
  kFastFloatForFp8 = 10,  // a compute type only
};
inline constexpr int kDataTypeCount = 11;

enum class ConvolutionMode : std::uint8_t { kCrossCorrelation = 0, kConvolution = 1 };

// Short names as they appear in problem text and JSON: "fwd", "f16", "xcorr".
[[nodiscard]] std::string_view to_string(Operation operation);
[[nodiscard]] std::string_view to_string(DataType type);
[[nodiscard]] std::string_view to_string(ConvolutionMode mode);
[[nodiscard]] std::optional<Operation> parse_operation(std::string_view text);
[[nodiscard]] std::optional<DataType> parse_data_type(std::string_view text);
[[nodiscard]] std::optional<ConvolutionMode> parse_convolution_mode(std::string_view text);

// Bytes of one element.
[[nodiscard]] int size_of(DataType type);

// cuDNN's numerical notes (cudnnBackendNumericalNote_t) and behaviour notes
// (cudnnBackendBehaviorNote_t) of an engine, as bits 1 << value. Values above 31 are dropped.
namespace numerical_note {
inline constexpr std::uint32_t kTensorCore = 1u << 0;
inline constexpr std::uint32_t kDownConvertInputs = 1u << 1;
inline constexpr std::uint32_t kReducedPrecisionReduction = 1u << 2;
inline constexpr std::uint32_t kFft = 1u << 3;
inline constexpr std::uint32_t kNondeterministic = 1u << 4;
inline constexpr std::uint32_t kWinograd = 1u << 5;
inline constexpr std::uint32_t kWinogradTile4x4 = 1u << 6;
inline constexpr std::uint32_t kWinogradTile6x6 = 1u << 7;
inline constexpr std::uint32_t kWinogradTile13x13 = 1u << 8;
inline constexpr std::uint32_t kStrictNanProp = 1u << 9;
}  // namespace numerical_note
namespace behavior_note {
inline constexpr std::uint32_t kRuntimeCompilation = 1u << 0;
inline constexpr std::uint32_t kRequiresFilterInt8x32Reorder = 1u << 1;
inline constexpr std::uint32_t kRequiresBiasInt8x32Reorder = 1u << 2;
inline constexpr std::uint32_t kSupportsCudaGraphNativeApi = 1u << 3;
inline constexpr std::uint32_t kCublasltDependency = 1u << 4;
// Not cuDNN's: a model has seen cuDNN list this configuration for few problems (a split or a grid
// that cuDNN chooses for each problem), so that cuDNN may refuse it for this one. A client that
// offers it to others tries it first.
inline constexpr std::uint32_t kRarelyListed = 1u << 31;
// Not cuDNN's: this entry of an answer takes, or is expected to take, more than twice the time of
// the answer's first. It is there for applications that refuse the others; where the first does
// not exist, cuDNN's own choice is better.
inline constexpr std::uint32_t kFarBehind = 1u << 30;
}  // namespace behavior_note
// The notes of what applications refuse of an f32 problem's candidates, each more than the one
// before: nothing; TF32, and so tensor cores; non-deterministic engines besides. No application
// says which: what it is answered must be right for each.
inline constexpr std::array<std::uint32_t, 3> kF32Refusals = {
    0,
    numerical_note::kTensorCore,
    numerical_note::kTensorCore | numerical_note::kNondeterministic};

}  // namespace reformer::core
