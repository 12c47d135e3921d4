// Ranges.
#include <metal_stdlib>

#include "arguments.h"
#include "types.h"
using namespace metal;

// start + i * step in integers, which wrap; T is made from Via.
template <typename T, typename Via>
[[kernel]] void arange(device T* out [[buffer(0)]], constant ArangeArguments& p [[buffer(1)]],
                       uint3 at [[thread_position_in_grid]], uint3 grid [[threads_per_grid]]) {
  const ulong i = static_cast<ulong>(at.z) * grid.x + at.x;
  if (i >= static_cast<ulong>(p.size)) return;
  const ulong value = static_cast<ulong>(p.start) + i * static_cast<ulong>(p.step);
  store(out, i, cast<T>(static_cast<Via>(static_cast<long>(value))));
}
