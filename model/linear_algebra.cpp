#include "model/linear_algebra.h"

namespace reformer::model {

template <>
void multiply<float>(
    const GemmShape& shape, const float* a, const float* b, float* c, Accumulate accumulate) {
  best_kernels().gemm(shape, a, b, c, accumulate == Accumulate::kYes);
}

template <>
void multiply<double>(
    const GemmShape& shape, const double* a, const double* b, double* c, Accumulate accumulate) {
  for (std::size_t i = 0; i < shape.m; ++i) {
    for (std::size_t j = 0; j < shape.n; ++j) {
      double sum = accumulate == Accumulate::kYes ? c[i * shape.ldc + j] : 0.0;
      for (std::size_t l = 0; l < shape.k; ++l) {
        sum += a[shape.a == Transpose::kYes ? l * shape.lda + i : i * shape.lda + l] *
               b[shape.b == Transpose::kYes ? j * shape.ldb + l : l * shape.ldb + j];
      }
      c[i * shape.ldc + j] = sum;
    }
  }
}

}  // namespace reformer::model
