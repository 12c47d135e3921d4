// Random bits: Threefry-2x32-20 (Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy
// as 1, 2, 3", 2011).
//
// A stream of w 32-bit words has h = ceil(w / 2) blocks; block i, of counter (i, h + i), gives the
// words i and h + i. Where w is odd the last block has counter (h - 1, 0) and gives one word. The
// elements are the stream's bytes, little-endian.
#include <cstring>

#include "cpu/layout.h"
#include "cpu/primitives.h"
#include "cpu/random_kernel.h"

namespace cermet::cpu {

void random_bits(const Tensor& keys, const Tensor& out) {
  const std::int64_t bytes = out.shape.back() * static_cast<std::int64_t>(size_of(out.dtype));
  const std::int64_t words = (bytes + 3) / 4, half = (words + 1) / 2,
                     streams = out.size() / out.shape.back();
  // The last word or the last two of a row may be cut short or miss a counter; pairs below `even`
  // are whole.
  const std::int64_t even = words / 2;

  Tensor rows = keys;  // the first word of each key
  rows.shape.pop_back();
  rows.strides.pop_back();
  const Domain<1> domain{rows.shape, {rows.strides}};
  const std::int64_t key_step = keys.strides.back();

  constexpr std::int64_t kChunk = 4096;
  const std::int64_t chunks = (half - 1) / kChunk + 1;
  parallel_for(
      streams * chunks, grain_for(std::min(half, kChunk)),
      [&](std::int64_t begin, std::int64_t end) {
        std::uint32_t low[kChunk], high[kChunk];
        for (; begin < end; ++begin) {
          const std::int64_t row = begin / chunks, first = begin % chunks * kChunk;
          const std::int64_t n = std::min(kChunk, half - first), paired = std::min(n, even - first);
          const std::uint32_t* key =
              data<const std::uint32_t>(keys) + Walk<1>(domain, row).offset[0];
          CERMET_DISPATCH(threefry(key[0], key[key_step], static_cast<std::uint32_t>(first),
                                   static_cast<std::uint32_t>(half + first), low, high, paired));
          if (paired < n)
            CERMET_DISPATCH(threefry(key[0], key[key_step], static_cast<std::uint32_t>(half - 1), 0,
                                     low + paired, high + paired, 1));
          std::byte* to = out.data + row * bytes;
          auto store = [&](const std::uint32_t* from, std::int64_t word, std::int64_t count) {
            const std::int64_t size = std::min(4 * count, bytes - 4 * word);
            if (size > 0) std::memcpy(to + 4 * word, from, static_cast<std::size_t>(size));
          };
          store(low, first, n);
          store(high, half + first, paired);
        }
      });
}

}  // namespace cermet::cpu
