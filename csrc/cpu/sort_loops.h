// The inner loops of sorting: keys of elements, partitions, and the sort of what fits a cache.
#pragma once

#include <cstdint>

#include "cermet/dtype.h"
#include "cpu/isa.h"

namespace cermet::cpu {

// Random numbers by a linear congruence (Knuth's MMIX), for the steps of samples.
inline constexpr std::uint64_t kRandomFactor = 6364136223846793005u;
inline constexpr std::uint64_t kRandomAddend = 1442695040888963407u;

// An item is a key, or a key of 32 bits above the place of its element.
template <class Item>
struct ItemLoops {
  // Moves those up to `last` before the others, all in the order that they had, and gives their
  // number. `spare` holds n.
  std::int64_t (*partition)(Item* items, Item* spare, std::int64_t n, Item last) = nullptr;
  // False where it gave up: the items are in some order then. Null where the instruction set has
  // nothing that a radix sort would not outdo.
  bool (*sort)(Item* items, Item* spare, std::int64_t n) = nullptr;
};

struct SortLoops {
  // The keys of n elements: uint64_t for types of eight bytes, uint32_t for all others. `tied`:
  // zeros of both signs are equal.
  void (*to_keys[kDtypeCount])(void* keys, const void* in, std::int64_t n, bool tied) = {};
  void (*from_keys[kDtypeCount])(void* out, const void* keys, std::int64_t n) = {};
  ItemLoops<std::uint32_t> narrow;
  ItemLoops<std::uint64_t> wide;
};

// The loops of the chosen instruction set.
const SortLoops& sort_loops();

CERMET_EACH_ISA(void fill_sort(SortLoops& table);)

}  // namespace cermet::cpu
