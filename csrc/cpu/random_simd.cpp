// The Threefry-2x32 block function with 20 rounds over many counters.
#include "cpu/random_kernel.h"

namespace cermet::cpu::CERMET_ISA {

void threefry(std::uint32_t key0, std::uint32_t key1, std::uint32_t counter0,
              std::uint32_t counter1, std::uint32_t* word0, std::uint32_t* word1, std::int64_t n) {
  constexpr int rotations[2][4] = {{13, 15, 26, 6}, {17, 29, 16, 24}};
  const std::uint32_t keys[3] = {key0, key1, key0 ^ key1 ^ 0x1bd11bdau};
  for (std::int64_t i = 0; i < n; ++i) {
    std::uint32_t x = counter0 + static_cast<std::uint32_t>(i) + keys[0];
    std::uint32_t y = counter1 + static_cast<std::uint32_t>(i) + keys[1];
#pragma GCC unroll 5
    for (unsigned round = 0; round < 5; ++round) {
#pragma GCC unroll 4
      for (int k = 0; k < 4; ++k) {
        const int r = rotations[round % 2][k];
        x += y;
        y = ((y << r) | (y >> (32 - r))) ^ x;
      }
      x += keys[(round + 1) % 3];
      y += keys[(round + 2) % 3] + round + 1;
    }
    word0[i] = x;
    word1[i] = y;
  }
}

}  // namespace cermet::cpu::CERMET_ISA
