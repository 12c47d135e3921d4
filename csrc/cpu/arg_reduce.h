// The inner loops of argmax and argmin.
#pragma once

#include <cstdint>

#include "cermet/dtype.h"
#include "cpu/isa.h"

namespace cermet::cpu {

struct ArgReduceLoops {
  // out[r] = where in[r * n, (r + 1) * n) first is extremes[r], as a reduction of the row gives it.
  void (*find)(std::uint32_t* out, const void* in, const void* extremes, std::int64_t rows,
               std::int64_t n);
  // out[i] = the first of `rows` s for which in[s * stride + i] is the extreme, for i < n.
  void (*columns)(std::uint32_t* out, const void* in, std::int64_t stride, std::int64_t rows,
                  std::int64_t n);
};

CERMET_EACH_ISA(ArgReduceLoops arg_reduce_loops(Dtype t, bool max);)

}  // namespace cermet::cpu
