// Gather and scatter.
//
// Both move blocks, the elements over the axes that no index names, to or from the places that
// tuples of indices name. Threads are laid out as (element of a block, tuple); grid.z continues x.
#include <metal_stdlib>

#include "axes.h"
#include "types.h"
using namespace metal;

// The place of a tuple with an index out of range.
template <typename Index>
inline Index nowhere() {
  return numeric_limits<Index>::min();
}

// Adds what the index along one axis contributes to the place of a tuple. A negative index counts
// from the end. The first thread that finds one out of range reports it.
template <typename I, typename Index>
inline Index place_of(device const I* indices, uint tuple, Index before, constant IndexArguments& p,
                      device IndexFault* fault) {
  const long index = static_cast<long>(indices[offset_of(static_cast<Index>(tuple), p.axes, 0)]);
  const long position = index < 0 ? index + p.extent : index;
  if (position >= 0 && position < p.extent)
    return before + static_cast<Index>(position) * static_cast<Index>(p.stride);
  device atomic_uint* found = reinterpret_cast<device atomic_uint*>(&fault->found);
  if (atomic_exchange_explicit(found, 1u, memory_order_relaxed) == 0) {
    fault->axis = p.axis;
    fault->index = index;
  }
  return nowhere<Index>();
}

// Adds one axis's part to the places of all tuples.
template <typename I, typename Index>
[[kernel]] void locate(device const I* indices [[buffer(0)]], device Index* places [[buffer(1)]],
                       device IndexFault* fault [[buffer(2)]],
                       constant IndexArguments& p [[buffer(3)]],
                       uint tuple [[thread_position_in_grid]]) {
  const Index before = p.first ? 0 : places[tuple];
  if (before != nowhere<Index>()) places[tuple] = place_of(indices, tuple, before, p, fault);
}

// The thread's element of a block.
template <typename Index>
inline Index element_of(uint3 at, uint3 grid) {
  return static_cast<Index>(at.z) * static_cast<Index>(grid.x) + static_cast<Index>(at.x);
}

// T is the word that blocks are moved by. Nowhere are zeros.
template <typename T, typename Index>
inline void fetch(device const T* from, device T* to, constant GatherArguments& p, Index place,
                  Index element, uint tuple) {
  T value = T(0);
  if (place != nowhere<Index>()) value = from[place + offset_of(element, p.block, 0)];
  to[static_cast<Index>(tuple) * static_cast<Index>(p.size) + element] = value;
}

template <typename T, typename Index>
[[kernel]] void gather_blocks(device const T* from [[buffer(0)]], device T* to [[buffer(1)]],
                              device const Index* places [[buffer(2)]],
                              constant GatherArguments& p [[buffer(3)]],
                              uint3 at [[thread_position_in_grid]],
                              uint3 grid [[threads_per_grid]]) {
  const Index element = element_of<Index>(at, grid);
  if (element < static_cast<Index>(p.size)) fetch(from, to, p, places[at.y], element, at.y);
}

// Along a single axis, without the detour over places.
template <typename T, typename I, typename Index>
[[kernel]] void take_blocks(device const T* from [[buffer(0)]], device T* to [[buffer(1)]],
                            device const I* indices [[buffer(2)]],
                            device IndexFault* fault [[buffer(3)]],
                            constant GatherArguments& p [[buffer(4)]],
                            constant IndexArguments& index [[buffer(5)]],
                            uint3 at [[thread_position_in_grid]], uint3 grid [[threads_per_grid]]) {
  const Index element = element_of<Index>(at, grid);
  if (element >= static_cast<Index>(p.size)) return;
  const Index place = place_of(indices, at.y, static_cast<Index>(0), index, fault);
  fetch(from, to, p, place, element, at.y);
}

// The places of scatter count the tuples of indices that there can be.

// Of the updates to one place the last wins; winners count from 1 and begin as 0.
template <typename Index>
[[kernel]] void elect(device const Index* places [[buffer(0)]],
                      device atomic_uint* winners [[buffer(1)]],
                      uint tuple [[thread_position_in_grid]]) {
  const Index place = places[tuple];
  if (place >= 0) atomic_fetch_max_explicit(&winners[place], tuple + 1, memory_order_relaxed);
}

template <typename Index>
inline Index update_offset(Index element, uint tuple, constant ScatterArguments& p) {
  return offset_of(static_cast<Index>(tuple), p.tuples, 0) + offset_of(element, p.from_block, 0);
}
template <typename Index>
inline Index target_offset(Index element, Index place, constant ScatterArguments& p) {
  return static_cast<Index>(p.origin) + offset_of(place, p.places, 0) +
         offset_of(element, p.to_block, 0);
}

// T is the word that blocks are moved by.
template <typename T, typename Index>
[[kernel]] void scatter_set(device const T* updates [[buffer(0)]], device T* to [[buffer(1)]],
                            device const Index* places [[buffer(2)]],
                            device const uint* winners [[buffer(3)]],
                            constant ScatterArguments& p [[buffer(4)]],
                            uint3 at [[thread_position_in_grid]], uint3 grid [[threads_per_grid]]) {
  const Index element = element_of<Index>(at, grid), place = places[at.y];
  if (element >= static_cast<Index>(p.size) || place < 0 || winners[place] != at.y + 1) return;
  to[target_offset(element, place, p)] = updates[update_offset(element, at.y, p)];
}

// The element of at most 32 bits that a word holds from bit `shift` on, and the word with another.
template <typename T>
using ElementBits =
    conditional_t<sizeof(T) == 1, uchar, conditional_t<sizeof(T) == 2, ushort, uint>>;
template <typename T>
inline T element_in(uint word, uint shift) {
  return as_type<T>(static_cast<ElementBits<T>>(word >> shift));
}
template <typename T>
inline uint with_element(uint word, uint shift, T x) {
  const uint mask = static_cast<uint>(static_cast<ElementBits<T>>(~0u)) << shift;
  return (word & ~mask) | (static_cast<uint>(as_type<ElementBits<T>>(x)) << shift);
}

// Combines x with element i, whatever other threads do to it or to its neighbours.
template <typename T, typename Combination, typename Index>
inline void combine_at(device atomic_uint* words, Index i, T x) {
  if constexpr (is_same_v<Combination, Sum<float>>) {
    atomic_fetch_add_explicit(reinterpret_cast<device atomic_float*>(words + i), x,
                              memory_order_relaxed);
  } else if constexpr (is_same_v<Combination, Sum<complex64>>) {
    combine_at<float, Sum<float>>(words, 2 * i, x.re);
    combine_at<float, Sum<float>>(words, 2 * i + 1, x.im);
  } else if constexpr (is_same_v<Combination, Sum<uint>>) {
    atomic_fetch_add_explicit(words + i, x, memory_order_relaxed);
  } else if constexpr (is_same_v<Combination, Sum<ulong>>) {
    // Every carry out of the low word is added once, whatever the order.
    const uint low = static_cast<uint>(x), high = static_cast<uint>(x >> 32);
    const uint before = atomic_fetch_add_explicit(words + 2 * i, low, memory_order_relaxed);
    const uint carry = before + low < low ? 1 : 0;
    atomic_fetch_add_explicit(words + 2 * i + 1, high + carry, memory_order_relaxed);
  } else {
    const Index elements = 4 / sizeof(T);
    const uint shift = static_cast<uint>(i % elements) * 8 * sizeof(T);
    device atomic_uint* word = words + i / elements;
    uint before = atomic_load_explicit(word, memory_order_relaxed), after;
    do {
      after = with_element(before, shift, Combination::combine(element_in<T>(before, shift), x));
    } while (after != before &&
             !atomic_compare_exchange_weak_explicit(word, &before, after, memory_order_relaxed,
                                                    memory_order_relaxed));
  }
}

// The order in which colliding updates combine is not fixed.
template <typename T, typename Combination, typename Index>
[[kernel]] void scatter_combine(device const T* updates [[buffer(0)]],
                                device atomic_uint* to [[buffer(1)]],
                                device const Index* places [[buffer(2)]],
                                constant ScatterArguments& p [[buffer(3)]],
                                uint3 at [[thread_position_in_grid]],
                                uint3 grid [[threads_per_grid]]) {
  const Index element = element_of<Index>(at, grid), place = places[at.y];
  if (element >= static_cast<Index>(p.size) || place < 0) return;
  combine_at<T, Combination>(to, target_offset(element, place, p),
                             load(updates, update_offset(element, at.y, p)));
}
