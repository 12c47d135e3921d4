// Products of a matrix and a vector: all of it is reading the matrix once.
#include "cpu/vector_product.h"

namespace cermet::cpu::CERMET_ISA {
namespace {

template <class T>
inline constexpr std::int64_t kLanes = 64 / sizeof(T);
constexpr std::int64_t kStrip = 2048;  // columns whose partial results stay in the cache

// a * b + c, rounded once where the machine can.
inline float multiply_add(float a, float b, float c) {
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
  return __builtin_fmaf(a, b, c);
#else
  return a * b + c;
#endif
}
inline double multiply_add(double a, double b, double c) {
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
  return __builtin_fma(a, b, c);
#else
  return a * b + c;
#endif
}

// Lanes fold halves onto halves; the result is lane 0's.
template <class T>
T fold(T* lanes) {
  for (std::int64_t w = kLanes<T> / 2; w > 0; w /= 2)
    for (std::int64_t l = 0; l < w; ++l) lanes[l] += lanes[l + w];
  return lanes[0];
}

// Of `count` rows.
template <class T>
void dot_rows(const T* matrix, std::int64_t step, const T* x, T* y, std::int64_t count,
              std::int64_t k, bool accumulate) {
  constexpr std::int64_t lanes = kLanes<T>;
  const std::int64_t whole = k / lanes * lanes;
  const auto finish = [&](T* sums, const T* row, T& to) {
    for (std::int64_t l = 0; whole + l < k; ++l)
      sums[l] = multiply_add(x[whole + l], row[whole + l], sums[l]);
    const T sum = fold(sums);
    to = accumulate ? to + sum : sum;
  };
  // Four rows at a time hide the latency of an addition.
  for (; count >= 4; count -= 4, matrix += 4 * step, y += 4) {
    const T *const row0 = matrix, *const row1 = row0 + step, *const row2 = row1 + step,
                   *const row3 = row2 + step;
    T sums0[lanes] = {}, sums1[lanes] = {}, sums2[lanes] = {}, sums3[lanes] = {};
    for (std::int64_t p = 0; p < whole; p += lanes)
      for (std::int64_t l = 0; l < lanes; ++l) {
        sums0[l] = multiply_add(x[p + l], row0[p + l], sums0[l]);
        sums1[l] = multiply_add(x[p + l], row1[p + l], sums1[l]);
        sums2[l] = multiply_add(x[p + l], row2[p + l], sums2[l]);
        sums3[l] = multiply_add(x[p + l], row3[p + l], sums3[l]);
      }
    finish(sums0, row0, y[0]);
    finish(sums1, row1, y[1]);
    finish(sums2, row2, y[2]);
    finish(sums3, row3, y[3]);
  }
  for (; count > 0; --count, matrix += step, ++y) {
    T sums[lanes] = {};
    for (std::int64_t p = 0; p < whole; p += lanes)
      for (std::int64_t l = 0; l < lanes; ++l)
        sums[l] = multiply_add(x[p + l], matrix[p + l], sums[l]);
    finish(sums, matrix, *y);
  }
}

// Of `width` columns; lane by lane, so that a partial result is loaded once for several rows.
template <class T>
void add_columns(const T* matrix, std::int64_t step, const T* x, T* y, std::int64_t width,
                 std::int64_t k, bool accumulate) {
  constexpr std::int64_t lanes = kLanes<T>, rows = 8;
  T sums[lanes][kStrip];
  for (T* sum : sums)
    for (std::int64_t j = 0; j < width; ++j) sum[j] = 0;
  for (std::int64_t p0 = 0; p0 < k; p0 += lanes * rows)
    for (std::int64_t l = 0; l < lanes; ++l) {
      T* const sum = sums[l];
      std::int64_t p = p0 + l;
      if (p + (rows - 1) * lanes < k) {
        const T* m[rows];
        T v[rows];
        for (std::int64_t r = 0; r < rows; ++r) {
          m[r] = matrix + (p + r * lanes) * step;
          v[r] = x[p + r * lanes];
        }
        for (std::int64_t j = 0; j < width; ++j) {
          T s = sum[j];
          for (std::int64_t r = 0; r < rows; ++r) s = multiply_add(v[r], m[r][j], s);
          sum[j] = s;
        }
        continue;
      }
      for (; p < k && p < p0 + lanes * rows; p += lanes)
        for (std::int64_t j = 0; j < width; ++j)
          sum[j] = multiply_add(x[p], matrix[p * step + j], sum[j]);
    }
  for (std::int64_t w = lanes / 2; w > 0; w /= 2)
    for (std::int64_t l = 0; l < w; ++l)
      for (std::int64_t j = 0; j < width; ++j) sums[l][j] += sums[l + w][j];
  for (std::int64_t j = 0; j < width; ++j) y[j] = accumulate ? y[j] + sums[0][j] : sums[0][j];
}

template <class T>
void product(const T* matrix, std::int64_t step, bool by_rows, const T* x, T* y, std::int64_t rows,
             std::int64_t k, bool accumulate) {
  if (by_rows) return dot_rows(matrix, step, x, y, rows, k, accumulate);
  for (std::int64_t i = 0; i < rows; i += kStrip)
    add_columns(matrix + i, step, x, y + i, rows - i < kStrip ? rows - i : kStrip, k, accumulate);
}

}  // namespace

void vector_product(const float* matrix, std::int64_t step, bool by_rows, const float* x, float* y,
                    std::int64_t rows, std::int64_t k, bool accumulate) {
  product(matrix, step, by_rows, x, y, rows, k, accumulate);
}
void vector_product(const double* matrix, std::int64_t step, bool by_rows, const double* x,
                    double* y, std::int64_t rows, std::int64_t k, bool accumulate) {
  product(matrix, step, by_rows, x, y, rows, k, accumulate);
}

}  // namespace cermet::cpu::CERMET_ISA
