// Reductions of a threadgroup, for generated programs. `Reduction` is Sum<T>, Max<T>, ... of
// types.h.
#pragma once

#include "types.h"

// Over all threads of a threadgroup, given to each. `partial` has room for a value a simdgroup, and
// another reduction must come between two that use the same.
template <typename Reduction, typename T>
inline T reduce_threadgroup(T x, threadgroup T* partial, uint lane, uint simdgroup,
                            uint simdgroups) {
  x = Reduction::simd(x);
  if (lane == 0) store(partial, simdgroup, x);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  T total = load(partial, 0u);
  for (uint s = 1; s < simdgroups; ++s) total = Reduction::combine(total, load(partial, s));
  return total;
}

// Over the 8 slices of a threadgroup of 32 columns by 8 slices, given to each thread of a column.
// `partial` has room for a value a thread.
template <typename Reduction, typename T>
inline T reduce_slices(T x, threadgroup T* partial, uint column, uint slice) {
  store(partial, slice * 32 + column, x);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  T total = load(partial, column);
  for (uint s = 1; s < 8; ++s) total = Reduction::combine(total, load(partial, s * 32 + column));
  return total;
}
