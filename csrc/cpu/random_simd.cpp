// The Threefry-2x32 block function with 20 rounds over many counters.
#include "cpu/random_kernel.h"
#include "ops/cpp.h"

namespace cermet::cpu::CERMET_ISA {

void threefry(std::uint32_t key0, std::uint32_t key1, std::uint32_t counter0,
              std::uint32_t counter1, std::uint32_t* word0, std::uint32_t* word1, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) {
    const auto step = static_cast<u32>(i);
    const Words words = threefry(Words{key0, key1}, Words{counter0 + step, counter1 + step});
    word0[i] = words.x;
    word1[i] = words.y;
  }
}

}  // namespace cermet::cpu::CERMET_ISA
