// Attention: softmax(scale q k^T + mask) v, without a matrix of scores.
//
// attend takes blocks of rows with simdgroup matrices and goes over the keys once, block by block:
// what a block adds is relative to the highest score so far (Milakov and Gimelshein 2018, Dao et
// al. 2022). attend_few takes up to eight rows of a group, a part of the keys a threadgroup;
// join_parts adds the parts. A key that a row does not see adds nothing, whatever its value.
#include "attention.h"

namespace attention {

// The mean of all values, for a row that sees no key.
template <typename T>
inline float mean_value(device const T* v, long key_step, uint keys) {
  float sum = 0.0f;
  for (uint key = 0; key < keys; ++key) sum += static_cast<float>(v[key * key_step]);
  return sum / static_cast<float>(keys);
}

// Adds weights times values where some of these are not finite: without those of weight 0.
template <int count, int depth, int D, typename T>
inline void add_weighted(thread Fragment<float>* sums, thread Fragment<T>* weights,
                         threadgroup const T* values, uint lane) {
  for (uint key = 0; key < count * 8; ++key) {
    // The lane of this row that holds the weight.
    const uint holder = (lane & ~9u) | (key & 4) << 1 | (key >> 1 & 1);
    const float held = static_cast<float>(weights[key / 8].thread_elements()[key & 1]);
    const float weight = simd_shuffle(held, ushort(holder));
    if (weight == 0.0f) continue;
#pragma unroll
    for (int f = 0; f < depth; ++f)
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const T value = values[key * tile_pitch<T, D> + f * 8 + lane_column(lane) + e];
        sums[f].thread_elements()[e] =
            fma(weight, static_cast<float>(value), sums[f].thread_elements()[e]);
      }
  }
}

}  // namespace attention

// ---- blocks of rows ----------------------------------------------------------------------------

// A threadgroup takes 8 * simdgroups rows of a group, each simdgroup eight; `keys` at once. The
// extents D of keys and V of values are padded to whole matrices. Without values (V == 0) it
// writes each row's logsumexp.
template <typename T, typename Out, typename M, int D, int V, int keys, int simdgroups, int width>
[[kernel, max_total_threads_per_threadgroup(simdgroups * 32)]] void attend(
    device const T* q [[buffer(0)]], device const T* k [[buffer(1)]],
    device const T* v [[buffer(2)]], device const M* mask [[buffer(3)]],
    device const uchar* sinks [[buffer(4)]], device Out* out [[buffer(5)]],
    constant AttentionArguments& p [[buffer(6)]], uint3 group [[threadgroup_position_in_grid]],
    uint thread_index [[thread_index_in_threadgroup]],
    uint simd_index [[simdgroup_index_in_threadgroup]], uint lane [[thread_index_in_simdgroup]]) {
  using namespace attention;
  constexpr int threads = simdgroups * 32, blocks = keys / 8;
  constexpr int widest = tile_pitch<T, (D > V ? D : V)>;
  constexpr int value_fragments = V == 0 ? 1 : V / 8;
  threadgroup vec<T, 4> memory[(keys * widest + 3) / 4];  // vectors, for their alignment
  threadgroup uint spoiled[simdgroups];
  threadgroup T* const tile = reinterpret_cast<threadgroup T*>(memory);

  // The last rows see the most keys: they go first.
  const uint rows = p.shared * p.rows, all = (rows - 1) / (simdgroups * 8) + 1;
  const uint first = (all - 1 - group.x) * simdgroups * 8;
  const uint r = first + simd_index * 8 + lane_row(lane);
  const bool valid = r < rows;
  const Row row = row_of(group.z, group.y, valid ? r : rows - 1, p);
  const uint seen = valid ? seen_by(row.place, p) : 0;
  const uint end = seen_by((min(first + simdgroups * 8, rows) - 1) / p.shared, p);
  k += group.z * p.k[0] + group.y * p.k[1];
  v += group.z * p.v[0] + group.y * p.v[1];

  Fragment<T> queries[D / 8];
  read_fragments<D / 8>(queries, q + offset_of(row, p.q), p.q[3], p.dim, valid, lane);
  Fragment<float> sums[value_fragments];
  clear<value_fragments>(sums);
  float high = kHidden, total = 0.0f;

  for (uint key = 0; key < end; key += keys) {
    threadgroup_barrier(mem_flags::mem_threadgroup);  // the values before have been used
    load_tile<keys, D, threads, width>(k + key * p.k[2], EvenRows{p.k[2]}, p.k[3], p.columns - key,
                                       p.dim, tile, thread_index);
    threadgroup_barrier(mem_flags::mem_threadgroup);
    Fragment<float> scores[blocks];
    multiply_rows<blocks, D / 8, D>(scores, queries, tile);

    float highest = high;
#pragma unroll
    for (int j = 0; j < blocks; ++j)
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const float score = masked(scores[j].thread_elements()[e] * p.scale, row,
                                   key + j * 8 + lane_column(lane) + e, seen, mask, p);
        scores[j].thread_elements()[e] = score;
        highest = max(highest, score);
      }
    highest = row_max(highest);
    const float base = base_of(highest), before = ops::exp(high - base);
    high = highest;
    total *= before;
    Fragment<T> weights[blocks];
#pragma unroll
    for (int j = 0; j < blocks; ++j) {
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const float weight = ops::exp(scores[j].thread_elements()[e] - base);
        scores[j].thread_elements()[e] = weight;
        total += weight;
      }
      weights[j] = narrow<T>(scores[j]);
    }
    if constexpr (V > 0) {
#pragma unroll
      for (int f = 0; f < value_fragments; ++f)
#pragma unroll
        for (int e = 0; e < 2; ++e) sums[f].thread_elements()[e] *= before;
      threadgroup_barrier(mem_flags::mem_threadgroup);  // the keys have been used
      const bool finite =
          load_tile<keys, V, threads, width>(v + key * p.v[2], EvenRows{p.v[2]}, p.v[3],
                                             p.columns - key, p.value_dim, tile, thread_index);
      const bool spoils = simd_any(!finite);
      if (lane == 0) spoiled[simd_index] = spoils;
      threadgroup_barrier(mem_flags::mem_threadgroup);
      uint any = 0;
      for (int s = 0; s < simdgroups; ++s) any |= spoiled[s];
      if (any)
        add_weighted<blocks, value_fragments, V>(sums, weights, tile, lane);
      else
        multiply_columns<blocks, value_fragments, V>(sums, weights, tile);
    }
  }

  total = row_sum(total);
  if (!valid) return;
  const Settled s = settle(high, total, row, sinks, p);
  if constexpr (V == 0) {
    if (lane_column(lane) == 0) out[place_of(row, p)] = s.logsumexp;
  } else {
    const bool blind = s.logsumexp == numeric_limits<float>::infinity() && high == kHidden;
    out += place_of(row, p) * p.value_dim;
#pragma unroll
    for (int f = 0; f < value_fragments; ++f)
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const uint column = f * 8 + lane_column(lane) + e;
        if (column >= p.value_dim) continue;
        const float sum = sums[f].thread_elements()[e];
        out[column] = static_cast<Out>(blind ? mean_value(v + column * p.v[3], p.v[2], p.columns)
                                             : sum * s.factor);
      }
  }
}

// ---- few rows ----------------------------------------------------------------------------------

// Up to R rows of a group, of which each simdgroup has the softmax of one. A threadgroup of eight
// simdgroups takes part.x of the keys, 256 at once: four lanes a key for the scores, then a
// simdgroup a key for the values, of which a lane has `columns`. D is dim in whole runs of 16. With
// several parts it writes sums, the highest score and the total of the weights, as floats.
template <typename T, typename Out, typename M, int R, int D, int columns, int width>
[[kernel, max_total_threads_per_threadgroup(256)]] void attend_few(
    device const T* q [[buffer(0)]], device const T* k [[buffer(1)]],
    device const T* v [[buffer(2)]], device const M* mask [[buffer(3)]],
    device const uchar* sinks [[buffer(4)]], device Out* out [[buffer(5)]],
    constant AttentionArguments& p [[buffer(6)]], uint3 group [[threadgroup_position_in_grid]],
    uint3 groups [[threadgroups_per_grid]], uint thread_index [[thread_index_in_threadgroup]],
    uint simd_index [[simdgroup_index_in_threadgroup]], uint lane [[thread_index_in_simdgroup]]) {
  using namespace attention;
  constexpr uint threads = 256, simdgroups = 8, keys = 256, run = 4;
  threadgroup float queries[R * D];
  threadgroup float weights[R * keys];
  threadgroup float partial[simdgroups * columns * 32];
  threadgroup float befores[R], highs[R], totals[R];

  const uint rows = p.shared * p.rows;
  for (uint i = thread_index; i < R * D; i += threads) {
    const uint r = i / D, c = i % D;
    float x = 0.0f;
    if (r < rows && c < p.dim)
      x = static_cast<float>(q[offset_of(row_of(group.z, group.y, r, p), p.q) + c * p.q[3]]);
    queries[i] = x * p.scale;
  }
  k += group.z * p.k[0] + group.y * p.k[1];
  v += group.z * p.v[0] + group.y * p.v[1];
  float sums[R][columns];
  for (int r = 0; r < R; ++r)
    for (int c = 0; c < columns; ++c) sums[r][c] = 0.0f;
  float high = kHidden, total = 0.0f;  // of the simdgroup's row

  const uint begin = group.x * p.part, end = min(p.columns, begin + p.part);
  for (uint first = begin; first < end; first += keys) {
    threadgroup_barrier(mem_flags::mem_threadgroup);  // the weights before have been used
    for (uint slot = thread_index / 4; slot < keys; slot += threads / 4) {
      const uint key = first + slot, quarter = lane % 4;
      if (first + slot / 8 * 8 >= end) {  // for the whole simdgroup
        for (uint r = quarter; r < R; r += 4) weights[r * keys + slot] = kHidden;
        continue;
      }
      float products[R];
      for (int r = 0; r < R; ++r) products[r] = 0.0f;
      for (uint c = quarter * run; key < end && c < p.dim; c += 4 * run)
        for (uint i = 0; i < run && c + i < p.dim; i += width) {
          const Neighbours<T, width> n =
              read_neighbours<width>(k + key * p.k[2] + (c + i) * p.k[3], p.k[3]);
          for (int e = 0; e < width; ++e)
            for (int r = 0; r < R; ++r)
              products[r] =
                  fma(queries[r * D + c + i + e], static_cast<float>(n.x[e]), products[r]);
        }
      for (int r = 0; r < R; ++r) {
        products[r] += simd_shuffle_xor(products[r], 1);
        products[r] += simd_shuffle_xor(products[r], 2);
        if (quarter != uint(r) % 4) continue;
        const Row row = row_of(group.z, group.y, min(uint(r), rows - 1), p);
        const uint seen = min(end, seen_by(row.place, p));
        weights[r * keys + slot] = masked(products[r], row, key, seen, mask, p);
      }
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (simd_index < R) {
      threadgroup float* const own = weights + simd_index * keys;
      float highest = high;
      for (uint i = lane; i < keys; i += 32) highest = max(highest, own[i]);
      for (ushort m = 16; m > 0; m /= 2) highest = max(highest, simd_shuffle_xor(highest, m));
      const float base = base_of(highest), before = ops::exp(high - base);
      float sum = 0.0f;
      for (uint i = lane; i < keys; i += 32) {
        own[i] = ops::exp(own[i] - base);
        sum += own[i];
      }
      for (ushort m = 16; m > 0; m /= 2) sum += simd_shuffle_xor(sum, m);
      total = total * before + sum;
      high = highest;
      if (lane == 0) befores[simd_index] = before;
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    for (int r = 0; r < R; ++r)
      for (int c = 0; c < columns; ++c) sums[r][c] *= befores[r];
    for (uint slot = simd_index; slot < min(keys, end - first); slot += simdgroups) {
      float weight[R];
      bool any = false;
      for (int r = 0; r < R; ++r) {
        weight[r] = weights[r * keys + slot];
        any = any || weight[r] != 0.0f;
      }
      if (!any) continue;
      for (int n = 0; n < columns / width; ++n) {
        const uint c = (n * 32 + lane) * width;
        if (c >= p.value_dim) break;
        const Neighbours<T, width> x =
            read_neighbours<width>(v + (first + slot) * p.v[2] + c * p.v[3], p.v[3]);
        for (int e = 0; e < width; ++e)
          for (int r = 0; r < R; ++r) {
            const float sum = sums[r][n * width + e];
            if (weight[r] != 0.0f)
              sums[r][n * width + e] = fma(weight[r], static_cast<float>(x.x[e]), sum);
          }
      }
    }
  }

  if (simd_index < R && lane == 0) {
    highs[simd_index] = high;
    totals[simd_index] = total;
  }
  for (int r = 0; r < R; ++r) {
    threadgroup_barrier(mem_flags::mem_threadgroup);
    for (int n = 0; n < columns / width; ++n)
      for (int e = 0; e < width; ++e)
        partial[(simd_index * columns + n * width) * 32 + lane * width + e] =
            sums[r][n * width + e];
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (uint(r) >= rows) break;
    const Row row = row_of(group.z, group.y, r, p);
    for (uint c = thread_index; c < p.value_dim; c += threads) {
      float sum = partial[c];
      for (uint s = 1; s < simdgroups; ++s) sum += partial[s * columns * 32 + c];
      if constexpr (is_same_v<Out, T>) {
        if (p.parts == 1) {
          const Settled s = settle(highs[r], totals[r], row, sinks, p);
          const bool blind =
              s.logsumexp == numeric_limits<float>::infinity() && highs[r] == kHidden;
          out[place_of(row, p) * p.value_dim + c] = static_cast<Out>(
              blind ? mean_value(v + c * p.v[3], p.v[2], p.columns) : sum * s.factor);
          continue;
        }
      }
      if constexpr (is_same_v<Out, float>) {
        device Out* const to = out + (place_of(row, p) * p.parts + group.x) * (p.value_dim + 2);
        to[c] = sum;
        if (c == 0) {
          to[p.value_dim] = highs[r];
          to[p.value_dim + 1] = totals[r];
        }
      }
    }
  }
}

// Adds the parts of a row in their order. The grid is value_dim x shared * rows x entries * groups.
template <typename T>
[[kernel]] void join_parts(device const float* parts [[buffer(0)]], device const T* v [[buffer(1)]],
                           device const uchar* sinks [[buffer(2)]], device T* out [[buffer(3)]],
                           constant AttentionArguments& p [[buffer(4)]],
                           uint3 at [[thread_position_in_grid]]) {
  using namespace attention;
  const uint groups = p.heads / p.shared, entry = at.z / groups, group = at.z % groups;
  const Row row = row_of(entry, group, at.y, p);
  const ulong place = place_of(row, p), step = p.value_dim + 2;
  parts += place * p.parts * step;
  float high = kHidden, total = 0.0f, sum = 0.0f;
  for (uint i = 0; i < p.parts; ++i) high = max(high, parts[i * step + p.value_dim]);
  const float base = base_of(high);
  for (uint i = 0; i < p.parts; ++i) {
    const float share = ops::exp(parts[i * step + p.value_dim] - base);
    if (share == 0.0f) continue;
    total = fma(share, parts[i * step + p.value_dim + 1], total);
    sum = fma(share, parts[i * step + at.x], sum);
  }
  const Settled s = settle(high, total, row, sinks, p);
  const bool blind = s.logsumexp == numeric_limits<float>::infinity() && high == kHidden;
  v += entry * p.v[0] + group * p.v[1] + at.x * p.v[3];
  out[place * p.value_dim + at.x] =
      static_cast<T>(blind ? mean_value(v, p.v[2], p.columns) : sum * s.factor);
}
