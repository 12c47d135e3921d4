// The inner loop that unpacks quantized weights.
#pragma once

#include <cstdint>

#include "cpu/isa.h"

namespace cermet::cpu {

CERMET_EACH_ISA(
    // dst[i] = scales[i / group] * q[i] + biases[i / group] for n elements (whole groups, which are
    // multiples of 32), q[i] the bits [i * bits, (i + 1) * bits) of the little-endian stream
    // `words`. bits is 2, 3, 4, 5, 6 or 8.
    void dequantize(const std::uint32_t* words, const float* scales, const float* biases, int bits,
                    int group, float* dst, std::int64_t n);)

}  // namespace cermet::cpu
