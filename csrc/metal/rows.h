// What arg_reduce, scan and sort share: rows along an axis, and elements as keys.
#pragma once

#include "../../metal/arguments.h"
#include "metal/backend.h"

namespace cermet::metal {

// The rows of a tensor along an axis: itself, and where they lie in it.
struct Rows {
  Tensor tensor;
  RowsArguments layout;
};
// Of `t`, or of a row-major copy of it where its rows have no regular start.
Rows rows_of(Commands& commands, const Tensor& t, int axis);
// Of a row-major tensor.
RowsArguments dense_rows(const Tensor& t, int axis);

// How rows are given to threads: each row, or chunk of it, to one thread or to a simdgroup. It
// depends on shapes and strides alone, and with it the order of combinations.
struct Division {
  std::uint32_t rows, lanes, chunk, chunks;
  Size grid() const { return lanes == 1 ? Size{rows, 1, chunks} : Size{lanes, rows, chunks}; }
  Size group() const { return lanes == 1 ? Size{256, 1, 1} : Size{lanes, 8, 1}; }
};
// For work on n places of each row.
Division divide(const RowsArguments& rows, std::uint32_t n);

// The unsigned type that holds an element's key, and how to make one.
Dtype key_dtype(Dtype dtype);
KeyArguments key_arguments(Dtype dtype);

}  // namespace cermet::metal
