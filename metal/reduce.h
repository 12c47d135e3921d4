// The order of a reduction, for generated programs: element i of a block of 4096 goes to lane i mod
// 64, a lane combines in ascending order, lanes fold halves onto halves, and blocks are combined
// with their neighbours first. Of a block's lanes a thread has some, `count` in all hold a value.
// `Reduction` is Sum<T>, Max<T>, ... of types.h.
#pragma once

#include "types.h"

// Up to 16 lanes in one thread.
template <typename Reduction, typename T>
inline T fold_thread(thread T* lanes, uint count) {
  for (uint w = 8; w > 0; w /= 2)
    for (uint l = 0; l < w && l + w < count; ++l)
      lanes[l] = Reduction::combine(lanes[l], lanes[l + w]);
  return lanes[0];
}

// A simdgroup, each thread with the lanes `lane` and `lane` + 32. The result is given to each.
template <typename Reduction, typename T>
inline T fold_simdgroup(thread T* lanes, uint lane, uint count) {
  T x = lanes[0];
  if (lane + 32 < count) x = Reduction::combine(x, lanes[1]);
  for (ushort w = 16; w > 0; w /= 2) {
    const T other = shuffle_xor(x, w);
    if (lane < w && lane + w < count) x = Reduction::combine(x, other);
  }
  return shuffle(x, 0);
}

// A threadgroup of 256 threads, each with every 256th element of a block of `length` from its index
// on. The result is given to each. `shared` has room for 1024 values.
template <typename Reduction, typename T>
inline T fold_threadgroup(thread T* values, uint count, threadgroup T* shared, uint thread_index,
                          uint length) {
  T lanes[2];
  lanes[0] = values[0];
  lanes[1] = values[0];
  for (uint first = 0; first < count; first += 4) {
    threadgroup_barrier(mem_flags::mem_threadgroup);  // what was there has been read
    for (uint k = first; k < min(first + 4, count); ++k)
      if (k * 256 + thread_index < length)
        store(shared, (k - first) * 256 + thread_index, values[k]);
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (thread_index >= 32) continue;
    const uint end = min(length - min(length, first * 256), 1024u);
    for (uint at = thread_index; at < end; at += 32) {
      const uint q = at / 32 % 2;
      const T x = load(shared, at);
      if (first == 0 && at < 64)
        lanes[q] = x;
      else
        lanes[q] = Reduction::combine(lanes[q], x);
    }
  }
  T folded = lanes[0];
  if (thread_index < 32) folded = fold_simdgroup<Reduction>(lanes, thread_index, min(length, 64u));
  threadgroup_barrier(mem_flags::mem_threadgroup);
  if (thread_index == 0) store(shared, 0, folded);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  return load(shared, 0u);
}

// A threadgroup of 32 columns by 8 slices: a thread has every eighth lane of a column from `slice`
// on. The result is given to each thread of a column. `shared` has room for a value a thread.
template <typename Reduction, typename T>
inline T fold_slices(thread T* lanes, threadgroup T* shared, uint column, uint slice, uint count) {
  for (uint w = 4; w > 0; w /= 2)
    for (uint l = 0; l < w; ++l)
      if (slice + 8 * (l + w) < count) lanes[l] = Reduction::combine(lanes[l], lanes[l + w]);
  threadgroup_barrier(mem_flags::mem_threadgroup);  // what was there has been read
  store(shared, slice * 32 + column, lanes[0]);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  for (uint s = 0; s < 8; ++s) lanes[s] = load(shared, s * 32 + column);
  return fold_thread<Reduction>(lanes, min(count, 8u));
}

// Neighbouring blocks in the threads of a simdgroup, given to each.
template <typename Reduction, typename T>
inline T combine_blocks(T x, uint lane, uint count) {
  for (ushort w = 1; w < 32; w *= 2) {
    const T other = shuffle_xor(x, w);
    if (lane % (2 * w) == 0 && lane + w < count) x = Reduction::combine(x, other);
  }
  return shuffle(x, 0);
}

// A block of each simdgroup of a threadgroup, of which the first `count` have one. The result is
// given to each thread. `shared` has room for a value a simdgroup.
template <typename Reduction, typename T>
inline T combine_simdgroups(T x, threadgroup T* shared, uint lane, uint simdgroup, uint count) {
  threadgroup_barrier(mem_flags::mem_threadgroup);  // what was there has been read
  if (lane == 0) store(shared, simdgroup, x);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  return combine_blocks<Reduction>(load(shared, lane < count ? lane : 0), lane, count);
}

// Blocks, or aligned runs of as many each, one after the other: they add up as a binary counter
// carries.
template <typename Reduction, typename T>
struct Blocks {
  T level[32];
  uint count;
  ushort depth;
  Blocks() thread : count(0), depth(0) {}

  void push(T x) thread {
    for (uint n = count++; n & 1; n >>= 1) x = Reduction::combine(level[--depth], x);
    level[depth++] = x;
  }
  T total() thread {
    T x = level[--depth];
    while (depth > 0) x = Reduction::combine(level[--depth], x);
    return x;
  }
};

// The partial results of a row's chunks, which are aligned runs of as many blocks each, by the
// threads of a simdgroup.
template <typename Reduction, typename T, typename Index>
inline T combine_chunks(device const T* partial, Index first, uint lane, uint count) {
  uint run = 1;  // chunks a thread
  while (run * 32 < count) run *= 2;
  Blocks<Reduction, T> blocks;
  for (uint c = lane * run; c < min(lane * run + run, count); ++c)
    blocks.push(load(partial, first + c));
  const uint threads = (count + run - 1) / run;
  T x = T(0);
  if (lane < threads) x = blocks.total();
  return combine_blocks<Reduction>(x, lane, threads);
}
