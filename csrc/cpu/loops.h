// The contiguous loops that the tile interpreter calls: one for each operation and element type.
// float16 and bfloat16 live as float32 in tiles and are rounded after each operation, so they have
// loops for conversion, and to reduce what is in memory to float32.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cermet/elementwise.h"
#include "cermet/ops.h"
#include "cpu/isa.h"

namespace cermet::cpu {

// out[i] = f(a[i], b[i], c[i]) for i < n; unused inputs are null. `out` may be one of the inputs.
using Loop = void (*)(void* out, const void* a, const void* b, const void* c, std::int64_t n);

// A reduction numbers its elements in blocks of kBlock, and in a block deals them to kLanes lanes.
inline constexpr std::int64_t kLanes = 64, kBlock = 4096;
// out[r] = the reduction of in[r * n, (r + 1) * n), a block at most.
using RowLoop = void (*)(void* out, const void* in, std::int64_t rows, std::int64_t n);
// out[i] = out[i] combined with in[r * stride + i] for r < rows, ascending, for i < n; out[i] is
// not read where these are the `first` elements.
using ColumnLoop = void (*)(void* out, const void* in, std::int64_t stride, std::int64_t rows,
                            std::int64_t n, bool first);
// out[i] = the reduction of in[s * stride + i] for s < steps, a block at most, for i < n. `out` may
// be `in`.
using BlockLoop = void (*)(void* out, const void* in, std::int64_t stride, std::int64_t steps,
                           std::int64_t n);

// A scan goes by runs of kScanRun elements, whose totals are scanned in groups of as many.
inline constexpr std::int64_t kScanRun = 64, kScanGroup = kScanRun * kScanRun;
// Scans in place `runs` runs of n elements each: of one a `step` apart, their starts `apart`.
using RunLoop = void (*)(void* x, std::int64_t runs, std::int64_t apart, std::int64_t n,
                         std::int64_t step);
// What stands before a group of runs, where `before` is not null: the scan of the groups' totals,
// and that of the runs' totals, which the first run is combined with.
struct ScanPrefix {
  alignas(8) std::byte groups[8], runs[8];
};
// Scans in place a group of n elements a `step` of 1 or -1 apart, and gives its own total; without
// `store` nothing but that.
using GroupLoop = void (*)(void* x, std::int64_t n, std::int64_t step, const ScanPrefix* before,
                           void* total, bool store);

struct Loops {
  Loop op[kOpCount][kDtypeCount] = {};              // by the computing type
  Loop cast[kDtypeCount][kDtypeCount] = {};         // from, to
  Loop widen[kDtypeCount] = {};                     // a 16-bit float to float32
  Loop narrow[kDtypeCount] = {};                    // float32 to a 16-bit float
  Loop round[kDtypeCount] = {};                     // float32 to the nearest 16-bit float's value
  RowLoop reduce_rows[kOpCount][kDtypeCount] = {};  // by the combining operation
  ColumnLoop reduce_columns[kOpCount][kDtypeCount] = {};
  BlockLoop reduce_block[kOpCount][kDtypeCount] = {};
  struct {  // sums of the squares of what is read; null for most types
    RowLoop rows;
    ColumnLoop columns;
    BlockLoop block;
  } squares[kDtypeCount] = {};
  RunLoop scan_runs[kOpCount][kDtypeCount] = {};
  GroupLoop scan_group[kOpCount][kDtypeCount] = {};
};

// The loops of the chosen instruction set.
const Loops& loops();

CERMET_EACH_ISA(void fill_unary(Loops& table); void fill_binary(Loops& table);
                void fill_conversions(Loops& table); void fill_reductions(Loops& table);
                void fill_scans(Loops& table);)

}  // namespace cermet::cpu
