// Places in a sorted sequence.
#include "axes.h"
#include "keys.h"
#include "types.h"

// How many of the n sorted elements are before each value, or are equal to it with `right`: a bit
// of the answer a step. The grid's rows have 2^30 threads.
template <typename K, typename Index>
[[kernel]] void searchsorted(device const K* sorted [[buffer(0)]],
                             device const K* values [[buffer(1)]], device uint* out [[buffer(2)]],
                             constant SearchArguments& p [[buffer(3)]],
                             uint2 at [[thread_position_in_grid]]) {
  const long i = (long(at.y) << 30) + at.x;
  if (i >= p.size) return;
  const K value = to_key(values[offset_of<Index>(static_cast<Index>(i), p.values, 0)], p.key, true);
  uint place = 0;
  for (uint step = p.first_step; step > 0; step /= 2) {
    if (step > p.n - place) continue;
    const K key = to_key(sorted[long(place + step - 1) * p.stride], p.key, true);
    if (key < value || (p.right && key == value)) place += step;
  }
  out[i] = place;
}
