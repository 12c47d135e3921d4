// The loop nest of products: which part of an output is computed when, and from which panels.
#pragma once

#include "cpu/layout.h"
#include "cpu/products/kernels.h"

namespace cermet::cpu {

// An operand of rows (of a) or columns (of b) by depth. Steps are in elements.
struct Factor {
  Packing packing;
  const std::byte* data;
  std::int64_t width_step, depth_step;
};

// A part of a product, done: float, or double for float64.
struct FinishedTile {
  std::int64_t batch, row, rows, column, columns;
  void* values;
  std::int64_t step;  // between rows
};

// c = a b for each entry of a batch. Extents count numbers: a complex row has two for each element.
struct Product {
  const BlockKernel* kernel;
  Factor a, b;
  std::int64_t m, n, k;
  Domain<2> batch;  // of a and b, in elements
  RowSums sums = {};  // of all rows of a, for scaled kernels
};

// Computes into `out`, row-major.
void store_product(const Product& product, const Tensor& out);
// Hands over each part of the output once, on the pool's threads.
void multiply(const Product& product, FunctionRef<void(const FinishedTile&)> finish);

}  // namespace cermet::cpu
