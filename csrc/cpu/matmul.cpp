// Matrix products: which engine computes one, and how its operands are read.
#include "cpu/primitives.h"
#include "cpu/products/operands.h"
#include "cpu/scalar.h"

namespace cermet::cpu {
namespace {

// out = a @ b of integers by plain loops. `b` is row-major.
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
        for (std::int64_t j = 0; j < n; ++j) to[j] = Add()(to[j], Multiply()(x, from[j]));
      }
    }
  }
}

Domain<2> batch_of(const Tensor& a, const Tensor& b, const Tensor& out) {
  const std::size_t axes = out.shape.size() - 2;
  const auto leading = [&](const Strides& s) { return Strides(s.begin(), s.begin() + axes); };
  Domain<2> batch{Shape(out.shape.begin(), out.shape.begin() + axes),
                  {leading(a.strides), leading(b.strides)}};
  batch.collapse();
  return batch;
}

template <class T>
void integer_product(const Tensor& a, const Tensor& b, const Tensor& out) {
  const std::size_t i = a.shape.size() - 2;
  const std::int64_t m = a.shape[i], k = a.shape[i + 1], n = b.shape[i + 1];
  const Domain<2> batch = batch_of(a, b, out);
  constexpr std::int64_t kRows = 16;
  const std::int64_t parts = (m - 1) / kRows + 1;
  parallel_for(batch.size() * parts, grain_for(kRows * n * k),
               [&](std::int64_t begin, std::int64_t end) {
                 for (; begin < end; ++begin) {
                   const auto offset = Walk<2>(batch, begin / parts).offset;
                   const std::int64_t row = begin % parts * kRows;
                   plain_product(data<const T>(a) + offset[0] + row * a.strides[i], a.strides[i],
                                 a.strides[i + 1], data<const T>(b) + offset[1], b.strides[i],
                                 data<T>(out) + (begin / parts * m + row) * n, n,
                                 std::min(kRows, m - row), n, k);
                 }
               });
}

// The product as the engine takes it.
Product product_of(const Tensor& a, const Tensor& b, const Tensor& out) {
  Product p = operands_of(a, b);
  p.batch = batch_of(a, b, out);
  if (p.n == 1 && p.m > 1) {  // a column is a row of the transposed product
    std::swap(p.a, p.b);
    std::swap(p.m, p.n);
    std::swap(p.batch.strides[0], p.batch.strides[1]);
  }
  return p;
}

}  // namespace

Product operands_of(const Tensor& a, const Tensor& b) {
  const std::size_t i = a.shape.size() - 2, j = b.shape.size() - 2;
  const ProductKernels& kernels = product_kernels();
  Product p{&kernels.f32,
            {Packing::f32, a.data, a.strides[i], a.strides[i + 1]},
            {Packing::f32, b.data, b.strides[j + 1], b.strides[j]},
            a.shape[i],
            b.shape[j + 1],
            a.shape[i + 1],
            {}};
  const auto read = [&](Packing left, Packing right, const BlockKernel& kernel) {
    p.a.packing = left, p.b.packing = right, p.kernel = &kernel;
  };
  switch (a.dtype) {
    case float64: read(Packing::f64, Packing::f64, kernels.f64); break;
    case float16: read(Packing::f16, Packing::f16, kernels.f32); break;
    case bfloat16:
      if (kernels.bf16_pairs.multiply)
        read(Packing::bf16_pairs, Packing::bf16_pairs, kernels.bf16_pairs);
      else
        read(Packing::bf16, Packing::bf16, kernels.f32);
      break;
    case complex64:
      read(Packing::c64, Packing::c64, kernels.f32);
      p.n *= 2, p.k *= 2;
      break;
    default: break;
  }
  return p;
}

void matmul(const Tensor& a, const Tensor& b, const Tensor& out) {
  if (a.shape.back() == 0) {
    std::fill_n(out.data, out.size() * static_cast<std::int64_t>(size_of(out.dtype)), std::byte{});
    return;
  }
  visit(out.dtype, [&]<class T>(Type<T>) {
    if constexpr (std::is_floating_point_v<T> || kIsHalf<T> || kIsComplex<T>) {
      store_product(product_of(a, b, out), out);
    } else {
      std::optional<Scratch> holder;
      integer_product<T>(a, b.strides.back() == 1 || b.shape.back() == 1 ? b : dense(b, holder),
                         out);
    }
  });
}

void matmul(std::span<const Tensor> inputs, const Tensor& out, const Epilogue& epilogue) {
  std::vector<Product> products;
  for (std::size_t i = 0; i < inputs.size(); i += 2)
    products.push_back(product_of(inputs[i], inputs[i + 1], out));
  if (out.dtype == complex64)  // from numbers to elements
    return multiply(products, [&](FinishedTile t) {
      t.column /= 2, t.columns /= 2, t.step /= 2;
      epilogue(t);
    });
  if (out.shape.back() == 1)  // from a row to a column
    return multiply(products, [&](const FinishedTile& t) {
      epilogue({t.batch, t.column, t.rows * t.columns, 0, 1, t.values, 1});
    });
  multiply(products, epilogue);
}

}  // namespace cermet::cpu
