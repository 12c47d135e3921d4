// Running sums, products, extremes and log-sum-exps along an axis.
//
// A row, or a chunk of it, belongs to one thread or to a simdgroup, which walks it in blocks. Long
// rows take three passes: the total of each chunk, the scan of the totals, the scan of each chunk
// from the total before it. Places are counted in the order of the scan.
#include <metal_stdlib>

#include "arguments.h"
#include "ops.h"
#include "rows.h"
#include "types.h"
using namespace metal;

template <typename T>
struct LogAddExp {
  static T identity() {
    if constexpr (is_complex<T>)
      return complex64(lowest_of<float>(), 0.0f);
    else
      return lowest_of<T>();
  }
  static T combine(T a, T b) { return ops::logaddexp(a, b); }
};

// What is combined so far; the identity until then. It takes no part in a combination, where it
// would change the sign of a zero, or an infinite complex number.
template <typename T, typename Reduction>
struct Running {
  T value;
  bool any;

  void add(T next) thread {
    if (any)
      value = Reduction::combine(value, next);
    else
      value = next;
    any = true;
  }
};

// T is the elements' type, A the one they are combined in.
template <typename T, typename A, typename Reduction, typename Index>
[[kernel]] void scan(device const T* in [[buffer(0)]], device T* out [[buffer(1)]],
                     device A* totals [[buffer(2)]], constant ScanArguments& p [[buffer(3)]],
                     uint3 position [[thread_position_in_grid]], uint3 grid [[threads_per_grid]]) {
  const uint items = 4;
  const uint row = p.lanes == 1 ? position.x : position.y, lane = p.lanes == 1 ? 0 : position.x;
  const uint begin = position.z * p.chunk, end = begin + min(p.chunk, p.in.n - begin);
  const Index in_row = row_start<Index>(p.in, row), out_row = row_start<Index>(p.out, row);
  const Index chunk_total =
      static_cast<Index>(row) * static_cast<Index>(grid.z) + static_cast<Index>(position.z);

  Running<A, Reduction> carry = {Reduction::identity(), p.stage == kScanChunks && begin > 0};
  if (carry.any) carry.value = load(totals, chunk_total);
  for (uint block = begin; block < end; block += p.lanes * items) {
    const uint first = block + lane * items;
    A values[items];
    Running<A, Reduction> own = {Reduction::identity(), false};
    for (uint i = 0; i < items && first + i < end; ++i) {
      const uint at = p.reverse ? p.in.n - 1 - first - i : first + i;
      values[i] = cast<A>(load(in, in_row + row_step<Index>(p.in, at)));
      own.add(values[i]);
    }

    Running<A, Reduction> before = carry;
    A total = own.value;
    if (p.lanes > 1) {
      // Lanes past the end have nothing, but no lane below them takes it.
      for (ushort distance = 1; distance < 32; distance *= 2) {
        const A left = shuffle_up(total, distance);
        if (lane >= distance) total = Reduction::combine(left, total);
      }
      const A left = shuffle_up(total, static_cast<ushort>(1));
      if (lane > 0) before.add(left);
      total = shuffle(total, static_cast<ushort>(min((end - 1 - block) / items, 31u)));
    }
    carry.add(total);

    if (p.stage == kScanTotals) continue;
    for (uint i = 0; i < items && first + i < end; ++i) {
      const uint at = p.reverse ? p.in.n - 1 - first - i : first + i;
      const Index to = out_row + row_step<Index>(p.out, at);
      if (p.exclusive) store(out, to, cast<T>(before.value));
      before.add(values[i]);
      if (!p.exclusive) store(out, to, cast<T>(before.value));
    }
  }
  if (p.stage == kScanTotals && lane == 0) store(totals, chunk_total, carry.value);
}
