// Products with quantized weights: how the engine reads them.
#include <iterator>
#include <list>

#include "cpu/primitives.h"
#include "cpu/products/nest.h"

namespace cermet::cpu {
namespace {

// A product as the engine takes it, and the memory of what is not row-major.
class QuantizedProduct {
 public:
  QuantizedProduct(const QuantizedFormat& p, std::span<const Tensor> inputs, const Tensor& out) {
    const Tensor words = dense(inputs[1], holders_[0]), scales = dense(inputs[2], holders_[1]);
    const Tensor biases = dense(inputs[3], holders_[2]);
    const std::size_t axes = words.shape.size();
    const std::int64_t w_rows = words.shape[axes - 2], row_words = words.shape[axes - 1];
    weights_ = {data<const std::uint32_t>(words),
                data<const std::uint32_t>(words) + words.size(),
                scales.data,
                biases.data,
                scales.dtype,
                p.group_size,
                row_words,
                scales.shape.back()};
    const std::int64_t n = out.shape.back();
    std::int64_t matrices = 1;
    for (std::size_t i = 0; i + 2 < axes; ++i) matrices *= words.shape[i];

    // One matrix serves all rows of x; else each entry of the batch has its own.
    const Tensor x = dense(inputs[0], holders_[3]);
    const std::int64_t k = x.shape.back(), m = out.size() / n / matrices;
    const auto* const bits = std::find(std::begin(kWeightBits), std::end(kWeightBits), p.bits);
    const auto packing = static_cast<Packing>(
        static_cast<int>(p.transpose ? Packing::weights : Packing::weight_rows) +
        static_cast<int>(bits - std::begin(kWeightBits)));
    const Packing left = x.dtype == float32   ? Packing::f32
                         : x.dtype == float16 ? Packing::f16
                                              : Packing::bf16;
    product_ = {&product_kernels().f32,
                {left, x.data, k, 1},
                {packing, reinterpret_cast<const std::byte*>(&weights_), 0, 0},
                m,
                n,
                k,
                {{matrices}, {Strides{m * k}, Strides{w_rows}}}};
  }
  QuantizedProduct(const QuantizedProduct&) = delete;
  QuantizedProduct& operator=(const QuantizedProduct&) = delete;
  const Product& get() const { return product_; }

 private:
  std::optional<Scratch> holders_[4];
  QuantizedWeights weights_;
  Product product_;
};

}  // namespace

void quantized_matmul(const QuantizedFormat& p, std::span<const Tensor> inputs, const Tensor& out) {
  store_product(QuantizedProduct(p, inputs, out).get(), out);
}

void quantized_matmul(const QuantizedFormat& p, std::span<const Tensor> inputs, const Tensor& out,
                      const Epilogue& epilogue) {
  std::list<QuantizedProduct> memory;
  std::vector<Product> products;
  for (std::size_t i = 0; i < inputs.size(); i += 4) {
    memory.emplace_back(p, inputs.subspan(i, 4), out);
    products.push_back(memory.back().get());
  }
  multiply(products, epilogue);
}

}  // namespace cermet::cpu
