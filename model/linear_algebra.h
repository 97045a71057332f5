#pragma once

#include "model/kernels.h"

#include <cstddef>

// Matrix products for training. float goes through the kernels of the host's instruction set;
// double (only the tests of the gradients need it) through plain loops.
namespace reformer::model {

enum class Accumulate : bool { kNo, kYes };

template <typename T>
void multiply(const GemmShape& shape, const T* a, const T* b, T* c, Accumulate accumulate);

// c [m][n] = a [m][k] * b [k][n]
template <typename T>
void multiply_nn(std::size_t m,
                 std::size_t n,
                 std::size_t k,
                 const T* a,
                 const T* b,
                 T* c,
                 Accumulate accumulate = Accumulate::kNo) {
  multiply(GemmShape{Transpose::kNo, Transpose::kNo, m, n, k, k, n, n}, a, b, c, accumulate);
}
// c [m][n] = a [m][k] * b^T, b [n][k]
template <typename T>
void multiply_nt(std::size_t m,
                 std::size_t n,
                 std::size_t k,
                 const T* a,
                 const T* b,
                 T* c,
                 Accumulate accumulate = Accumulate::kNo) {
  multiply(GemmShape{Transpose::kNo, Transpose::kYes, m, n, k, k, k, n}, a, b, c, accumulate);
}
// c [m][n] = a^T * b, a [k][m], b [k][n]
template <typename T>
void multiply_tn(std::size_t m,
                 std::size_t n,
                 std::size_t k,
                 const T* a,
                 const T* b,
                 T* c,
                 Accumulate accumulate = Accumulate::kNo) {
  multiply(GemmShape{Transpose::kYes, Transpose::kNo, m, n, k, m, n, n}, a, b, c, accumulate);
}

// Each row of y [rows][columns] becomes `bias`.
template <typename T>
void fill_rows(const T* bias, std::size_t rows, std::size_t columns, T* y) {
  for (std::size_t row = 0; row < rows; ++row) {
    for (std::size_t column = 0; column < columns; ++column) {
      y[row * columns + column] = bias[column];
    }
  }
}

// sum += column sums of x [rows][columns]
template <typename T>
void add_column_sums(const T* x, std::size_t rows, std::size_t columns, T* sum) {
  for (std::size_t row = 0; row < rows; ++row) {
    for (std::size_t column = 0; column < columns; ++column) {
      sum[column] += x[row * columns + column];
    }
  }
}

template <typename T>
void relu(T* x, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    x[i] = x[i] > T(0) ? x[i] : T(0);
  }
}

// d becomes 0 where the relu's output y is 0.
template <typename T>
void relu_backward(const T* y, std::size_t count, T* d) {
  for (std::size_t i = 0; i < count; ++i) {
    d[i] = y[i] > T(0) ? d[i] : T(0);
  }
}

}  // namespace reformer::model
