// What stands in for BLAS and LAPACK in a build without them.
#include <algorithm>
#include <vector>

#include "cpu/backend.h"
#include "cpu/blas.h"
#include "cpu/scalar.h"
#include "graph/check.h"

namespace cermet::cpu {

// Over k in blocks of 2048: each is summed ascending, then added to what came before. A strip of b
// is made row-major first, so that loops run along its rows.
template <class T>
void blas_gemm(const Matrix<T>& a, const Matrix<T>& b, T* c, std::int64_t c_step, std::int64_t m,
               std::int64_t n, std::int64_t k, bool accumulate) {
  constexpr std::int64_t kDepth = 2048, kWidth = 64, kRows = 4;
  std::vector<T> strip(static_cast<std::size_t>(std::min(k, kDepth) * kWidth));
  for (std::int64_t p0 = 0; p0 < k; p0 += kDepth) {
    const std::int64_t depth = std::min(kDepth, k - p0);
    const bool add = accumulate || p0 > 0;
    for (std::int64_t j0 = 0; j0 < n; j0 += kWidth) {
      const std::int64_t width = std::min(kWidth, n - j0);
      for (std::int64_t p = 0; p < depth; ++p)
        for (std::int64_t j = 0; j < kWidth; ++j)
          strip[p * kWidth + j] = j < width ? *b.at(p0 + p, j0 + j) : T{};
      for (std::int64_t i0 = 0; i0 < m; i0 += kRows) {
        const std::int64_t rows = std::min(kRows, m - i0);
        T sums[kRows][kWidth] = {};
        for (std::int64_t p = 0; p < depth; ++p)
          for (std::int64_t r = 0; r < rows; ++r) {
            const T x = *a.at(i0 + r, p0 + p);
            const T* const y = strip.data() + p * kWidth;
            for (std::int64_t j = 0; j < kWidth; ++j)
              sums[r][j] = Add()(sums[r][j], Multiply()(x, y[j]));
          }
        for (std::int64_t r = 0; r < rows; ++r)
          for (std::int64_t j = 0; j < width; ++j) {
            T& to = c[(i0 + r) * c_step + j0 + j];
            to = add ? Add()(to, sums[r][j]) : sums[r][j];
          }
      }
    }
  }
}
template void blas_gemm(const Matrix<float>&, const Matrix<float>&, float*, std::int64_t,
                        std::int64_t, std::int64_t, std::int64_t, bool);
template void blas_gemm(const Matrix<double>&, const Matrix<double>&, double*, std::int64_t,
                        std::int64_t, std::int64_t, std::int64_t, bool);
template void blas_gemm(const Matrix<complex64_t>&, const Matrix<complex64_t>&, complex64_t*,
                        std::int64_t, std::int64_t, std::int64_t, std::int64_t, bool);

void factorize(const Factorization& p, std::span<const Tensor>, std::span<const Tensor>) {
  fail(p.op, "needs LAPACK, and this library was built without it (CERMET_BLAS=OFF)");
}

}  // namespace cermet::cpu
