// Matrix products.
//
// The library's BLAS runs on one thread, and Cermet's pool spreads tiles of the output over it:
// there is one pool of threads, and calls from several threads at once are safe. Halves are widened
// a panel at a time.
#include "cpu/matmul.h"

#include <complex>
#include <limits>
#include <stdexcept>
#include <string>
#ifdef __APPLE__
#include <Accelerate/Accelerate.h>
#define CERMET_BLAS(function) function
#else
#include <cblas.h>
#define CERMET_BLAS(function) scipy_##function
#endif

#include "cermet/eval.h"
#include "cpu/half.h"
#include "cpu/layout.h"
#include "cpu/primitives.h"
#include "cpu/scalar.h"

namespace cermet::cpu {
namespace {

template <class T>
inline constexpr bool kHasBlas = std::is_floating_point_v<T> || kIsComplex<T>;

template <class T>
void call_gemm(const Matrix<T>& a, const Matrix<T>& b, T* c, int c_step, int m, int n, int k,
               bool accumulate) {
  const auto ta = a.transposed ? CblasTrans : CblasNoTrans;
  const auto tb = b.transposed ? CblasTrans : CblasNoTrans;
  const int sa = static_cast<int>(a.step), sb = static_cast<int>(b.step);
  if constexpr (kIsComplex<T>) {
    // Accelerate's pointers have this type, OpenBLAS's are void.
    using Complex = std::complex<float>;
    const Complex one = 1, beta = accumulate ? 1 : 0;
    CERMET_BLAS(cblas_cgemm)
    (CblasRowMajor, ta, tb, m, n, k, &one, reinterpret_cast<const Complex*>(a.data), sa,
     reinterpret_cast<const Complex*>(b.data), sb, &beta, reinterpret_cast<Complex*>(c), c_step);
  } else if constexpr (std::is_same_v<T, float>) {
    CERMET_BLAS(cblas_sgemm)
    (CblasRowMajor, ta, tb, m, n, k, 1, a.data, sa, b.data, sb, accumulate ? 1 : 0, c, c_step);
  } else {
    CERMET_BLAS(cblas_dgemm)
    (CblasRowMajor, ta, tb, m, n, k, 1, a.data, sa, b.data, sb, accumulate ? 1 : 0, c, c_step);
  }
}

// y = M x with M of `rows` x `columns` stored row-major, or its transpose.
template <class T>
void call_gemv(bool transposed, const T* matrix, int step, int rows, int columns, const T* x,
               int x_step, T* y, int y_step, bool accumulate) {
  const auto t = transposed ? CblasTrans : CblasNoTrans;
  if constexpr (std::is_same_v<T, float>) CERMET_BLAS(cblas_sgemv)
  (CblasRowMajor, t, rows, columns, 1, matrix, step, x, x_step, accumulate ? 1 : 0, y, y_step);
  else CERMET_BLAS(cblas_dgemv)(CblasRowMajor, t, rows, columns, 1, matrix, step, x, x_step,
                                accumulate ? 1 : 0, y, y_step);
}

template <class T>
T product(T a, T b) {
  return Multiply()(a, b);
}

// out = a @ b by plain loops: for integers, and for floats too few for a call to pay off. `b` is
// row-major.
template <class T>
void plain_product(const T* a, std::int64_t a_row, std::int64_t a_column, const T* b,
                   std::int64_t b_step, T* out, std::int64_t out_step, std::int64_t m,
                   std::int64_t n, std::int64_t k) {
  constexpr std::int64_t kBlock = 64;  // rows of b kept in the cache for all rows of a
  for (std::int64_t i = 0; i < m; ++i) std::fill_n(out + i * out_step, n, T{});
  for (std::int64_t p0 = 0; p0 < k; p0 += kBlock) {
    for (std::int64_t i = 0; i < m; ++i) {
      T* to = out + i * out_step;
      for (std::int64_t p = p0; p < std::min(p0 + kBlock, k); ++p) {
        const T x = a[i * a_row + p * a_column];
        const T* from = b + p * b_step;
        for (std::int64_t j = 0; j < n; ++j) to[j] = Add()(to[j], product(x, from[j]));
      }
    }
  }
}

// The matrices of a batched product: operands as strides, and the loop over the batch.
struct Product {
  Product(const Tensor& a, const Tensor& b, const Tensor& out) {
    const std::size_t batch_axes = out.shape.size() - 2;
    m = out.shape[batch_axes];
    n = out.shape[batch_axes + 1];
    k = a.shape.back();
    auto leading = [&](const Strides& s) { return Strides(s.begin(), s.begin() + batch_axes); };
    batch = {Shape(out.shape.begin(), out.shape.begin() + batch_axes),
             {leading(a.strides), leading(b.strides)}};
    batch.collapse();
    batches = batch.size();
  }
  std::int64_t m, n, k, batches;
  Domain<2> batch;
};

// True when BLAS can read the last two axes as they are.
bool is_matrix(const Tensor& t) {
  const std::size_t i = t.shape.size() - 2, j = i + 1;
  auto contiguous = [&](std::size_t across, std::size_t along) {
    return (t.strides[along] == 1 || t.shape[along] == 1) &&
           (t.strides[across] >= t.shape[along] || t.shape[across] == 1);
  };
  return contiguous(i, j) || contiguous(j, i);
}

template <class T>
Matrix<T> as_matrix(const Tensor& t) {
  const std::size_t i = t.shape.size() - 2, j = i + 1;
  const bool by_rows =
      (t.strides[j] == 1 || t.shape[j] == 1) && (t.strides[i] >= t.shape[j] || t.shape[i] == 1);
  const std::int64_t along = by_rows ? j : i, across = by_rows ? i : j;
  const std::int64_t step = t.shape[across] == 1 ? t.shape[along] : t.strides[across];
  return {data<const T>(t), std::max<std::int64_t>(1, step), !by_rows};
}

// Calls body(a offset, b offset, batch, first row, rows, first column, columns) for tiles of the
// output on the pool's threads: whole matrices where the batch is large enough, else `tiles_of` it.
template <class Body>
void for_each_tile(const Product& p, std::int64_t tile_rows, std::int64_t tile_columns,
                   Body&& body) {
  const std::int64_t down = (p.m - 1) / tile_rows + 1, across = (p.n - 1) / tile_columns + 1;
  const std::int64_t tiles = down * across;
  const double work = static_cast<double>(std::min(tile_rows, p.m)) *
                      static_cast<double>(std::min(tile_columns, p.n)) * static_cast<double>(p.k);
  const auto grain = static_cast<std::int64_t>(1 + 1e6 / work);
  parallel_for(p.batches * tiles, grain, [&](std::int64_t begin, std::int64_t end) {
    for (; begin < end; ++begin) {
      const std::int64_t batch = begin / tiles, tile = begin % tiles;
      const auto offset = Walk<2>(p.batch, batch).offset;
      const std::int64_t i = tile / across * tile_rows, j = tile % across * tile_columns;
      body(offset[0], offset[1], batch, i, std::min(tile_rows, p.m - i), j,
           std::min(tile_columns, p.n - j));
    }
  });
}

// An extent cut in about `parts` multiples of 32.
std::int64_t cut(std::int64_t extent, std::int64_t parts) {
  return std::max<std::int64_t>(64, ((extent - 1) / parts / 32 + 1) * 32);
}

template <class T>
void blas_product(const Product& p, const Tensor& a, const Tensor& b, T* out) {
  const Matrix<T> x = as_matrix<T>(a), y = as_matrix<T>(b);
  const std::int64_t threads = get_num_threads();
  const bool small = static_cast<double>(p.m) * p.n * p.k < 1e6;
  const std::int64_t parts = p.batches >= threads || small ? 1 : threads;
  const bool tall = p.m >= p.n;
  for_each_tile(p, tall ? cut(p.m, parts) : p.m, tall ? p.n : cut(p.n, parts),
                [&](std::int64_t a0, std::int64_t b0, std::int64_t batch, std::int64_t i,
                    std::int64_t rows, std::int64_t j, std::int64_t columns) {
                  Matrix<T> xi = x, yi = y;
                  xi.data += a0;
                  yi.data += b0;
                  gemm(xi.from(i, 0), yi.from(0, j), out + (batch * p.m + i) * p.n + j, p.n, rows,
                       columns, p.k);
                });
}

// Widens the part of a matrix at (i, j) into `to`.
template <class T>
Matrix<float> widen_panel(const Matrix<T>& m, std::int64_t i, std::int64_t rows, std::int64_t j,
                          std::int64_t columns, float* to) {
  const std::int64_t runs = m.transposed ? columns : rows, n = m.transposed ? rows : columns;
  const T* from = m.at(i, j);
  for (std::int64_t r = 0; r < runs; ++r)
    CERMET_DISPATCH(to_floats(from + r * m.step, to + r * n, n));
  return {to, n, m.transposed};
}

template <class T>
void half_product(const Product& p, const Tensor& a, const Tensor& b, T* out) {
  const Matrix<T> x = as_matrix<T>(a), y = as_matrix<T>(b);
  // Panels that stay in the second-level cache when each element is used but a few times.
  const bool thin = std::min(p.m, p.n) <= 8;
  const std::int64_t tile = thin ? 64 : 512, depth = thin ? 512 : 2048;
  const std::int64_t tile_rows = std::min(tile, p.m), tile_columns = std::min(tile, p.n);
  const std::int64_t deepest = std::min(depth, p.k);
  for_each_tile(p, tile_rows, tile_columns,
                [&](std::int64_t a0, std::int64_t b0, std::int64_t batch, std::int64_t i,
                    std::int64_t rows, std::int64_t j, std::int64_t columns) {
                  const Workspace<float> memory((tile_rows + tile_columns) * deepest +
                                                tile_rows * tile_columns);
                  float* const wide_x = memory.get();
                  float* const wide_y = wide_x + tile_rows * deepest;
                  float* const sum = wide_y + tile_columns * deepest;
                  Matrix<T> xi = x, yi = y;
                  xi.data += a0;
                  yi.data += b0;
                  for (std::int64_t q = 0; q < p.k; q += depth) {
                    const std::int64_t count = std::min(depth, p.k - q);
                    gemm(widen_panel(xi, i, rows, q, count, wide_x),
                         widen_panel(yi, q, count, j, columns, wide_y), sum, columns, rows, columns,
                         count, q > 0);
                  }
                  for (std::int64_t r = 0; r < rows; ++r)
                    CERMET_DISPATCH(from_floats(sum + r * columns,
                                                out + (batch * p.m + i + r) * p.n + j, columns));
                });
}

template <class T>
void integer_product(const Product& p, const Tensor& a, const Tensor& b, T* out) {
  const std::size_t i = a.shape.size() - 2;
  for_each_tile(p, 16, 512,
                [&](std::int64_t a0, std::int64_t b0, std::int64_t batch, std::int64_t row,
                    std::int64_t rows, std::int64_t j, std::int64_t columns) {
                  plain_product(data<const T>(a) + a0 + row * a.strides[i], a.strides[i],
                                a.strides[i + 1], data<const T>(b) + b0 + j, b.strides[i],
                                out + (batch * p.m + row) * p.n + j, p.n, rows, columns, p.k);
                });
}

}  // namespace

void use_one_blas_thread() {
#ifndef __APPLE__
  static const bool once = (scipy_openblas_set_num_threads(1), true);
  (void)once;
#endif
}

template <class T>
void gemm(const Matrix<T>& a, const Matrix<T>& b, T* c, std::int64_t c_step, std::int64_t m,
          std::int64_t n, std::int64_t k, bool accumulate) {
  if (!accumulate && !b.transposed && m * n * k <= 512)
    return plain_product(a.data, a.transposed ? 1 : a.step, a.transposed ? a.step : 1, b.data,
                         b.step, c, c_step, m, n, k);
  use_one_blas_thread();
  for (std::int64_t e : {m, n, k, a.step, b.step, c_step})
    if (e > std::numeric_limits<int>::max())
      throw std::length_error("matmul: an extent or stride of " + std::to_string(e) +
                              " is more than the BLAS library takes");
  auto as_int = [](std::int64_t e) { return static_cast<int>(e); };
  if constexpr (!kIsComplex<T>) {
    if (n == 1)
      return call_gemv(a.transposed, a.data, as_int(a.step), as_int(a.transposed ? k : m),
                       as_int(a.transposed ? m : k), b.data, as_int(b.transposed ? 1 : b.step), c,
                       as_int(c_step), accumulate);
    if (m == 1)
      return call_gemv(!b.transposed, b.data, as_int(b.step), as_int(b.transposed ? n : k),
                       as_int(b.transposed ? k : n), a.data, as_int(a.transposed ? a.step : 1), c,
                       1, accumulate);
  }
  call_gemm(a, b, c, as_int(c_step), as_int(m), as_int(n), as_int(k), accumulate);
}

template void gemm(const Matrix<float>&, const Matrix<float>&, float*, std::int64_t, std::int64_t,
                   std::int64_t, std::int64_t, bool);

void matmul(const Tensor& a, const Tensor& b, const Tensor& out) {
  const Product p(a, b, out);
  if (p.k == 0) {
    std::fill_n(out.data, out.size() * static_cast<std::int64_t>(size_of(out.dtype)), std::byte{});
    return;
  }
  std::optional<Scratch> a_holder, b_holder;
  visit(out.dtype, [&]<class T>(Type<T>) {
    if constexpr (kHasBlas<T> || kIsHalf<T>) {
      const Tensor x = is_matrix(a) ? a : dense(a, a_holder);
      const Tensor y = is_matrix(b) ? b : dense(b, b_holder);
      const Product q(x, y, out);
      if constexpr (kIsHalf<T>)
        half_product(q, x, y, data<T>(out));
      else
        blas_product(q, x, y, data<T>(out));
    } else {
      const Tensor y = b.strides.back() == 1 || p.n == 1 ? b : dense(b, b_holder);
      integer_product(Product(a, y, out), a, y, data<T>(out));
    }
  });
}

}  // namespace cermet::cpu
