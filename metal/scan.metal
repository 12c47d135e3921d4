// Running sums, products, extremes and log-sum-exps along an axis.
//
// A row is cut in runs of CERMET_SCAN_RUN elements, of which a thread scans one. Where there are
// several it takes three passes: the total of each run, the scan of the totals, and the scan of
// each run, each result combined with the total before the run. Places are counted in the order of
// the scan.
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

// T is the elements' type, A the one they are combined in.
template <typename T, typename A, typename Reduction, typename Index>
[[kernel]] void scan(device const T* in [[buffer(0)]], device T* out [[buffer(1)]],
                     device A* totals [[buffer(2)]], constant ScanArguments& p [[buffer(3)]],
                     uint3 position [[thread_position_in_grid]], uint3 grid [[threads_per_grid]]) {
  const uint row = position.x, n = p.in.n;
  const uint begin = position.z * CERMET_SCAN_RUN,
             end = begin + min(uint(CERMET_SCAN_RUN), n - begin);
  const Index in_row = row_start<Index>(p.in, row), out_row = row_start<Index>(p.out, row);
  const Index run =
      static_cast<Index>(row) * static_cast<Index>(grid.z) + static_cast<Index>(position.z);

  const bool carries = p.stage == kScanRuns && begin > 0;
  A before = Reduction::identity();
  if (carries) before = load(totals, run - 1);
  if (p.stage != kScanTotals && p.exclusive && begin == 0)
    store(out, out_row + row_step<Index>(p.out, p.reverse ? n - 1 : 0), cast<T>(before));
  A running = before;
  for (uint i = begin; i < end; ++i) {
    const A x = cast<A>(load(in, in_row + row_step<Index>(p.in, p.reverse ? n - 1 - i : i)));
    if (i == begin)
      running = x;
    else
      running = Reduction::combine(running, x);
    const uint to = i + p.exclusive;
    if (p.stage == kScanTotals || to == n) continue;
    A result = running;
    if (carries) result = Reduction::combine(before, running);
    store(out, out_row + row_step<Index>(p.out, p.reverse ? n - 1 - to : to), cast<T>(result));
  }
  if (p.stage == kScanTotals) store(totals, run, running);
}
