// Products of what is chosen: the rows of the left operand, or the depth of both, lie in runs.
#pragma once

#include <vector>

#include "cpu/products/nest.h"

namespace cermet::cpu {

// Rows from `a` on, in elements, `step` apart, of which the first one's result is row `to`.
struct RowRun {
  std::int64_t count, a, step, to;
};
// Numbers [first, first + count) of a sum, and where the operands have them, in elements. What lies
// between runs is left out, as if it was zero.
struct DepthRun {
  std::int64_t first, count, a, b;
};

// A part of the results: some rows, and some columns of b.
struct Part {
  std::vector<RowRun> rows;
  std::vector<DepthRun> depth;  // ascending
  std::int64_t column = 0, columns = 0;
};

// The most of any part.
struct PartLimits {
  std::int64_t rows, columns, depth;
};
inline constexpr std::int64_t kMostPartRows = 384, kMostPartColumns = 512;

// Computes `count` parts of `out`, which `describe` tells of, on the pool's threads. Of `product`
// what tells of rows and the batch is not used; k is the length of a row of a where there are sums
// of rows. The order of a sum is that of all products, so rows may be put together in any way.
void multiply_runs(const Product& product, const PartLimits& limits, std::int64_t count,
                   FunctionRef<void(std::int64_t, Part&)> describe, const Tensor& out);

}  // namespace cermet::cpu
