// Products with quantized weights: how the engine reads them.
#include <iterator>

#include "cpu/primitives.h"
#include "cpu/products/nest.h"

namespace cermet::cpu {
void quantized_matmul(const QuantizedFormat& p, std::span<const Tensor> inputs, const Tensor& out) {
  std::optional<Scratch> holders[4];
  const Tensor words = dense(inputs[1], holders[0]), scales = dense(inputs[2], holders[1]);
  const Tensor biases = dense(inputs[3], holders[2]);
  const std::size_t axes = words.shape.size();
  const std::int64_t w_rows = words.shape[axes - 2], row_words = words.shape[axes - 1];
  const std::int64_t row_groups = scales.shape.back();
  const QuantizedWeights weights{data<const std::uint32_t>(words),
                                 data<const std::uint32_t>(words) + words.size(),
                                 scales.data,
                                 biases.data,
                                 scales.dtype,
                                 p.group_size,
                                 row_words,
                                 row_groups};
  const std::int64_t n = out.shape.back();
  std::int64_t matrices = 1;
  for (std::size_t i = 0; i + 2 < axes; ++i) matrices *= words.shape[i];

  // One matrix serves all rows of x; else each entry of the batch has its own.
  const Tensor x = dense(inputs[0], holders[3]);
  const std::int64_t k = x.shape.back(), m = out.size() / n / matrices;
  const auto* const bits = std::find(std::begin(kWeightBits), std::end(kWeightBits), p.bits);
  const auto packing =
      static_cast<Packing>(static_cast<int>(p.transpose ? Packing::weights : Packing::weight_rows) +
                           static_cast<int>(bits - std::begin(kWeightBits)));
  const Packing left = x.dtype == float32   ? Packing::f32
                       : x.dtype == float16 ? Packing::f16
                                            : Packing::bf16;
  const Product product{&product_kernels().f32,
                        {left, x.data, k, 1},
                        {packing, reinterpret_cast<const std::byte*>(&weights), 0, 0},
                        m,
                        n,
                        k,
                        {{matrices}, {Strides{m * k}, Strides{w_rows}}}};
  store_product(product, out);
}

}  // namespace cermet::cpu
