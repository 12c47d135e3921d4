// Sorting of keys, which may carry the places of their elements: by radix, in parts that are
// merged.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <utility>

#include "cpu/layout.h"
#include "cpu/parallel.h"

namespace cermet::cpu {

// A key and the place of its element, ordered by key, then place.
template <class K>
struct Placed {
  K key;
  std::uint32_t place;
  friend bool operator<(const Placed& a, const Placed& b) {
    return a.key < b.key || (a.key == b.key && a.place < b.place);
  }
};
template <class K>
K key_of(K key) {
  return key;
}
template <class K>
K key_of(const Placed<K>& item) {
  return item.key;
}

// The most items that a radix sort counts.
inline constexpr std::int64_t kLongestRun = std::int64_t{1} << 31;

// By the bytes of the key from `first_byte` on, lowest first; bytes that all keys share cost
// nothing. `spare` holds n.
template <class Item>
void radix_sort(Item* items, Item* spare, std::int64_t n, int first_byte = 0) {
  constexpr int kBytes = sizeof(key_of(*items));
  std::uint32_t counts[kBytes][256] = {};
  for (std::int64_t i = 0; i < n; ++i)
    for (int b = first_byte; b < kBytes; ++b) ++counts[b][key_of(items[i]) >> (8 * b) & 255];
  Item *from = items, *to = spare;
  for (int b = first_byte; b < kBytes; ++b) {
    auto& count = counts[b];
    if (count[key_of(items[0]) >> (8 * b) & 255] == n) continue;
    std::uint32_t start = 0;
    for (auto& c : count) start += std::exchange(c, start);
    for (std::int64_t i = 0; i < n; ++i) to[count[key_of(from[i]) >> (8 * b) & 255]++] = from[i];
    std::swap(from, to);
  }
  if (from != items) std::copy_n(from, n, items);
}

template <class Item>
void sort_items(Item* items, Item* spare, std::int64_t n, int first_byte = 0) {
  constexpr std::int64_t kSmall = 192;  // below, the counters cost more than they save
  if (n <= kSmall)
    std::sort(items, items + n);
  else
    radix_sort(items, spare, n, first_byte);
}

// How many of the first `rank` elements of merge(a, b) come from a.
template <class Item>
std::int64_t split_merge(const Item* a, std::int64_t na, const Item* b, std::int64_t nb,
                         std::int64_t rank) {
  std::int64_t low = std::max<std::int64_t>(0, rank - nb), high = std::min(rank, na);
  while (low < high) {
    const std::int64_t i = (low + high) / 2;
    if (b[rank - i - 1] < a[i])
      high = i;
    else
      low = i + 1;
  }
  return low;
}

template <class Item>
void merge(const Item* a, const Item* a_end, const Item* b, const Item* b_end, Item* to) {
  while (a != a_end && b != b_end) {
    const bool second = *b < *a;
    *to++ = second ? *b : *a;
    a += !second;
    b += second;
  }
  std::copy(b, b_end, std::copy(a, a_end, to));
}

// In how many parts a row is sorted: one a thread, none longer than a radix sort counts.
inline std::int64_t parts_of(std::int64_t n, int threads) {
  const std::int64_t fewest = (n - 1) / kLongestRun + 1;
  return static_cast<std::int64_t>(
      std::bit_ceil(static_cast<std::uint64_t>(std::max<std::int64_t>(threads, fewest))));
}

// Sorts a row in parts, a power of two, on all threads. What it gives does not depend on their
// number: equal items are the same.
template <class Item>
void sort_in_parts(Item* items, Item* spare, std::int64_t n, std::int64_t parts,
                   int first_byte = 0) {
  const std::int64_t size = (n - 1) / parts + 1;
  parallel_for(n, size, [&](std::int64_t begin, std::int64_t end) {
    sort_items(items + begin, spare + begin, end - begin, first_byte);
  });
  Item *from = items, *to = spare;
  for (std::int64_t run = size; run < n; run *= 2) {
    parallel_for(n, kGrain, [&](std::int64_t begin, std::int64_t end) {
      while (begin < end) {
        const std::int64_t pair = begin / (2 * run) * (2 * run);
        const std::int64_t middle = std::min(pair + run, n), last = std::min(pair + 2 * run, n);
        const std::int64_t stop = std::min(end, last);
        const Item *a = from + pair, *b = from + middle;
        auto rank = [&](std::int64_t at) {
          return split_merge(a, middle - pair, b, last - middle, at - pair);
        };
        const std::int64_t a0 = rank(begin), a1 = rank(stop);
        merge(a + a0, a + a1, b + (begin - pair - a0), b + (stop - pair - a1), to + begin);
        begin = stop;
      }
    });
    std::swap(from, to);
  }
  if (from != items) std::copy_n(from, n, items);
}

}  // namespace cermet::cpu
