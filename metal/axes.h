// Where the elements of strided tensors are. Index is int, or long where offsets need it.
#pragma once

#include <metal_stdlib>

#include "arguments.h"
using namespace metal;

// What element `i`, in row-major order, of the axes from `first` on adds to an offset.
template <typename Index>
inline Index offset_of(Index i, constant StridedAxes& axes, uint first) {
  Index offset = 0;
  uint k = first;
  for (; k + 1 < axes.count; ++k) {
    const Index n = static_cast<Index>(axes.shape[k]);
    offset += i % n * static_cast<Index>(axes.strides[k]);
    i /= n;
  }
  return offset + i * static_cast<Index>(axes.strides[k]);
}

// The offset of a thread's element: x and y count along the two innermost axes, z through the
// others. `count` is the number of axes; 0: any.
template <typename Index, int count>
inline Index offset_at(uint3 at, constant StridedAxes& axes) {
  Index offset = static_cast<Index>(at.x) * static_cast<Index>(axes.strides[0]);
  if (count != 1) offset += static_cast<Index>(at.y) * static_cast<Index>(axes.strides[1]);
  if (count == 3) offset += static_cast<Index>(at.z) * static_cast<Index>(axes.strides[2]);
  if (count == 0) offset += offset_of(static_cast<Index>(at.z), axes, 2);
  return offset;
}
