// The loops of quantization: packed elements and their values, the scales of groups and their
// codes.
#pragma once

#include <cstdint>

#include "cpu/isa.h"

namespace cermet::cpu {

// Elements are packed as a little-endian stream of `bits` each. With `biases` they are integers of
// 2, 3, 4, 5, 6 or 8 bits, without (null) floats: E2M1 of 4 bits, E4M3 of 8. A group of 16, 32, 64
// or 128 shares scale and bias. n is the number of elements, whole groups that fill whole words.
CERMET_EACH_ISA(
    // dst[i] = scales[i / group] * q[i] + biases[i / group]
    void dequantize(const std::uint32_t* words, const float* scales, const float* biases, int bits,
                    int group, float* dst, std::int64_t n);
    // The q nearest to (x[i] - biases[i / group]) / scales[i / group]. That of nan is 0.
    void quantize(const float* x, const float* scales, const float* biases, int bits, int group,
                  std::uint32_t* words, std::int64_t n);
    // The scales and biases of x for integers of `bits`.
    void find_scales(const float* x, int bits, int group, float* scales, float* biases,
                     std::int64_t n);
    // The codes of scales of x for floats of `bits`: E8M0, and E4M3 in units of `unit`.
    void find_e8m0(const float* x, int bits, int group, std::uint8_t* codes, std::int64_t n);
    void find_e4m3(const float* x, float unit, int group, std::uint8_t* codes, std::int64_t n);
    // What n such codes stand for.
    void decode_e8m0(const std::uint8_t* codes, float* dst, std::int64_t n);
    void decode_e4m3(const std::uint8_t* codes, float unit, float* dst, std::int64_t n);)

}  // namespace cermet::cpu
