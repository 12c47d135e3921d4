// Operands as the engine reads them: matrices of floats, and packed weights.
#pragma once

#include <optional>

#include "cpu/products/nest.h"
#include "graph/composites.h"

namespace cermet::cpu {

// Of the first matrices of a and b, which have one type; without a batch.
Product operands_of(const Tensor& a, const Tensor& b);

// A product with quantized weights of n results a row, and the memory of what is not row-major. One
// matrix of weights serves all rows of x; else each entry of the batch has its own.
class QuantizedProduct {
 public:
  QuantizedProduct(const QuantizedFormat& p, std::span<const Tensor> inputs, const Tensor& out);
  QuantizedProduct(const QuantizedProduct&) = delete;
  QuantizedProduct& operator=(const QuantizedProduct&) = delete;
  const Product& get() const { return product_; }

 private:
  std::optional<Scratch> holders_[4];
  std::optional<Workspace<std::byte>> rows_;
  std::optional<Workspace<float>> sums_;
  QuantizedWeights weights_;
  Product product_;
};

}  // namespace cermet::cpu
