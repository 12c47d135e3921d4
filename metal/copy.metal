// Copies between layouts.
#include <metal_stdlib>

#include "axes.h"
#include "types.h"
using namespace metal;

// Types of equal elements are words of their size, or wider.
template <typename From, typename To, typename Index, int axes>
[[kernel]] void copy_elements(device const From* from [[buffer(0)]], device To* to [[buffer(1)]],
                              constant CopyArguments& p [[buffer(2)]],
                              uint3 at [[thread_position_in_grid]]) {
  store(to, offset_at<Index, axes>(at, p.to),
        cast<To>(load(from, offset_at<Index, axes>(at, p.from))));
}

// The innermost axis is contiguous in `to`, the next one in `from`. Tiles of 32 by 32 are read
// along the one and written along the other, by threadgroups of 32 by 8.
template <typename T, typename Index>
[[kernel]] void copy_transposed(device const T* from [[buffer(0)]], device T* to [[buffer(1)]],
                                constant CopyArguments& p [[buffer(2)]],
                                uint3 group [[threadgroup_position_in_grid]],
                                uint3 thread_in_group [[thread_position_in_threadgroup]]) {
  threadgroup T tile[32][33];  // a column more, so that columns lie in different banks
  const uint x = thread_in_group.x, y = thread_in_group.y;
  const uint width = static_cast<uint>(p.to.shape[0]), height = static_cast<uint>(p.to.shape[1]);
  const uint left = group.x * 32, top = group.y * 32;

  const Index from_tile = offset_at<Index, 0>(uint3(left, top, group.z), p.from);
  for (uint k = y; k < 32; k += 8)
    if (left + k < width && top + x < height)
      tile[k][x] = from[from_tile + static_cast<Index>(k) * static_cast<Index>(p.from.strides[0]) +
                        static_cast<Index>(x) * static_cast<Index>(p.from.strides[1])];
  threadgroup_barrier(mem_flags::mem_threadgroup);
  const Index to_tile = offset_at<Index, 0>(uint3(left, top, group.z), p.to);
  for (uint k = y; k < 32; k += 8)
    if (left + x < width && top + k < height)
      to[to_tile + static_cast<Index>(x) * static_cast<Index>(p.to.strides[0]) +
         static_cast<Index>(k) * static_cast<Index>(p.to.strides[1])] = tile[x][k];
}
