// The contiguous loops that the tile interpreter calls: one for each operation and element type.
// float16 and bfloat16 live as float32 in tiles and are rounded after each operation, so they have
// loops for conversion only.
#pragma once

#include <cstdint>

#include "cermet/elementwise.h"
#include "cermet/ops.h"
#include "cpu/isa.h"

namespace cermet::cpu {

// out[i] = f(a[i], b[i], c[i]) for i < n; unused inputs are null. `out` may be one of the inputs.
using Loop = void (*)(void* out, const void* a, const void* b, const void* c, std::int64_t n);
// out[r] = the reduction of in[r * n, (r + 1) * n).
using RowLoop = void (*)(void* out, const void* in, std::int64_t rows, std::int64_t n);

struct Loops {
  Loop op[kOpCount][kDtypeCount] = {};              // by the computing type
  Loop cast[kDtypeCount][kDtypeCount] = {};         // from, to
  Loop widen[kDtypeCount] = {};                     // a 16-bit float to float32
  Loop narrow[kDtypeCount] = {};                    // float32 to a 16-bit float
  Loop round[kDtypeCount] = {};                     // float32 to the nearest 16-bit float's value
  RowLoop reduce_rows[kOpCount][kDtypeCount] = {};  // by the combining operation
};

// The loops of the chosen instruction set.
const Loops& loops();

CERMET_EACH_ISA(void fill_unary(Loops& table); void fill_binary(Loops& table);
                void fill_conversions(Loops& table);)

}  // namespace cermet::cpu
