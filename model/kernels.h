#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

// The arithmetic that is worth an instruction set of its own. kernels_isa.cpp is compiled once for
// each instruction set, everything else of the project for the baseline (x86-64-v2).
namespace reformer::model {

// Columns of one panel of a packed matrix (see pack_panels), in floats: one AVX-512 register.
inline constexpr std::size_t kPanelColumns = 16;

[[nodiscard]] constexpr std::size_t padded_columns(std::size_t columns) {
  return (columns + kPanelColumns - 1) / kPanelColumns * kPanelColumns;
}

enum class Transpose : std::uint8_t { kNo, kYes };
enum class Activation : std::uint8_t { kNone, kRelu };

// Row-major matrices; leading dimensions in elements.
struct GemmShape {
  Transpose a = Transpose::kNo;
  Transpose b = Transpose::kNo;
  std::size_t m = 0;  // rows of c
  std::size_t n = 0;  // columns of c
  std::size_t k = 0;
  std::size_t lda = 0;
  std::size_t ldb = 0;
  std::size_t ldc = 0;
};

// y[s] = activation(bias + x[s] * W) for every sample s.
struct DenseArguments {
  const float* weights = nullptr;               // panels: [columns / 16][rows][16]
  const std::uint16_t* half_weights = nullptr;  // the same as float16, instead of `weights`
  const float* bias = nullptr;                  // [columns]; null: what y holds before is the bias
  std::size_t rows = 0;                         // inputs
  std::size_t columns = 0;                      // outputs, a multiple of kPanelColumns
  const float* x = nullptr;
  std::size_t x_stride = 0;  // floats between samples
  float* y = nullptr;
  std::size_t y_stride = 0;
  std::size_t samples = 0;
  Activation activation = Activation::kNone;
};

// What a softmax over logits looks like.
struct LogitSummary {
  float first = 0;     // the largest
  float second = 0;    // the next one, which may be as large; far below without one
  float sum = 0;       // of exp(logit - first)
  float weighted = 0;  // of exp(logit - first) * (logit - first)
};

// How far values are from 0.
struct Spread {
  float furthest = 0;  // the largest |x|
  float squares = 0;   // sum of x^2
  float beyond = 0;    // sum of what |x| is over the limit
};

struct AdamStep {
  float rate = 0;   // learning rate of this step
  float decay = 0;  // rate * weight decay: parameters shrink by this share
  float beta1 = 0;
  float beta2 = 0;
  float correction1 = 1;  // 1 / (1 - beta1^t)
  float correction2 = 1;  // 1 / (1 - beta2^t)
  float epsilon = 1e-8F;
};

// One instruction set's implementation. Pure functions on caller's memory, any number of threads.
// Nothing but gemm (Eigen's packing buffers) allocates. Results differ between instruction sets in
// the last bits, never between runs.
struct Kernels {
  const char* name;  // "x86-64-v2", "x86-64-v3" (AVX2, FMA), "x86-64-v4" (AVX-512)
  // c = a * b, or c += a * b where accumulate.
  void (*gemm)(const GemmShape& shape, const float* a, const float* b, float* c, bool accumulate);
  void (*dense)(const DenseArguments& arguments);
  void (*exp)(float* values, std::size_t count);   // in place; relative error below 3e-7
  void (*log2)(float* values, std::size_t count);  // in place; positive normal numbers only
  LogitSummary (*summarise)(const float* logits, std::size_t count);  // at least one
  Spread (*spread)(const float* values, std::size_t count, float limit);
  // Indices of the `top` largest values, largest first, equal ones by index; how many there are.
  std::size_t (*select_top)(const float* values,
                            std::size_t count,
                            std::size_t top,
                            std::uint32_t* indices);
  void (*adamw)(const AdamStep& step,
                const float* gradient,
                float* m,
                float* v,
                float* parameters,
                std::size_t count);
};

// Those that this CPU runs, the fastest last.
[[nodiscard]] std::span<const Kernels* const> supported_kernels();
[[nodiscard]] const Kernels& best_kernels();

// Packs a row-major [rows][columns] matrix for `dense`, padding columns with zeros.
// `packed` has rows * padded_columns(columns) floats.
void pack_panels(const float* matrix, std::size_t rows, std::size_t columns, float* packed);

}  // namespace reformer::model
