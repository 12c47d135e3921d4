// The generator's inner loop.
#pragma once

#include <cstdint>

#include "cpu/isa.h"

namespace cermet::cpu {

CERMET_EACH_ISA(
    // word0[i], word1[i] = Threefry of the counter (counter0 + i, counter1 + i).
    void threefry(std::uint32_t key0, std::uint32_t key1, std::uint32_t counter0,
                  std::uint32_t counter1, std::uint32_t* word0, std::uint32_t* word1,
                  std::int64_t n);)

}  // namespace cermet::cpu
