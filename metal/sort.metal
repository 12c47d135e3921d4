// Sorting along an axis: values, or with kPlaces the places of the elements in order (argsort).
//
// Keys (keys.h) are sorted in place of elements, stably. A thread sorts a few neighbours in
// registers; runs are merged in threadgroup memory up to a tile; passes over device memory merge
// the tiles of longer rows. In a merge every thread makes an equal part, which a binary search
// finds (Green, McColl, Bader: GPU Merge Path, 2012).
#include <metal_stdlib>

#include "arguments.h"
#include "keys.h"
#include "rows.h"
using namespace metal;

// How many of the first `rank` items of the merge of a and b come from a, whose items go before
// equal ones of b.
template <typename Keys>
inline uint merge_split(Keys a, uint a_count, Keys b, uint b_count, uint rank) {
  uint low = rank > b_count ? rank - b_count : 0, high = min(rank, a_count);
  while (low < high) {
    const uint middle = low + (high - low) / 2;
    if (b[rank - 1 - middle] < a[middle])
      high = middle;
    else
      low = middle + 1;
  }
  return low;
}

// What a thread holds: neighbours of a tile.
template <typename K, bool kPlaces>
struct Items {
  K keys[kSortItems];
  uint places[kPlaces ? kSortItems : 1];

  void load(threadgroup const K* tile_keys, threadgroup const uint* tile_places,
            uint first) thread {
    for (uint i = 0; i < kSortItems; ++i) {
      keys[i] = tile_keys[first + i];
      if (kPlaces) places[i] = tile_places[first + i];
    }
  }
  void store(threadgroup K* tile_keys, threadgroup uint* tile_places, uint first) const thread {
    for (uint i = 0; i < kSortItems; ++i) {
      tile_keys[first + i] = keys[i];
      if (kPlaces) tile_places[first + i] = places[i];
    }
  }
  // By exchanges of neighbours, odd and even ones in turn.
  void sort() thread {
    for (uint round = 0; round < kSortItems; ++round) {
      for (uint i = round % 2; i + 1 < kSortItems; i += 2) {
        if (!(keys[i + 1] < keys[i])) continue;
        const K key = keys[i];
        keys[i] = keys[i + 1];
        keys[i + 1] = key;
        if (kPlaces) {
          const uint place = places[i];
          places[i] = places[i + 1];
          places[i + 1] = place;
        }
      }
    }
  }
  // Those from `rank` on of the merge of [first, middle) with [middle, end) of a tile.
  void merge(threadgroup const K* tile_keys, threadgroup const uint* tile_places, uint first,
             uint middle, uint end, uint rank) thread {
    uint a = first +
             merge_split(tile_keys + first, middle - first, tile_keys + middle, end - middle, rank);
    uint b = middle + rank - (a - first);
    for (uint i = 0; i < kSortItems; ++i) {
      const bool from_b = b < end && (a >= middle || tile_keys[b] < tile_keys[a]);
      const uint at = from_b ? b : a;
      keys[i] = tile_keys[at];
      if (kPlaces) places[i] = tile_places[at];
      if (from_b)
        ++b;
      else
        ++a;
    }
  }
};

// Writes an item of a tile. The last pass gives elements or places, the others both keys and
// places.
template <typename K, bool kPlaces, typename Index>
inline void write_item(device K* keys, device uint* places, Index at, K key, uint place,
                       constant SortArguments& p) {
  if (kPlaces) places[at] = place;
  if (p.last) {
    if (!kPlaces) keys[at] = from_key(key, p.key);
  } else {
    keys[at] = key;
  }
}

// Sorts tiles. A threadgroup has one tile of a long row, or all of several short rows.
template <typename K, bool kPlaces, typename Index>
[[kernel]] void sort_tiles(device const K* in [[buffer(0)]], device K* out_keys [[buffer(1)]],
                           device uint* out_places [[buffer(2)]],
                           constant SortArguments& p [[buffer(3)]],
                           uint3 group [[threadgroup_position_in_grid]],
                           uint3 group_size [[threads_per_threadgroup]],
                           uint thread_index [[thread_index_in_threadgroup]]) {
  threadgroup K keys[kSortTile];
  threadgroup uint places[kPlaces ? kSortTile : 1];
  const uint threads = group_size.x, slots = threads * kSortItems;
  const uint first_row = group.y * (slots / p.tile), first = group.x * p.tile;

  // Padding sorts to the end: it has the highest key and comes last.
  for (uint slot = thread_index; slot < slots; slot += threads) {
    const uint row = first_row + slot / p.tile, at = first + slot % p.tile;
    K key = static_cast<K>(~K(0));
    if (row < p.in.rows && at < p.in.n) {
      const Index from = row_start<Index>(p.in, row) + row_step<Index>(p.in, at);
      key = to_key(in[from], p.key, kPlaces);
    }
    keys[slot] = key;
    if (kPlaces) places[slot] = at;
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);

  const uint own = thread_index * kSortItems;
  Items<K, kPlaces> items;
  items.load(keys, places, own);
  items.sort();
  for (uint width = kSortItems; width < p.tile; width *= 2) {
    threadgroup_barrier(mem_flags::mem_threadgroup);
    items.store(keys, places, own);
    threadgroup_barrier(mem_flags::mem_threadgroup);
    const uint pair = own / (2 * width) * (2 * width);
    items.merge(keys, places, pair, pair + width, pair + 2 * width, own - pair);
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  items.store(keys, places, own);
  threadgroup_barrier(mem_flags::mem_threadgroup);

  for (uint slot = thread_index; slot < slots; slot += threads) {
    const uint row = first_row + slot / p.tile, at = first + slot % p.tile;
    if (row >= p.in.rows || at >= p.in.n) continue;
    const Index to = row_start<Index>(p.out, row) + row_step<Index>(p.out, at);
    write_item<K, kPlaces>(out_keys, out_places, to, keys[slot], places[kPlaces ? slot : 0], p);
  }
}

// Merges pairs of runs of p.run items, rows of keys (and places) being dense. A threadgroup makes a
// tile.
template <typename K, bool kPlaces, typename Index>
[[kernel]] void sort_merge(device const K* in_keys [[buffer(0)]],
                           device const uint* in_places [[buffer(1)]],
                           device K* out_keys [[buffer(2)]], device uint* out_places [[buffer(3)]],
                           constant SortArguments& p [[buffer(4)]],
                           uint3 group [[threadgroup_position_in_grid]],
                           uint thread_index [[thread_index_in_threadgroup]]) {
  threadgroup K keys[kSortTile];
  threadgroup uint places[kPlaces ? kSortTile : 1];
  threadgroup uint splits[2];
  const uint begin = group.x * kSortTile, pair = begin / p.run / 2 * 2 * p.run;
  const uint a_count = min(p.run, p.in.n - pair);
  const uint b_count = min(p.run, p.in.n - pair - a_count);
  const uint rank = begin - pair, stop = min(rank + kSortTile, a_count + b_count);
  const Index a = row_start<Index>(p.in, group.y) + static_cast<Index>(pair);
  const Index b = a + static_cast<Index>(a_count);

  if (thread_index < 2)
    splits[thread_index] =
        merge_split(in_keys + a, a_count, in_keys + b, b_count, thread_index == 0 ? rank : stop);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  const uint a_first = splits[0], a_here = splits[1] - splits[0], b_first = rank - a_first;
  for (uint slot = thread_index; slot < kSortTile; slot += kSortThreads) {
    if (slot >= stop - rank) {  // the row's end: padding as in sort_tiles
      keys[slot] = static_cast<K>(~K(0));
      if (kPlaces) places[slot] = 0;
      continue;
    }
    const Index from = slot < a_here ? a + static_cast<Index>(a_first + slot)
                                     : b + static_cast<Index>(b_first + slot - a_here);
    keys[slot] = in_keys[from];
    if (kPlaces) places[slot] = in_places[from];
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);

  const uint own = thread_index * kSortItems;
  Items<K, kPlaces> items;
  items.merge(keys, places, 0, a_here, kSortTile, own);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  items.store(keys, places, own);
  threadgroup_barrier(mem_flags::mem_threadgroup);

  const Index out_row = row_start<Index>(p.out, group.y);
  for (uint slot = thread_index; slot < stop - rank; slot += kSortThreads) {
    const Index to = out_row + row_step<Index>(p.out, begin + slot);
    write_item<K, kPlaces>(out_keys, out_places, to, keys[slot], places[kPlaces ? slot : 0], p);
  }
}
