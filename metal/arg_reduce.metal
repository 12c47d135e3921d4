// argmax and argmin along an axis: the first place of the extreme; a nan is more extreme than any
// number.
#include <metal_stdlib>

#include "arguments.h"
#include "keys.h"
#include "rows.h"
#include "types.h"
using namespace metal;

// A row, or a chunk of it, belongs to one thread or to a simdgroup. The places of `candidates`,
// where there are any, are the elements that chunks have found.
template <typename K, typename Index>
[[kernel]] void arg_reduce(device const K* in [[buffer(0)]],
                           device const uint* candidates [[buffer(1)]],
                           device uint* out [[buffer(2)]],
                           constant ArgReduceArguments& p [[buffer(3)]],
                           uint3 position [[thread_position_in_grid]],
                           uint3 grid [[threads_per_grid]]) {
  const uint row = p.lanes == 1 ? position.x : position.y, lane = p.lanes == 1 ? 0 : position.x;
  const uint count = p.candidates > 0 ? p.candidates : p.in.n;
  const uint begin = position.z * p.chunk, end = begin + min(p.chunk, count - begin);
  const Index start = row_start<Index>(p.in, row);
  const Index first_candidate = static_cast<Index>(row) * static_cast<Index>(p.candidates);

  K best = 0;
  uint best_at = 0xffffffffu;
  for (uint k = begin + lane; k < end; k += p.lanes) {
    const uint at = p.candidates > 0 ? candidates[first_candidate + static_cast<Index>(k)] : k;
    K key = to_key(in[start + row_step<Index>(p.in, at)], p.key, true);
    if (is_nan_key(key, p.key))
      key = ~K(0);
    else if (!p.max)
      key = ~key;
    if (key > best || (key == best && at < best_at)) {
      best = key;
      best_at = at;
    }
  }
  if (p.lanes > 1) {
    for (ushort mask = 16; mask > 0; mask /= 2) {
      const K key = shuffle_xor(best, mask);
      const uint at = shuffle_xor(best_at, mask);
      if (key > best || (key == best && at < best_at)) {
        best = key;
        best_at = at;
      }
    }
  }
  if (lane == 0)
    out[static_cast<Index>(row) * static_cast<Index>(grid.z) + static_cast<Index>(position.z)] =
        best_at;
}
