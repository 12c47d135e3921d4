// The inner loops of argmax and argmin.
#pragma once

#include <cstdint>

#include "cermet/dtype.h"
#include "cpu/isa.h"

namespace cermet::cpu {

struct ArgReduceLoops {
  // out[r] = the place of the extreme of in[r * n, (r + 1) * n). Where `keys` is not null it gets
  // numbers that compare as the extremes do, a greater one for what is more extreme.
  void (*rows)(std::uint32_t* out, std::int64_t* keys, const void* in, std::int64_t rows,
               std::int64_t n);
  // out[i] = the first of `rows` s for which in[s * stride + i] is the extreme, for i < n.
  void (*columns)(std::uint32_t* out, const void* in, std::int64_t stride, std::int64_t rows,
                  std::int64_t n);
};

CERMET_EACH_ISA(ArgReduceLoops arg_reduce_loops(Dtype t, bool max);)

}  // namespace cermet::cpu
