// The gradient of attention: blocks of weights are computed again from each row's logsumexp, which
// attend gives without values, so no scores are kept.
//
// With w the weights, g the cotangent of the output o and d = sum(g o) of a row (delta), the
// scores' cotangent is s = w (g v^T - d); queries get scale s k, keys scale s^T q, values w^T g.
#include "attention.h"

// d of each row, a simdgroup each.
template <typename T>
[[kernel]] void deltas(device const T* output [[buffer(0)]],
                       device const T* cotangent [[buffer(1)]], device float* out [[buffer(2)]],
                       constant AttentionArguments& p [[buffer(3)]],
                       uint3 group [[threadgroup_position_in_grid]],
                       uint simd_index [[simdgroup_index_in_threadgroup]],
                       uint lane [[thread_index_in_simdgroup]]) {
  using namespace attention;
  const uint place = group.x * 8 + simd_index;
  if (place >= p.rows) return;
  const Row row = {group.z, group.y, place};
  output += offset_of(row, p.output);
  cotangent += offset_of(row, p.cotangent);
  float sum = 0.0f;
  for (uint c = lane; c < p.value_dim; c += 32)
    sum = fma(static_cast<float>(output[c * p.output[3]]),
              static_cast<float>(cotangent[c * p.cotangent[3]]), sum);
  sum = butterfly<Sum<float>>(sum);
  if (lane == 0) out[place_of(row, p)] = sum;
}

// Of a block of rows as in attend.
template <typename T, typename M, int D, int V, int keys, int simdgroups, int width>
[[kernel, max_total_threads_per_threadgroup(simdgroups * 32)]] void queries_gradient(
    device const T* q [[buffer(0)]], device const T* k [[buffer(1)]],
    device const T* v [[buffer(2)]], device const M* mask [[buffer(3)]],
    device const T* cotangent [[buffer(4)]], device const float* logsumexp [[buffer(5)]],
    device const float* delta [[buffer(6)]], device T* out [[buffer(7)]],
    constant AttentionArguments& p [[buffer(8)]], uint3 group [[threadgroup_position_in_grid]],
    uint thread_index [[thread_index_in_threadgroup]],
    uint simd_index [[simdgroup_index_in_threadgroup]], uint lane [[thread_index_in_simdgroup]]) {
  using namespace attention;
  constexpr int threads = simdgroups * 32, blocks = keys / 8;
  threadgroup vec<T, 4> key_memory[(keys * tile_pitch<T, D> + 3) / 4];
  threadgroup vec<T, 4> value_memory[(keys * tile_pitch<T, V> + 3) / 4];
  threadgroup T* const key_tile = reinterpret_cast<threadgroup T*>(key_memory);
  threadgroup T* const value_tile = reinterpret_cast<threadgroup T*>(value_memory);

  const uint rows = p.shared * p.rows, all = (rows - 1) / (simdgroups * 8) + 1;
  const uint first = (all - 1 - group.x) * simdgroups * 8;
  const uint r = first + simd_index * 8 + lane_row(lane);
  const bool valid = r < rows;
  const Row row = row_of(group.z, group.y, valid ? r : rows - 1, p);
  const uint seen = valid ? seen_by(row.place, p) : 0;
  const uint end = seen_by((min(first + simdgroups * 8, rows) - 1) / p.shared, p);
  const float weighed = logsumexp[place_of(row, p)], shift = delta[place_of(row, p)];
  k += group.z * p.k[0] + group.y * p.k[1];
  v += group.z * p.v[0] + group.y * p.v[1];

  Fragment<T> queries[D / 8], slopes[V / 8];
  read_fragments<D / 8>(queries, q + offset_of(row, p.q), p.q[3], p.dim, valid, lane);
  read_fragments<V / 8>(slopes, cotangent + offset_of(row, p.cotangent), p.cotangent[3],
                        p.value_dim, valid, lane);
  Fragment<float> sums[D / 8];
  clear<D / 8>(sums);
  for (uint key = 0; key < end; key += keys) {
    threadgroup_barrier(mem_flags::mem_threadgroup);  // the tiles before have been used
    load_tile<keys, D, threads, width>(k + key * p.k[2], EvenRows{p.k[2]}, p.k[3], p.columns - key,
                                       p.dim, key_tile, thread_index);
    load_tile<keys, V, threads, width>(v + key * p.v[2], EvenRows{p.v[2]}, p.v[3], p.columns - key,
                                       p.value_dim, value_tile, thread_index);
    threadgroup_barrier(mem_flags::mem_threadgroup);
    Fragment<float> scores[blocks], found[blocks];
    multiply_rows<blocks, D / 8, D>(scores, queries, key_tile);
    multiply_rows<blocks, V / 8, V>(found, slopes, value_tile);
    Fragment<T> weights[blocks];
#pragma unroll
    for (int j = 0; j < blocks; ++j) {
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const float score = masked(scores[j].thread_elements()[e] * p.scale, row,
                                   key + j * 8 + lane_column(lane) + e, seen, mask, p);
        const float weight = ops::exp(score - weighed);
        found[j].thread_elements()[e] =
            score == kHidden ? 0.0f : weight * (found[j].thread_elements()[e] - shift);
      }
      weights[j] = narrow<T>(found[j]);
    }
    multiply_columns<blocks, D / 8, D>(sums, weights, key_tile);
  }
  if (!valid) return;
  out += place_of(row, p) * p.dim;
#pragma unroll
  for (int f = 0; f < D / 8; ++f)
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      const uint column = f * 8 + lane_column(lane) + e;
      if (column < p.dim) out[column] = static_cast<T>(sums[f].thread_elements()[e] * p.scale);
    }
}

// A threadgroup takes 8 * simdgroups keys of a group, each simdgroup eight, and goes over all rows
// of the group, `rows` at once. Scores stand transposed: a lane has one key and several rows.
template <typename T, typename M, int D, int V, int rows, int simdgroups, int width>
[[kernel, max_total_threads_per_threadgroup(simdgroups * 32)]] void keys_gradient(
    device const T* q [[buffer(0)]], device const T* k [[buffer(1)]],
    device const T* v [[buffer(2)]], device const M* mask [[buffer(3)]],
    device const T* cotangent [[buffer(4)]], device const float* logsumexp [[buffer(5)]],
    device const float* delta [[buffer(6)]], device T* keys_out [[buffer(7)]],
    device T* values_out [[buffer(8)]], constant AttentionArguments& p [[buffer(9)]],
    uint3 group [[threadgroup_position_in_grid]], uint thread_index [[thread_index_in_threadgroup]],
    uint simd_index [[simdgroup_index_in_threadgroup]], uint lane [[thread_index_in_simdgroup]]) {
  using namespace attention;
  constexpr int threads = simdgroups * 32, blocks = rows / 8;
  threadgroup vec<T, 4> query_memory[(rows * tile_pitch<T, D> + 3) / 4];
  threadgroup vec<T, 4> slope_memory[(rows * tile_pitch<T, V> + 3) / 4];
  threadgroup T* const query_tile = reinterpret_cast<threadgroup T*>(query_memory);
  threadgroup T* const slope_tile = reinterpret_cast<threadgroup T*>(slope_memory);

  const uint first = group.x * simdgroups * 8, key = first + simd_index * 8 + lane_row(lane);
  const bool valid = key < p.columns;
  const uint own = valid ? key : p.columns - 1;
  const long key_row = group.z * p.k[0] + group.y * p.k[1] + own * p.k[2];
  const long value_row = group.z * p.v[0] + group.y * p.v[1] + own * p.v[2];
  Fragment<T> keys[D / 8], values[V / 8];
  read_fragments<D / 8>(keys, k + key_row, p.k[3], p.dim, valid, lane);
  read_fragments<V / 8>(values, v + value_row, p.v[3], p.value_dim, valid, lane);
  Fragment<float> key_sums[D / 8], value_sums[V / 8];
  clear<D / 8>(key_sums);
  clear<V / 8>(value_sums);

  // The first place that sees a key of these; all, where some see no key at all.
  const uint all = p.shared * p.rows;
  const long later = long(first) + p.rows - p.columns;
  const uint begin = causal && p.rows <= p.columns && later > 0 ? uint(later) * p.shared : 0;
  for (uint r = begin; r < all; r += rows) {
    threadgroup_barrier(mem_flags::mem_threadgroup);  // the tiles before have been used
    load_tile<rows, D, threads, width>(q, GroupRows{group.z, group.y, r, p.shared, p.q}, p.q[3],
                                       all - r, p.dim, query_tile, thread_index);
    load_tile<rows, V, threads, width>(
        cotangent, GroupRows{group.z, group.y, r, p.shared, p.cotangent}, p.cotangent[3], all - r,
        p.value_dim, slope_tile, thread_index);
    threadgroup_barrier(mem_flags::mem_threadgroup);
    Fragment<float> scores[blocks], found[blocks];
    multiply_rows<blocks, D / 8, D>(scores, keys, query_tile);
    multiply_rows<blocks, V / 8, V>(found, values, slope_tile);
    Fragment<T> weights[blocks], cotangents[blocks];
#pragma unroll
    for (int j = 0; j < blocks; ++j) {
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const uint at = r + j * 8 + lane_column(lane) + e;
        const Row row = row_of(group.z, group.y, min(at, all - 1), p);
        const uint seen = at < all && valid ? seen_by(row.place, p) : 0;
        const float weighed = logsumexp[place_of(row, p)], shift = delta[place_of(row, p)];
        const float score =
            masked(scores[j].thread_elements()[e] * p.scale, row, key, seen, mask, p);
        float weight = ops::exp(score - weighed);
        found[j].thread_elements()[e] =
            score == kHidden ? 0.0f : weight * (found[j].thread_elements()[e] - shift);
        // A row that sees no key takes the mean of all values.
        if (weighed == numeric_limits<float>::infinity())
          weight = at < all && valid ? 1.0f / static_cast<float>(p.columns) : 0.0f;
        scores[j].thread_elements()[e] = weight;
      }
      weights[j] = narrow<T>(scores[j]);
      cotangents[j] = narrow<T>(found[j]);
    }
    multiply_columns<blocks, V / 8, V>(value_sums, weights, slope_tile);
    multiply_columns<blocks, D / 8, D>(key_sums, cotangents, query_tile);
  }
  if (!valid) return;
  const uint groups = p.heads / p.shared;
  const ulong place = (ulong(group.z) * groups + group.y) * p.columns + key;
  keys_out += place * p.dim;
  values_out += place * p.value_dim;
#pragma unroll
  for (int e = 0; e < 2; ++e) {
#pragma unroll
    for (int f = 0; f < D / 8; ++f) {
      const uint column = f * 8 + lane_column(lane) + e;
      if (column < p.dim)
        keys_out[column] = static_cast<T>(key_sums[f].thread_elements()[e] * p.scale);
    }
#pragma unroll
    for (int f = 0; f < V / 8; ++f) {
      const uint column = f * 8 + lane_column(lane) + e;
      if (column < p.value_dim)
        values_out[column] = static_cast<T>(value_sums[f].thread_elements()[e]);
    }
  }
}

// A sink's weight belongs to no value: -sum(w d) over the rows of its head, of one entry (group.y)
// or of all. A threadgroup of eight simdgroups a sink.
template <typename T>
[[kernel]] void sinks_gradient(device const uchar* sinks [[buffer(0)]],
                               device const float* logsumexp [[buffer(1)]],
                               device const float* delta [[buffer(2)]], device T* out [[buffer(3)]],
                               constant AttentionArguments& p [[buffer(4)]],
                               uint3 group [[threadgroup_position_in_grid]],
                               uint thread_index [[thread_index_in_threadgroup]],
                               uint simd_index [[simdgroup_index_in_threadgroup]],
                               uint lane [[thread_index_in_simdgroup]]) {
  using namespace attention;
  threadgroup float partial[8];
  const uint begin = p.sinks_apart ? group.y : 0, end = p.sinks_apart ? group.y + 1 : p.entries;
  float sum = 0.0f;
  for (uint entry = begin; entry < end; ++entry)
    for (uint place = thread_index; place < p.rows; place += 256) {
      const Row row = {entry, group.x, place};
      const ulong at = place_of(row, p);
      sum = fma(-ops::exp(sink_of(row, sinks, p) - logsumexp[at]), delta[at], sum);
    }
  sum = butterfly<Sum<float>>(sum);
  if (lane == 0) partial[simd_index] = sum;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  if (thread_index > 0) return;
  for (uint s = 1; s < 8; ++s) sum += partial[s];
  out[ulong(begin) * p.heads + group.x] = static_cast<T>(sum);
}
