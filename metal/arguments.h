// The kernels' argument structs, read by C++ and by Metal. Plain members of fixed size only.
#pragma once

#ifdef __METAL_VERSION__
typedef long cermet_long;
typedef unsigned int cermet_uint;
#else
#include <cstdint>
typedef std::int64_t cermet_long;
typedef std::uint32_t cermet_uint;
#endif

#define CERMET_MAX_AXES 16

// ---- copy.metal --------------------------------------------------------------------------------

// The axes of a tensor, the innermost first (axes.h). What is past `count` is zero.
struct StridedAxes {
  cermet_long shape[CERMET_MAX_AXES];
  cermet_long strides[CERMET_MAX_AXES];
  cermet_uint count;  // at least 1
};

// Equal shapes.
struct CopyArguments {
  StridedAxes from, to;
};

// ---- indexing.metal ----------------------------------------------------------------------------

// What a kernel reports of an index out of range.
struct IndexFault {
  cermet_uint found;  // nonzero: the rest is valid
  cermet_uint axis;
  cermet_long index;
  cermet_long unused[2];
};

// Indices along one axis, and what they add to a place.
struct IndexArguments {
  StridedAxes axes;  // of the indices
  cermet_long extent, stride;
  cermet_uint axis;   // for reports
  cermet_uint first;  // the first that adds
};

// A block's layout, and its number of elements.
struct GatherArguments {
  StridedAxes block;
  cermet_long size;
};

struct ScatterArguments {
  StridedAxes tuples, from_block;  // of the updates: leading axes, block
  StridedAxes places, to_block;    // of the result: axes with indices, block
  cermet_long size;                // of a block
  cermet_long origin;              // the result's element at index zero
};

// ---- random.metal ------------------------------------------------------------------------------

struct RandomArguments {
  StridedAxes keys;  // their first words
  cermet_long key_stride;
  cermet_long size;  // of a stream, in units
};

// ---- creation.metal ----------------------------------------------------------------------------

struct ArangeArguments {
  cermet_long start, step, size;
};

// ---- matmul.metal ------------------------------------------------------------------------------

// Of all its kernels. Strides and offsets are in elements.
struct MatmulArguments {
  cermet_uint m, n, k;
  cermet_uint k_part;  // the sum over k is cut in parts of this extent, a multiple of gemm's tile
  cermet_long a_row, a_column, b_row, b_column, c_row, c_column;
  float alpha, beta;
  cermet_uint swizzle;
  cermet_uint batches, batch_axes;
  cermet_uint batch_shape[CERMET_MAX_AXES];
  cermet_long a_batch[CERMET_MAX_AXES], b_batch[CERMET_MAX_AXES], c_batch[CERMET_MAX_AXES];
};

// ---- arg_reduce.metal --------------------------------------------------------------------------

// Rows along an axis, for arg_reduce, scan and sort. Row r starts at element r / inner *
// outer_stride + r % inner * inner_stride, and has n elements `stride` apart.
struct RowsArguments {
  cermet_long outer_stride, inner_stride, stride;
  cermet_uint rows, inner, n;
};

// How the elements of a dtype become keys (keys.h), for arg_reduce and sort.
enum KeyKind { kKeyUnsigned, kKeySigned, kKeyFloat, kKeyComplex };
struct KeyArguments {
  cermet_uint kind;      // a KeyKind
  cermet_uint infinity;  // its bits, in a float or a part of a complex number
};

struct ArgReduceArguments {
  RowsArguments in;
  KeyArguments key;
  cermet_uint max;
  cermet_uint candidates;  // of a row; 0: all its elements
  cermet_uint chunk;       // candidates of a result
  cermet_uint lanes;       // threads of a chunk: 1 or 32
};

// ---- scan.metal --------------------------------------------------------------------------------

// Elements that one thread scans.
#define CERMET_SCAN_RUN 64

// A row of one run; or the runs' totals, then the runs with the totals before them given.
enum ScanStage { kScanWhole, kScanTotals, kScanRuns };
struct ScanArguments {
  RowsArguments in, out;
  cermet_uint stage;  // a ScanStage
  cermet_uint reverse, exclusive;
};

// ---- sort.metal --------------------------------------------------------------------------------

enum { kSortItems = 8, kSortThreads = 256, kSortTile = kSortItems * kSortThreads };
struct SortArguments {
  RowsArguments in, out;
  KeyArguments key;
  cermet_uint tile;  // sort_tiles: elements of a row, or a part of it, that are sorted together
  cermet_uint run;   // sort_merge: elements of a sorted run
  cermet_uint last;  // the pass that gives the result
};

// ---- search.metal ------------------------------------------------------------------------------

struct SearchArguments {
  StridedAxes values;
  cermet_long stride, size;  // of the sorted sequence; the number of values
  KeyArguments key;
  cermet_uint n, first_step;  // sorted elements, and the highest bit of their number
  cermet_uint right;
};

// ---- attention.metal, attention_gradient.metal -------------------------------------------------

// Strides, in elements, are those of (entry, head, place or key, column); 0 where a mask repeats.
enum SinkType { kSinkFloat, kSinkHalf, kSinkBfloat };
struct AttentionArguments {
  cermet_long q[4], k[4], v[4], mask[4], output[4], cotangent[4];
  cermet_long sinks[2];                                               // (entry, head)
  cermet_uint entries, heads, shared, rows, columns, dim, value_dim;  // shared: heads of a group
  cermet_uint part, parts;                                            // attend_few: keys of a part
  cermet_uint sink_type;                                              // a SinkType
  cermet_uint sinks_apart;                                            // each entry has its own
  float scale;
};
