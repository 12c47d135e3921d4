// Products with quantized weights: how the engine reads them.
#include "cpu/products/operands.h"

#include <algorithm>
#include <list>

#include "cpu/primitives.h"

namespace cermet::cpu {
namespace {

WeightFormat format_of(const QuantizedFormat& p) {
  if (!p.is_affine()) return p.bits == 4 ? WeightFormat::e2m1 : WeightFormat::e4m3;
  return p.bits == 8 ? WeightFormat::i8 : static_cast<WeightFormat>(p.bits - 2);
}

// Whether the rows of matrices lie side by side, the matrices one behind the other.
bool lie_beside(const Tensor& t) {
  Shape shape = t.shape;
  Strides strides = t.strides;
  std::swap(shape.end()[-1], shape.end()[-2]);
  std::swap(strides.end()[-1], strides.end()[-2]);
  return is_row_major(shape, strides);
}

}  // namespace

QuantizedProduct::QuantizedProduct(const QuantizedFormat& p, std::span<const Tensor> inputs,
                                   const Tensor& out) {
  const std::int64_t w_rows = inputs[1].shape.end()[-2];
  const std::span<const Tensor> packed = inputs.subspan(1, p.parts());
  const bool beside = p.transpose && w_rows % kRowsBeside == 0 &&
                      std::all_of(packed.begin(), packed.end(), lie_beside);
  const auto placed = [&](std::size_t i) {
    return beside ? inputs[i] : dense(inputs[i], holders_[i - 1]);
  };
  const Tensor words = placed(1), scales = placed(2);
  const std::size_t axes = words.shape.size();
  const std::int64_t n = out.shape.back();
  weights_ = {data<const std::uint32_t>(words),
              data<const std::uint32_t>(words) + words.size(),
              scales.data,
              nullptr,
              scales.dtype,
              p.group_size,
              words.shape[axes - 1],
              scales.shape.back(),
              beside ? w_rows : 0};
  if (p.is_affine())
    weights_.biases = placed(3).data;
  else if (inputs.size() > p.parts() + 1)
    weights_.factor = *data<const float>(inputs.back()) / kGlobalUnit;
  std::int64_t matrices = 1;
  for (std::size_t i = 0; i + 2 < axes; ++i) matrices *= words.shape[i];

  // One matrix serves all rows of x; else each entry of the batch has its own.
  const Tensor x = dense(inputs[0], holders_[3]);
  const std::int64_t k = x.shape.back();
  const std::int64_t rows = element_count(Shape(x.shape.begin(), x.shape.end() - 1));
  const ProductKernels& kernels = product_kernels();
  const Packing type = x.dtype == float32   ? Packing::f32
                       : x.dtype == float16 ? Packing::f16
                                            : Packing::bf16;
  // Of bfloat16 pairs take fewer instructions for many rows, but where there are tiles of bytes.
  const bool quads = p.transpose && p.is_affine() && 8 % p.bits == 0 && kernels.quads.multiply &&
                     (type != Packing::bf16 || kernels.quads.by_rows);
  const bool pairs = p.transpose && type == Packing::bf16 && !quads && kernels.bf16_scaled.multiply;
  const BlockKernel& kernel = pairs         ? kernels.bf16_scaled
                              : quads       ? kernels.quads
                              : p.transpose ? kernels.f32_scaled
                                            : kernels.f32;
  const Packing right = pairs         ? Packing::weight_pairs
                        : quads       ? Packing::weight_quads
                        : p.transpose ? Packing::weights
                                      : Packing::weight_rows;
  Factor left{pairs ? Packing::bf16_pairs : type, x.data, k, 1};
  if (quads)
    left = {Packing::quads, rows_.emplace(kernel.slices * rows * k).get(), kernel.slices * k,
            kernel.slices};
  product_ = {
      &kernel,
      left,
      {packing_of(right, format_of(p)), reinterpret_cast<const std::byte*>(&weights_), 0, 0},
      rows / matrices,
      n,
      k,
      {{matrices}, {Strides{rows / matrices * left.width_step}, Strides{w_rows}}}};
  if (!p.transpose) return;
  const std::int64_t groups = k / p.group_size, parts = quads ? 2 : 1;
  product_.sums = {nullptr, parts * groups, p.group_size / kernel.numbers, parts};
  if (!p.is_affine()) return;
  product_.sums.data = sums_.emplace(rows * parts * groups).get();
  const std::size_t row_bytes = static_cast<std::size_t>(k) * size_of(x.dtype);
  parallel_for(rows, grain_for(k), [&](std::int64_t begin, std::int64_t end) {
    const std::byte* const from = x.data + static_cast<std::size_t>(begin) * row_bytes;
    float* const sums = sums_->get() + begin * parts * groups;
    const std::int64_t count = (end - begin) * groups;
    kernels.sum_groups[static_cast<int>(type)](from, p.group_size, count, sums, parts);
    if (quads)
      kernels.split_groups[static_cast<int>(type)](from, p.bits, p.group_size, count,
                                                   rows_->get() + begin * left.width_step, sums);
  });
}

void quantized_matmul(const QuantizedFormat& p, std::span<const Tensor> inputs, const Tensor& out) {
  store_product(QuantizedProduct(p, inputs, out).get(), out);
}

void quantized_matmul(const QuantizedFormat& p, std::size_t count, std::span<const Tensor> inputs,
                      const Tensor& out, const Epilogue& epilogue) {
  std::list<QuantizedProduct> memory;
  std::vector<Product> products;
  const std::size_t each = inputs.size() / count;
  for (std::size_t i = 0; i < count; ++i) {
    memory.emplace_back(p, inputs.subspan(i * each, each), out);
    products.push_back(memory.back().get());
  }
  multiply(products, epilogue);
}

}  // namespace cermet::cpu
