// The loop nest of products: which part of an output is computed when, and from which panels.
#pragma once

#include "cpu/layout.h"
#include "cpu/products/epilogue.h"
#include "cpu/products/kernels.h"

namespace cermet::cpu {

// An operand of rows (of a) or columns (of b) by depth. Steps are in elements.
struct Factor {
  Packing packing;
  const std::byte* data;
  std::int64_t width_step, depth_step;
};

// c = a b for each entry of a batch. Extents count numbers: a complex row has two for each element.
struct Product {
  const BlockKernel* kernel;
  Factor a, b;
  std::int64_t m, n, k;
  Domain<2> batch;    // of a and b, in elements
  RowSums sums = {};  // of all rows of a, for scaled kernels
};

// Bytes of what a packing reads.
std::size_t element_size(Packing packing);
// Whether the kernel reads rows of a, `step` elements apart, where they are: it may not where
// these, being a multiple of 4 KiB apart, are in each other's way in the cache.
bool reads_in_place(const Product& product, std::int64_t rows, std::int64_t step,
                    std::int64_t depth, std::int64_t columns);
// Of a panel, `depth` units deep: these and, for a scaled kernel, scales and biases.
std::int64_t panel_units(const Product& product, std::int64_t depth);

// Computes into `out`, row-major.
void store_product(const Product& product, const Tensor& out);
// Hands over each part of the output once, on the pool's threads; of two products of one kernel and
// equal extents both at once.
void multiply(std::span<const Product> products, const Epilogue& finish);

}  // namespace cermet::cpu
