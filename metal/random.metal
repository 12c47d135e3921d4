// Random bits, by Threefry.
//
// A stream of w 32-bit words has h = ceil(w / 2) blocks; block i, of counter (i, h + i), gives the
// words i and h + i. Where w is odd the last block has counter (h - 1, 0) and gives one word. The
// elements are the stream's bytes, little-endian.
#include <metal_stdlib>

#include "axes.h"
#include "ops.h"
using namespace metal;

// The part of a word that the stream has room for, in units of T.
template <typename T, typename Index>
inline void put_word(device T* stream, Index size, Index word, uint bits) {
  const Index units = 4 / sizeof(T);
  for (Index k = 0; k < units; ++k)
    if (word * units < size - k)
      stream[word * units + k] = static_cast<T>(bits >> (static_cast<uint>(k) * 8 * sizeof(T)));
}

// Each thread computes one block; y numbers the streams, each of a key of its own. T is the widest
// unsigned type, of up to 32 bits, that fills a stream exactly.
template <typename T, typename Index>
[[kernel]] void random_bits(device const uint* keys [[buffer(0)]], device T* out [[buffer(1)]],
                            constant RandomArguments& p [[buffer(2)]],
                            uint3 at [[thread_position_in_grid]], uint3 grid [[threads_per_grid]]) {
  const Index size = static_cast<Index>(p.size), units = 4 / sizeof(T);
  const Index words = (size - 1) / units + 1, blocks = (words - 1) / 2 + 1;
  const Index block =
      static_cast<Index>(at.z) * static_cast<Index>(grid.x) + static_cast<Index>(at.x);
  if (block >= blocks) return;

  const Index key = offset_of(static_cast<Index>(at.y), p.keys, 0);
  const bool paired = blocks + block < words;
  const ops::Words counter{static_cast<uint>(block),
                           paired ? static_cast<uint>(blocks + block) : 0u};
  const ops::Words words_of_key{keys[key], keys[key + static_cast<Index>(p.key_stride)]};
  const ops::Words bits = ops::threefry(words_of_key, counter);
  device T* stream = out + static_cast<Index>(at.y) * size;
  put_word(stream, size, block, bits.x);
  if (paired) put_word(stream, size, blocks + block, bits.y);
}
