// Matrix products.
//
// BLAS runs on the calling thread, and Cermet's pool spreads tiles of the output over it: there is
// one pool of threads, and calls from several threads at once are safe. Tiles follow from the shape
// alone, so that the number of threads changes no bit; nor does the layout of the operands. Halves
// are widened a panel at a time.
#include "cpu/matmul.h"

#include "cermet/eval.h"
#include "cpu/blas.h"
#include "cpu/half.h"
#include "cpu/layout.h"
#include "cpu/primitives.h"
#include "cpu/scalar.h"

namespace cermet::cpu {
namespace {

template <class T>
inline constexpr bool kHasBlas = std::is_floating_point_v<T> || kIsComplex<T>;

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
  // Where the operands of a batch entry begin.
  std::array<std::int64_t, 2> at(std::int64_t entry) const { return Walk<2>(batch, entry).offset; }
  std::int64_t m, n, k, batches;
  Domain<2> batch;
};

// True when BLAS can read the last two axes as they are: by rows, or else by columns.
bool is_matrix(const Tensor& t, bool by_rows) {
  const std::size_t i = t.shape.size() - 2, j = i + 1;
  const std::size_t along = by_rows ? j : i, across = by_rows ? i : j;
  return (t.strides[along] == 1 || t.shape[along] == 1) &&
         (t.strides[across] >= t.shape[along] || t.shape[across] == 1);
}
bool is_matrix(const Tensor& t) { return is_matrix(t, true) || is_matrix(t, false); }

template <class T>
Matrix<T> as_matrix(const Tensor& t) {
  const std::size_t i = t.shape.size() - 2, j = i + 1;
  const bool by_rows = is_matrix(t, true);
  const std::size_t along = by_rows ? j : i, across = by_rows ? i : j;
  const std::int64_t step = t.shape[across] == 1 ? t.shape[along] : t.strides[across];
  return {data<const T>(t), std::max<std::int64_t>(1, step), !by_rows};
}

// A tile of the output: the same part of `batches` matrices.
struct Tile {
  std::int64_t batch, batches, row, rows, column, columns;
};

// Calls body(tile) for tiles of the output on the pool's threads: whole matrices where the batch is
// large enough, several where they are small.
template <class Body>
void for_each_tile(const Product& p, std::int64_t tile_rows, std::int64_t tile_columns,
                   Body&& body) {
  constexpr std::int64_t kSmall = 1024;  // elements
  const std::int64_t down = (p.m - 1) / tile_rows + 1, across = (p.n - 1) / tile_columns + 1;
  const std::int64_t tiles = down * across;
  const double work = static_cast<double>(std::min(tile_rows, p.m)) *
                      static_cast<double>(std::min(tile_columns, p.n)) * static_cast<double>(p.k);
  const auto grain = static_cast<std::int64_t>(1 + 1e6 / work);
  parallel_for(p.batches * tiles, grain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t count = 1; begin < end; begin += count) {
      const std::int64_t batch = begin / tiles, tile = begin % tiles;
      const std::int64_t i = tile / across * tile_rows, j = tile % across * tile_columns;
      if (tiles == 1)
        count = std::min(end - begin, std::max<std::int64_t>(1, kSmall / (p.m * p.n)));
      body(Tile{batch, count, i, std::min(tile_rows, p.m - i), j, std::min(tile_columns, p.n - j)});
    }
  });
}

// Up to this many multiplications some BLAS have kernels that differ by transposition.
constexpr double kSmallProduct = 1e6;

// How far apart the cuts of an extent are, given the other extent. A power of two of parts for even
// loads; not too small, since each part packs the whole other operand anew.
template <class T>
std::int64_t cut(std::int64_t extent, std::int64_t other) {
  const std::int64_t least = other < 256 ? 512 : 256;
  std::int64_t parts = 2;
  while (parts < 64 && extent / (2 * parts) >= least) parts *= 2;
  // The order of a real product with a vector depends on no cut.
  if (!kIsComplex<T> && other == 1) parts = get_num_threads();
  return std::max<std::int64_t>(64, ((extent - 1) / parts / 32 + 1) * 32);
}

// The same matrix row-major, in memory of `holder`.
template <class T>
Matrix<T> by_rows(const Matrix<T>& m, std::int64_t rows, std::int64_t columns,
                  std::optional<Workspace<T>>& holder) {
  if (!m.transposed) return m;
  T* const to = holder.emplace(rows * columns).get();
  transpose(m.data, m.step, to, columns, columns, rows);
  return {to, columns, false};
}

// One tile of a product: gemm, of whose bits the layout of the operands changes none.
template <class T>
void multiply_tile(Matrix<T> a, Matrix<T> b, T* c, std::int64_t c_step, std::int64_t m,
                   std::int64_t n, std::int64_t k, bool accumulate) {
  std::optional<Workspace<T>> a_holder, b_holder;
  const bool vector = !kIsComplex<T> && (m == 1 || n == 1);  // has an order of its own
  if (!vector && static_cast<double>(m) * n * k <= kSmallProduct) {
    a = by_rows(a, m, k, a_holder);
    b = by_rows(b, k, n, b_holder);
  }
  gemm(a, b, c, c_step, m, n, k, accumulate);
}

// The factors of a product, as its gemm reads them.
template <class T>
struct Factors {
  Factors(const Tensor& a, const Tensor& b, const Tensor& out)
      : product(a, b, out), a(as_matrix<T>(a)), b(as_matrix<T>(b)) {}
  Product product;
  Matrix<T> a, b;
};

// The results go to an epilogue, or without one to `out`.
template <class T>
void blas_product(std::span<const Factors<T>> all, T* out, const Epilogue* epilogue) {
  const Product& p = all[0].product;
  const bool small = static_cast<double>(p.m) * p.n * p.k <= kSmallProduct;
  const bool tall = p.m >= p.n;
  const auto multiply = [&](const Factors<T>& f, const Tile& t, T* to, std::int64_t step) {
    for (std::int64_t i = 0; i < t.batches; ++i) {
      const auto at = f.product.at(t.batch + i);
      multiply_tile(f.a.entry(at[0]).from(t.row, 0), f.b.entry(at[1]).from(0, t.column),
                    to + i * p.m * step, step, t.rows, t.columns, p.k, false);
    }
  };
  for_each_tile(p, tall && !small ? cut<T>(p.m, p.n) : p.m, tall || small ? p.n : cut<T>(p.n, p.m),
                [&](const Tile& t) {
                  if (!epilogue)
                    return multiply(all[0], t, out + (t.batch * p.m + t.row) * p.n + t.column, p.n);
                  const std::int64_t rows = t.batches * t.rows, elements = rows * t.columns;
                  const Workspace<T> memory(static_cast<std::int64_t>(all.size()) * elements);
                  FinishedTile tile{t.batch, t.row, rows, t.column, t.columns, {}, t.columns};
                  for (std::size_t k = 0; k < all.size(); ++k) {
                    T* const values = memory.get() + static_cast<std::int64_t>(k) * elements;
                    multiply(all[k], t, values, t.columns);
                    tile.values[k] = values;
                  }
                  (*epilogue)(tile);
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
void half_product(std::span<const Factors<T>> all, T* out, const Epilogue* epilogue) {
  const Product& p = all[0].product;
  // Panels that stay in the second-level cache when each element is used but a few times.
  const bool thin = std::min(p.m, p.n) <= 8;
  const std::int64_t tile = thin ? 64 : 512, depth = thin ? 512 : 2048;
  const std::int64_t tile_rows = std::min(tile, p.m), tile_columns = std::min(tile, p.n);
  const std::int64_t deepest = std::min(depth, p.k);
  for_each_tile(p, tile_rows, tile_columns, [&](const Tile& t) {
    const auto products = static_cast<std::int64_t>(all.size());
    const std::int64_t rows = t.batches * t.rows;
    const Workspace<float> memory((tile_rows + tile_columns) * deepest +
                                  products * rows * t.columns);
    float* const wide_x = memory.get();
    float* const wide_y = wide_x + tile_rows * deepest;
    float* sum = wide_y + tile_columns * deepest;
    FinishedTile finished{t.batch, t.row, rows, t.column, t.columns, {}, t.columns};
    for (std::size_t f = 0; f < all.size(); ++f) {
      finished.values[f] = sum;
      for (std::int64_t i = 0; i < t.batches; ++i, sum += t.rows * t.columns) {
        const auto at = all[f].product.at(t.batch + i);
        for (std::int64_t q = 0; q < p.k; q += depth) {
          const std::int64_t count = std::min(depth, p.k - q);
          multiply_tile(widen_panel(all[f].a.entry(at[0]), t.row, t.rows, q, count, wide_x),
                        widen_panel(all[f].b.entry(at[1]), q, count, t.column, t.columns, wide_y),
                        sum, t.columns, t.rows, t.columns, count, q > 0);
        }
      }
    }
    if (epilogue) return (*epilogue)(finished);
    const auto* from = static_cast<const float*>(finished.values[0]);
    T* const to = out + (t.batch * p.m + t.row) * p.n + t.column;
    for (std::int64_t r = 0; r < rows; ++r)
      CERMET_DISPATCH(from_floats(from + r * t.columns, to + r * p.n, t.columns));
  });
}

template <class T>
void integer_product(const Product& p, const Tensor& a, const Tensor& b, T* out) {
  const std::size_t i = a.shape.size() - 2;
  for_each_tile(p, 16, 512, [&](const Tile& t) {
    for (std::int64_t e = t.batch; e < t.batch + t.batches; ++e) {
      const auto at = p.at(e);
      plain_product(data<const T>(a) + at[0] + t.row * a.strides[i], a.strides[i], a.strides[i + 1],
                    data<const T>(b) + at[1] + t.column, b.strides[i],
                    out + (e * p.m + t.row) * p.n + t.column, p.n, t.rows, t.columns, p.k);
    }
  });
}

}  // namespace

template <class T>
void gemm(const Matrix<T>& a, const Matrix<T>& b, T* c, std::int64_t c_step, std::int64_t m,
          std::int64_t n, std::int64_t k, bool accumulate) {
  const bool vector = m == 1 || n == 1;  // has an order of its own
  if (!accumulate && !b.transposed && !vector && m * n * k <= 512)
    plain_product(a.data, a.transposed ? 1 : a.step, a.transposed ? a.step : 1, b.data, b.step, c,
                  c_step, m, n, k);
  else
    blas_gemm(a, b, c, c_step, m, n, k, accumulate);
}

template void gemm(const Matrix<float>&, const Matrix<float>&, float*, std::int64_t, std::int64_t,
                   std::int64_t, std::int64_t, bool);

namespace {

// Several products have a type with an epilogue.
void multiply(std::span<const Tensor> factors, const Tensor& out, const Epilogue* epilogue) {
  std::optional<Scratch> holders[4];
  visit(out.dtype, [&]<class T>(Type<T>) {
    if constexpr (kHasBlas<T> || kIsHalf<T>) {
      std::vector<Factors<T>> all;
      const auto matrix = [&](std::size_t i) {
        return is_matrix(factors[i]) ? factors[i] : dense(factors[i], holders[i]);
      };
      for (std::size_t i = 0; i < factors.size(); i += 2)
        all.push_back(Factors<T>(matrix(i), matrix(i + 1), out));
      if constexpr (kIsHalf<T>)
        half_product<T>(all, data<T>(out), epilogue);
      else
        blas_product<T>(all, data<T>(out), epilogue);
    } else {
      const Tensor &a = factors[0], &b = factors[1];
      const Tensor y = b.strides.back() == 1 || b.shape.back() == 1 ? b : dense(b, holders[1]);
      integer_product(Product(a, y, out), a, y, data<T>(out));
    }
  });
}

}  // namespace

void matmul(const Tensor& a, const Tensor& b, const Tensor& out) {
  if (a.shape.back() == 0) {
    std::fill_n(out.data, out.size() * static_cast<std::int64_t>(size_of(out.dtype)), std::byte{});
    return;
  }
  multiply(std::array{a, b}, out, nullptr);
}

void matmul(std::span<const Tensor> factors, const Tensor& out, const Epilogue& epilogue) {
  multiply(factors, out, &epilogue);
}

}  // namespace cermet::cpu
