// Tiles and memory: how the elements of a strided array, in the order of a program's domain, are
// loaded into a tile and stored from one.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "cermet/small_vector.h"

namespace cermet::cpu {

// Elements at strides over some axes, adjacent axes merged.
struct Layout {
  Shape extents;
  Strides strides;

  // Whether it is one run of adjacent elements.
  bool linear() const { return extents.empty() || (extents.size() == 1 && strides[0] == 1); }

  // Where the first-th element is.
  std::int64_t at(std::int64_t first) const {
    if (extents.empty()) return first;
    std::int64_t offset = 0;
    for (int i = static_cast<int>(extents.size()) - 1; i > 0; --i) {
      offset += first % extents[i] * strides[i];
      first /= extents[i];
    }
    return offset + first * strides[0];
  }

  // Calls visit(offset, stride, count) for each run of the elements [first, first + n).
  template <class F>
  void runs(std::int64_t first, std::int64_t n, F visit) const {
    if (extents.empty()) return visit(std::int64_t{0}, std::int64_t{1}, n);
    const int last = static_cast<int>(extents.size()) - 1;
    Shape index(extents.size());
    std::int64_t offset = 0;
    for (int i = last; i >= 0; --i) {
      index[i] = first % extents[i];
      first /= extents[i];
      offset += index[i] * strides[i];
    }
    while (n > 0) {
      const std::int64_t count = std::min(n, extents[last] - index[last]);
      visit(offset, strides[last], count);
      n -= count;
      offset += count * strides[last];
      index[last] += count;
      for (int i = last; i > 0 && index[i] == extents[i]; --i) {
        offset += strides[i - 1] - extents[i] * strides[i];
        index[i] = 0;
        ++index[i - 1];
      }
    }
  }
};

// Copies the elements [first, first + n) of `size` bytes each from memory to a tile, and back.
void load(const Layout& layout, const std::byte* base, std::size_t size, std::int64_t first,
          std::int64_t n, std::byte* out);
void store(const Layout& layout, std::byte* base, std::size_t size, std::int64_t first,
           std::int64_t n, const std::byte* in);

// Asks for memory ahead of its use.
inline void prefetch(const std::byte* from, std::size_t bytes) {
  for (std::size_t i = 0; i < bytes; i += 64) __builtin_prefetch(from + i);
}

// n copies of one element.
void splat(std::byte* out, const std::byte* in, std::size_t size, std::int64_t n);

}  // namespace cermet::cpu
