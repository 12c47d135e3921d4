// Matrix products over plain memory: what matmul and quantized_matmul share.
#pragma once

#include <cstdint>

namespace cermet::cpu {

// A matrix of rows x columns that is contiguous along one of them: element (i, j) is at
// data[i * step + j], or data[j * step + i] when transposed.
template <class T>
struct Matrix {
  const T* data;
  std::int64_t step;
  bool transposed;

  const T* at(std::int64_t i, std::int64_t j) const {
    return data + (transposed ? j * step + i : i * step + j);
  }
  Matrix from(std::int64_t i, std::int64_t j) const { return {at(i, j), step, transposed}; }
  // The matrix of a batch that begins `offset` elements on.
  Matrix entry(std::int64_t offset) const { return {data + offset, step, transposed}; }
};

// c = a @ b, or c += a @ b, on the calling thread; c is (m, n) with rows c_step apart. T is float,
// double or complex64_t.
template <class T>
void gemm(const Matrix<T>& a, const Matrix<T>& b, T* c, std::int64_t c_step, std::int64_t m,
          std::int64_t n, std::int64_t k, bool accumulate = false);

}  // namespace cermet::cpu
