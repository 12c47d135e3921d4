// What the kernels of attention and of its gradient share: rows, scores, tiles.
//
// The queries that share a head of keys are rows of a group, those of one place side by side: row r
// is the place r / shared of head r % shared. So a block of rows reads keys and values once.
#pragma once

#include "arguments.h"
#include "types.h"

constant bool causal [[function_constant(10)]];
constant bool has_mask [[function_constant(11)]];    // of numbers to be added, or of bools
constant bool added_mask [[function_constant(12)]];  // it is of numbers
constant bool has_sinks [[function_constant(13)]];

namespace attention {

constant constexpr float kHidden = -numeric_limits<float>::infinity();

// ---- rows --------------------------------------------------------------------------------------

struct Row {
  uint entry, head, place;
};
inline Row row_of(uint entry, uint group, uint r, constant AttentionArguments& p) {
  return {entry, group * p.shared + r % p.shared, r / p.shared};
}
inline long offset_of(Row row, constant const long* strides) {
  return row.entry * strides[0] + row.head * strides[1] + row.place * strides[2];
}
// Its place in row-major memory of the queries' extents.
inline ulong place_of(Row row, constant AttentionArguments& p) {
  return (ulong(row.entry) * p.heads + row.head) * p.rows + row.place;
}
// How many keys causality leaves to it.
inline uint seen_by(uint place, constant AttentionArguments& p) {
  if (!causal) return p.columns;
  const long seen = long(place) + 1 + p.columns - p.rows;
  return uint(clamp(seen, long(0), long(p.columns)));
}

// The score as masks leave it: kHidden for a key that the row does not see.
template <typename M>
inline float masked(float score, Row row, uint key, uint seen, device const M* mask,
                    constant AttentionArguments& p) {
  if (key >= seen) return kHidden;
  if (!has_mask) return score;
  const M m = mask[offset_of(row, p.mask) + key * p.mask[3]];
  if constexpr (is_same_v<M, bool>)
    return m ? score : kHidden;
  else
    return score + static_cast<float>(m);
}

inline float sink_of(Row row, device const uchar* sinks, constant AttentionArguments& p) {
  const long at = row.entry * p.sinks[0] + row.head * p.sinks[1];
  if (p.sink_type == kSinkHalf)
    return static_cast<float>(reinterpret_cast<device const half*>(sinks)[at]);
  if (p.sink_type == kSinkBfloat)
    return static_cast<float>(reinterpret_cast<device const bfloat*>(sinks)[at]);
  return reinterpret_cast<device const float*>(sinks)[at];
}

// What a row's sums are multiplied by in the end, and the logarithm of what its weights add up to:
// infinite for a row that sees no key, nan where an added mask says so.
struct Settled {
  float factor, logsumexp;
};
inline Settled settle(float high, float total, Row row, device const uchar* sinks,
                      constant AttentionArguments& p) {
  float top = high, share = 1.0f;
  if (has_sinks) {
    const float sink = sink_of(row, sinks, p);
    top = max(high, sink);
    share = ops::exp(high - top);
    total = total * share + ops::exp(sink - top);
  }
  const float none = added_mask ? numeric_limits<float>::quiet_NaN() : 1.0f;
  if (total == 0.0f) return {none, none * numeric_limits<float>::infinity()};
  return {share / total, top + ops::log(total)};
}

// What a row's highest score is subtracted by from its scores, so that hidden ones weigh nothing.
inline float base_of(float high) { return high == kHidden ? 0.0f : high; }

// ---- memory ------------------------------------------------------------------------------------

// `width` neighbours, read at once.
template <typename T, int width>
struct Neighbours {
  T x[width];
};
template <int width, typename T>
inline Neighbours<T, width> read_neighbours(device const T* from, long step) {
  Neighbours<T, width> n;
  if constexpr (width == 4) {
    const vec<T, 4> v = *reinterpret_cast<device const vec<T, 4>*>(from);
    for (int e = 0; e < 4; ++e) n.x[e] = v[e];
  } else {
    for (int e = 0; e < width; ++e) n.x[e] = from[e * step];
  }
  return n;
}

// A tile of rows in threadgroup memory, zeros beyond `rows` and `columns`. The sixteen bytes of
// padding put the eight rows of a simdgroup matrix in different banks. False where what was read
// is not all finite.
template <typename T, int D>
constant constexpr int tile_pitch = D + 16 / int(sizeof(T));
template <int extent, int D, int threads, int width, typename T, typename Offset>
inline bool load_tile(device const T* from, Offset offset, long step, uint rows, uint columns,
                      threadgroup T* tile, uint thread_index) {
  bool finite = true;
  for (uint i = thread_index * width; i < extent * D; i += threads * width) {
    const uint row = i / D, column = i % D;
    threadgroup T* const to = tile + row * tile_pitch<T, D> + column;
    if (row < rows && column < columns) {
      const Neighbours<T, width> n =
          read_neighbours<width>(from + offset(row) + column * step, step);
      for (int e = 0; e < width; ++e) {
        finite = finite && isfinite(static_cast<float>(n.x[e]));
        to[e] = n.x[e];
      }
    } else {
      for (int e = 0; e < width; ++e) to[e] = T(0);
    }
  }
  return finite;
}
// Rows that lie evenly, and rows of a group.
struct EvenRows {
  long step;
  long operator()(uint row) const thread { return row * step; }
};
struct GroupRows {
  uint entry, group, first, shared;
  constant const long* strides;
  long operator()(uint row) const thread {
    const uint r = first + row;
    return entry * strides[0] + (group * shared + r % shared) * strides[1] +
           r / shared * strides[2];
  }
};

// ---- fragments ---------------------------------------------------------------------------------

// Eight rows of simdgroup matrices, of which a lane holds two neighbours of one row each.
template <typename T>
using Fragment = simdgroup_matrix<T, 8, 8>;
inline uint lane_row(uint lane) { return (lane / 4 & 4) + lane / 2 % 4; }
inline uint lane_column(uint lane) { return (lane / 4 & 2) * 2 + lane % 2 * 2; }

// Of a lane's own row: zeros beyond `columns`, and everywhere if the row is not valid.
template <int count, typename T>
inline void read_fragments(thread Fragment<T>* to, device const T* row, long step, uint columns,
                           bool valid, uint lane) {
#pragma unroll
  for (int f = 0; f < count; ++f)
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      const uint column = f * 8 + lane_column(lane) + e;
      to[f].thread_elements()[e] = valid && column < columns ? row[column * step] : T(0);
    }
}
template <int count>
inline void clear(thread Fragment<float>* x) {
#pragma unroll
  for (int f = 0; f < count; ++f) x[f] = make_filled_simdgroup_matrix<float, 8, 8>(0.0f);
}
// sums[j] = x times the transposed rows j * 8 ... of a tile: products of rows.
template <int count, int depth, int D, typename T>
inline void multiply_rows(thread Fragment<float>* sums, thread Fragment<T>* x,
                          threadgroup const T* tile) {
  clear<count>(sums);
#pragma unroll
  for (int f = 0; f < depth; ++f)
#pragma unroll
    for (int j = 0; j < count; ++j) {
      Fragment<T> y;
      simdgroup_load(y, tile + j * 8 * tile_pitch<T, D> + f * 8, tile_pitch<T, D>, ulong2(0), true);
      simdgroup_multiply_accumulate(sums[j], x[f], y, sums[j]);
    }
}
// sums += weights times the rows of a tile.
template <int count, int depth, int D, typename T>
inline void multiply_columns(thread Fragment<float>* sums, thread Fragment<T>* weights,
                             threadgroup const T* tile) {
#pragma unroll
  for (int j = 0; j < count; ++j)
#pragma unroll
    for (int f = 0; f < depth; ++f) {
      Fragment<T> y;
      simdgroup_load(y, tile + j * 8 * tile_pitch<T, D> + f * 8, tile_pitch<T, D>);
      simdgroup_multiply_accumulate(sums[f], weights[j], y, sums[f]);
    }
}
template <typename T>
inline Fragment<T> narrow(Fragment<float> x) {
  Fragment<T> y;
#pragma unroll
  for (int e = 0; e < 2; ++e) y.thread_elements()[e] = static_cast<T>(x.thread_elements()[e]);
  return y;
}

// Combines what the four lanes of a row have.
inline float row_sum(float x) {
  x += simd_shuffle_xor(x, 1);
  return x + simd_shuffle_xor(x, 8);
}
inline float row_max(float x) {
  x = max(x, simd_shuffle_xor(x, 1));
  return max(x, simd_shuffle_xor(x, 8));
}

}  // namespace attention
