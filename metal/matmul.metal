// Matrix products: out = a b, or alpha (a b) + beta c, of matrices repeated over a batch.
//
// gemm multiplies tiles with simdgroup matrices (floats), gemv_rows and gemv_columns a matrix and a
// vector in one reading of the matrix, plain_product anything else. A sum over a long k may be cut
// in parts, which sum_parts adds in their order. Real floats are summed in float, other types in
// themselves.
#include "arguments.h"
#include "types.h"

// m, n and k are multiples of the tile: gemm needs no checks.
constant bool aligned_tiles [[function_constant(0)]];
constant bool has_addend [[function_constant(1)]];

// ---- elements ----------------------------------------------------------------------------------

template <typename T>
using accumulator = conditional_t<is_real_float<T>, float, T>;

template <typename T>
inline accumulator<T> multiply_add(T x, T y, accumulator<T> sum) {
  if constexpr (is_real_float<T>)
    return fma(static_cast<float>(x), static_cast<float>(y), sum);
  else
    return ops::add(sum, ops::multiply(x, y));
}

// Writes out[i], rounding as the product, the two scalings and the addition would one by one.
// Element (row, column) of c is that of out[i].
template <typename T, typename Out>
inline void finish_product(accumulator<T> sum, device Out* out, ulong i, device const T* c,
                           uint row, uint column, constant MatmulArguments& p) {
  Out result = cast<Out>(sum);
  if constexpr (is_real_float<T>) {
    if (has_addend) {
      const Out addend = static_cast<Out>(c[row * p.c_row + column * p.c_column]);
      result = ops::add(ops::multiply(static_cast<Out>(p.alpha), result),
                        ops::multiply(static_cast<Out>(p.beta), addend));
    }
  }
  store(out, i, result);
}

// `width` neighbours in memory, moved at once.
template <typename T, int width>
struct Chunk {
  using type = vec<T, width>;
};
template <typename T>
struct Chunk<T, 1> {
  using type = T;
};
template <int width, typename T>
inline typename Chunk<T, width>::type load_chunk(device const T* p) {
  if constexpr (width == 1)
    return load(p, 0);
  else
    return *reinterpret_cast<device const vec<T, width>*>(p);
}
template <int width, typename T>
inline T chunk_element(typename Chunk<T, width>::type chunk, int i) {
  if constexpr (width == 1)
    return chunk;
  else
    return chunk[i];
}

// ---- batches and parts -------------------------------------------------------------------------

// Where the matrices of a batch entry begin, in elements.
struct BatchOffsets {
  long a, b, c;
};

inline BatchOffsets batch_offsets(constant MatmulArguments& p, uint batch) {
  BatchOffsets offsets = {0, 0, 0};
  for (uint axis = p.batch_axes; axis-- > 0;) {
    // The first axis has no division: with one axis there is none at all.
    const uint i = axis > 0 ? batch % p.batch_shape[axis] : batch;
    if (axis > 0) batch /= p.batch_shape[axis];
    offsets.a += i * p.a_batch[axis];
    offsets.b += i * p.b_batch[axis];
    offsets.c += i * p.c_batch[axis];
  }
  return offsets;
}

// ---- gemm --------------------------------------------------------------------------------------

// Loops over what lies in registers are unrolled: another index would move it to memory.

// A tile of a or b: `extent` rows of a (columns of b) by bk, on its way from device memory over
// registers to threadgroup memory. Where k_inner holds, neighbours along k are so in memory too.
template <typename T, int extent, int bk, int threads, int width, bool k_inner>
struct OperandTile {
  using Vector = typename Chunk<T, width>::type;
  static constant constexpr int rows = k_inner ? extent : bk;
  static constant constexpr int columns = k_inner ? bk : extent;
  // Sixteen bytes of padding put the eight rows of a simdgroup matrix in different banks.
  static constant constexpr int pitch = columns + 16 / sizeof(T);
  static constant constexpr int size = rows * pitch;
  static constant constexpr int chunks = columns / width;  // of a row
  static constant constexpr int rows_at_once = threads / chunks;
  static constant constexpr int passes = rows / rows_at_once;
  static_assert(rows_at_once * chunks == threads && passes * rows_at_once == rows,
                "the threads cover the tile in whole passes");

  device const T* from;  // this thread's first chunk
  long step;             // between its chunks
  long advance;          // between tiles
  int row, column;
  Vector staged[passes];

  // The tile whose first element is at `origin`; rows are `row_step` apart.
  OperandTile(device const T* origin, long row_step, int thread_index) thread
      : row(thread_index / chunks),
        column(thread_index % chunks * width) {
    from = origin + row * row_step + column;
    step = rows_at_once * row_step;
    advance = k_inner ? bk : bk * row_step;
  }

  // Reads the tile into registers, zeros where it passes the matrix, and moves on to the next.
  void read(int valid_extent, int valid_k) thread {
    const int valid_rows = k_inner ? valid_extent : valid_k;
    const int valid_columns = k_inner ? valid_k : valid_extent;
#pragma unroll
    for (int i = 0; i < passes; ++i) {
      if (aligned_tiles || (row + i * rows_at_once < valid_rows && column < valid_columns))
        staged[i] = load_chunk<width>(from + i * step);
      else
        staged[i] = Vector(T(0));
    }
    from += advance;
  }

  void write(threadgroup T* tile) const thread {
#pragma unroll
    for (int i = 0; i < passes; ++i)
      *reinterpret_cast<threadgroup Vector*>(tile + (row + i * rows_at_once) * pitch + column) =
          staged[i];
  }

  // Where the simdgroup matrix begins that has these first indices.
  static int at(int outer, int k) { return k_inner ? outer * pitch + k : k * pitch + outer; }
};

// One threadgroup of wm x wn simdgroups computes bm x bn elements, each simdgroup a block of them,
// over the part of k that group.z names. The next tiles are read while these are multiplied.
template <typename T, typename Out, int bm, int bn, int bk, int wm, int wn, bool a_k_inner,
          bool b_k_inner, int width>
[[kernel, max_total_threads_per_threadgroup(wm * wn * 32)]] void gemm(
    device const T* a [[buffer(0)]], device const T* b [[buffer(1)]],
    device const T* c [[buffer(2)]], device Out* out [[buffer(3)]],
    constant MatmulArguments& p [[buffer(4)]], uint3 group [[threadgroup_position_in_grid]],
    uint thread_index [[thread_index_in_threadgroup]],
    uint simd_index [[simdgroup_index_in_threadgroup]], uint lane [[thread_index_in_simdgroup]]) {
  using TileA = OperandTile<T, bm, bk, wm * wn * 32, width, a_k_inner>;
  using TileB = OperandTile<T, bn, bk, wm * wn * 32, width, b_k_inner>;
  threadgroup vec<T, 4> a_memory[TileA::size / 4];  // vectors, for their alignment
  threadgroup vec<T, 4> b_memory[TileB::size / 4];
  threadgroup T* a_tile = reinterpret_cast<threadgroup T*>(a_memory);
  threadgroup T* b_tile = reinterpret_cast<threadgroup T*>(b_memory);

  // Neighbouring threadgroups share 2^swizzle rows of tiles, which stay in the cache.
  const uint first_row = ((group.y << p.swizzle) + (group.x & ((1u << p.swizzle) - 1))) * bm;
  const uint first_column = (group.x >> p.swizzle) * bn;
  if (first_row >= p.m) return;

  const uint batch = group.z % p.batches;
  const uint k_begin = group.z / p.batches * p.k_part;
  const uint k_end = min(p.k, k_begin + p.k_part);
  const BatchOffsets offsets = batch_offsets(p, batch);
  TileA read_a(a + offsets.a + first_row * p.a_row + k_begin * p.a_column,
               a_k_inner ? p.a_row : p.a_column, thread_index);
  TileB read_b(b + offsets.b + first_column * p.b_column + k_begin * p.b_row,
               b_k_inner ? p.b_column : p.b_row, thread_index);
  const int valid_rows = min(p.m - first_row, uint(bm));
  const int valid_columns = min(p.n - first_column, uint(bn));

  constexpr int fragments_m = bm / wm / 8, fragments_n = bn / wn / 8;
  const int block_row = simd_index / wn * (bm / wm), block_column = simd_index % wn * (bn / wn);
  simdgroup_matrix<float, 8, 8> sum[fragments_m][fragments_n];
#pragma unroll
  for (int i = 0; i < fragments_m; ++i)
#pragma unroll
    for (int j = 0; j < fragments_n; ++j)
      sum[i][j] = make_filled_simdgroup_matrix<float, 8, 8>(0.0f);

  int valid_k = min(k_end - k_begin, uint(bk));
  read_a.read(valid_rows, valid_k);
  read_b.read(valid_columns, valid_k);
  for (uint k = k_begin; k < k_end; k += bk) {
    threadgroup_barrier(mem_flags::mem_threadgroup);  // the tiles before have been multiplied
    read_a.write(a_tile);
    read_b.write(b_tile);
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (k + bk < k_end) {
      valid_k = min(k_end - k - bk, uint(bk));
      read_a.read(valid_rows, valid_k);
      read_b.read(valid_columns, valid_k);
    }
    for (int kk = 0; kk < bk; kk += 8) {
      simdgroup_matrix<T, 8, 8> x[fragments_m], y[fragments_n];
#pragma unroll
      for (int i = 0; i < fragments_m; ++i)
        simdgroup_load(x[i], a_tile + TileA::at(block_row + i * 8, kk), TileA::pitch, ulong2(0),
                       !a_k_inner);
#pragma unroll
      for (int j = 0; j < fragments_n; ++j)
        simdgroup_load(y[j], b_tile + TileB::at(block_column + j * 8, kk), TileB::pitch, ulong2(0),
                       b_k_inner);
#pragma unroll
      for (int i = 0; i < fragments_m; ++i)
#pragma unroll
        for (int j = 0; j < fragments_n; ++j)
          simdgroup_multiply_accumulate(sum[i][j], x[i], y[j], sum[i][j]);
    }
  }

  // A lane holds two neighbours of a row of each simdgroup matrix.
  const int quad = lane / 4;
  const int lane_row = block_row + (quad & 4) + lane / 2 % 4;
  const int lane_column = block_column + (quad & 2) * 2 + lane % 2 * 2;
  out += ulong(group.z) * p.m * p.n;
#pragma unroll
  for (int i = 0; i < fragments_m; ++i) {
#pragma unroll
    for (int j = 0; j < fragments_n; ++j) {
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const int row = lane_row + i * 8, column = lane_column + j * 8 + e;
        if (aligned_tiles || (row < valid_rows && column < valid_columns))
          finish_product<T>(sum[i][j].thread_elements()[e], out,
                            ulong(first_row + row) * p.n + first_column + column, c + offsets.c,
                            first_row + row, first_column + column, p);
      }
    }
  }
}

// Adds the parts of a sum in their order. The grid is n x m x batches.
template <typename T>
[[kernel]] void sum_parts(device const accumulator<T>* parts [[buffer(0)]],
                          device const T* c [[buffer(1)]], device T* out [[buffer(2)]],
                          constant MatmulArguments& p [[buffer(3)]],
                          uint3 at [[thread_position_in_grid]]) {
  const ulong i = (ulong(at.z) * p.m + at.y) * p.n + at.x;
  const ulong step = ulong(p.batches) * p.m * p.n;
  accumulator<T> sum = load(parts, i);
  for (uint k = p.k_part, part = 1; k < p.k; k += p.k_part, ++part)
    sum = ops::add(sum, load(parts, part * step + i));
  finish_product<T>(sum, out, i, c + batch_offsets(p, at.z).c, at.y, at.x, p);
}

// ---- gemv --------------------------------------------------------------------------------------

// n == 1. A simdgroup computes four elements, each the product of a row of a and the vector b. A
// lane takes four neighbours along k, however wide they are read: alignment does not change the
// sum.
template <typename T, typename Out, int width>
[[kernel]] void gemv_rows(device const T* a [[buffer(0)]], device const T* b [[buffer(1)]],
                          device const T* c [[buffer(2)]], device Out* out [[buffer(3)]],
                          constant MatmulArguments& p [[buffer(4)]],
                          uint3 group [[threadgroup_position_in_grid]],
                          uint simd_index [[simdgroup_index_in_threadgroup]],
                          uint simdgroups [[simdgroups_per_threadgroup]],
                          uint lane [[thread_index_in_simdgroup]]) {
  constexpr int rows = 4, run = 4;
  const uint first_row = (group.x * simdgroups + simd_index) * rows;
  if (first_row >= p.m) return;
  const uint k_begin = group.z / p.batches * p.k_part;
  const uint k_end = min(p.k, k_begin + p.k_part);
  const BatchOffsets offsets = batch_offsets(p, group.z % p.batches);
  a += offsets.a + first_row * p.a_row;
  b += offsets.b;
  accumulator<T> sum[rows];
  for (int r = 0; r < rows; ++r) sum[r] = accumulator<T>(0);
  for (uint k = k_begin + lane * run; k < k_end; k += 32 * run) {
    const int valid = min(k_end - k, uint(run));
    T x[run];
    for (int e = 0; e < valid; ++e) x[e] = load(b, (k + e) * p.b_row);
    for (int r = 0; r < rows; ++r) {
      if (first_row + r >= p.m) break;
      for (int i = 0; i < valid; i += width) {
        const auto chunk = load_chunk<width>(a + r * p.a_row + (k + i) * p.a_column);
        for (int e = 0; e < width; ++e)
          sum[r] = multiply_add(chunk_element<width, T>(chunk, e), x[i + e], sum[r]);
      }
    }
  }
  for (int r = 0; r < rows; ++r) sum[r] = butterfly<Sum<accumulator<T>>>(sum[r]);
  out += ulong(group.z) * p.m;
  for (int r = 0; r < rows; ++r)
    if (lane == uint(r) && first_row + r < p.m)
      finish_product<T>(sum[r], out, first_row + r, c + offsets.c, first_row + r, 0, p);
}

// n == 1, and the columns of a are contiguous. A lane computes `width` elements; the simdgroups of
// a threadgroup, at most eight, share k.
template <typename T, typename Out, int width>
[[kernel]] void gemv_columns(device const T* a [[buffer(0)]], device const T* b [[buffer(1)]],
                             device const T* c [[buffer(2)]], device Out* out [[buffer(3)]],
                             constant MatmulArguments& p [[buffer(4)]],
                             uint3 group [[threadgroup_position_in_grid]],
                             uint simd_index [[simdgroup_index_in_threadgroup]],
                             uint simdgroups [[simdgroups_per_threadgroup]],
                             uint lane [[thread_index_in_simdgroup]]) {
  threadgroup accumulator<T> partial[8 * 32 * width];
  const uint row = (group.x * 32 + lane) * width;
  const uint k_begin = group.z / p.batches * p.k_part;
  const uint k_end = min(p.k, k_begin + p.k_part);
  const BatchOffsets offsets = batch_offsets(p, group.z % p.batches);
  a += offsets.a + row * p.a_row;
  b += offsets.b;
  accumulator<T> sum[width];
  for (int e = 0; e < width; ++e) sum[e] = accumulator<T>(0);
  if (row < p.m) {
    for (uint k = k_begin + simd_index; k < k_end; k += simdgroups) {
      const T x = load(b, k * p.b_row);
      const auto chunk = load_chunk<width>(a + k * p.a_column);
      for (int e = 0; e < width; ++e)
        sum[e] = multiply_add(chunk_element<width, T>(chunk, e), x, sum[e]);
    }
  }
  for (int e = 0; e < width; ++e) store(partial, (simd_index * width + e) * 32 + lane, sum[e]);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  if (simd_index > 0 || row >= p.m) return;
  out += ulong(group.z) * p.m;
  for (int e = 0; e < width; ++e) {
    for (uint s = 1; s < simdgroups; ++s)
      sum[e] = ops::add(sum[e], load(partial, (s * width + e) * 32 + lane));
    finish_product<T>(sum[e], out, row + e, c + offsets.c, row + e, 0, p);
  }
}

// ---- plain -------------------------------------------------------------------------------------

// Any type and strides, and k may be 0: a thread an element, 16 x 16 of them to a threadgroup.
template <typename T>
[[kernel]] void plain_product(device const T* a [[buffer(0)]], device const T* b [[buffer(1)]],
                              device const T* c [[buffer(2)]], device T* out [[buffer(3)]],
                              constant MatmulArguments& p [[buffer(4)]],
                              uint3 group [[threadgroup_position_in_grid]],
                              uint3 at [[thread_position_in_threadgroup]]) {
  constexpr int side = 16;
  threadgroup T a_tile[side * side];
  threadgroup T b_tile[side * side];
  const uint row = group.y * side + at.y, column = group.x * side + at.x;
  const BatchOffsets offsets = batch_offsets(p, group.z);
  a += offsets.a + row * p.a_row;
  b += offsets.b + column * p.b_column;
  accumulator<T> sum = accumulator<T>(0);
  for (uint k = 0; k < p.k; k += side) {
    const bool a_valid = row < p.m && k + at.x < p.k;
    const bool b_valid = column < p.n && k + at.y < p.k;
    store(a_tile, at.y * side + at.x, a_valid ? load(a, (k + at.x) * p.a_column) : T(0));
    store(b_tile, at.y * side + at.x, b_valid ? load(b, (k + at.y) * p.b_row) : T(0));
    threadgroup_barrier(mem_flags::mem_threadgroup);
    for (int i = 0; i < side; ++i)
      sum = multiply_add(load(a_tile, at.y * side + i), load(b_tile, i * side + at.x), sum);
    threadgroup_barrier(mem_flags::mem_threadgroup);
  }
  if (row < p.m && column < p.n)
    finish_product<T>(sum, out, (ulong(group.z) * p.m + row) * p.n + column, c + offsets.c, row,
                      column, p);
}
