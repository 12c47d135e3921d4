// The CPU's backend, and how it runs a primitive.
#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include "eval/backend.h"
#include "graph/primitives/algebra.h"

namespace cermet::cpu {

// An evaluated array in memory. Strides are in elements and may be zero or negative; `data` is the
// element at index zero.
struct Tensor {
  std::byte* data = nullptr;
  Dtype dtype = float32;
  Shape shape;
  Strides strides;

  std::int64_t size() const { return element_count(shape); }
};

std::unique_ptr<Backend> make_backend();

// Computes a primitive that is neither a view, an elementwise operation nor a reduction (those are
// row programs). `out` is row-major. For scatter and contiguous, out.data may be
// inputs[0].data (donated, of the same layout): the copy is then not needed.
void run(const Primitive& primitive, std::span<const Tensor> inputs, const Tensor& out);

// The same for a primitive with several results.
void factorize(const Factorization& p, std::span<const Tensor> inputs,
               std::span<const Tensor> outputs);

// dst = src, element by element, of equal shapes and dtypes and any strides.
void copy(const Tensor& src, const Tensor& dst);

}  // namespace cermet::cpu
