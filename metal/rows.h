// Rows along an axis of a strided tensor.
#pragma once

#include <metal_stdlib>

#include "arguments.h"
using namespace metal;

// Index is int, or long where offsets need it.
template <typename Index>
inline Index row_start(constant RowsArguments& rows, uint row) {
  return static_cast<Index>(row / rows.inner) * static_cast<Index>(rows.outer_stride) +
         static_cast<Index>(row % rows.inner) * static_cast<Index>(rows.inner_stride);
}

template <typename Index>
inline Index row_step(constant RowsArguments& rows, uint at) {
  return static_cast<Index>(at) * static_cast<Index>(rows.stride);
}
