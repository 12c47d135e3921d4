// Unpacking of quantized weights.
#include "cpu/quantized_kernel.h"

namespace cermet::cpu::CERMET_ISA {
namespace {

// 32 elements occupy `kBits` words.
template <int kBits>
inline void unpack(const std::uint32_t* __restrict words, float scale, float bias,
                   float* __restrict dst) {
  constexpr std::uint32_t mask = (1u << kBits) - 1;
  auto value = [&](std::uint32_t q) {
    return scale * static_cast<float>(static_cast<int>(q)) + bias;
  };
  if constexpr (32 % kBits == 0) {  // no element crosses a word
    constexpr int each = 32 / kBits;
    for (int w = 0; w < kBits; ++w, dst += each)
#pragma GCC unroll 1  // unrolled, it would not become a vector of shifts
      for (int i = 0; i < each; ++i) dst[i] = value(words[w] >> (i * kBits) & mask);
  } else {
    std::uint32_t q[32];
#pragma GCC unroll 32
    for (int i = 0; i < 32; ++i) {
      const int word = i * kBits / 32, shift = i * kBits % 32;
      std::uint32_t v = words[word] >> shift;
      if (shift + kBits > 32) v |= words[word + 1] << (32 - shift);
      q[i] = v & mask;
    }
    for (int i = 0; i < 32; ++i) dst[i] = value(q[i]);
  }
}

template <int kBits>
void dequantize_groups(const std::uint32_t* words, const float* scales, const float* biases,
                       int group, float* dst, std::int64_t n) {
  for (std::int64_t g = 0; g < n / group; ++g)
    for (int i = 0; i < group; i += 32, words += kBits, dst += 32)
      unpack<kBits>(words, scales[g], biases[g], dst);
}

}  // namespace

void dequantize(const std::uint32_t* words, const float* scales, const float* biases, int bits,
                int group, float* dst, std::int64_t n) {
  switch (bits) {
    case 2: return dequantize_groups<2>(words, scales, biases, group, dst, n);
    case 3: return dequantize_groups<3>(words, scales, biases, group, dst, n);
    case 4: return dequantize_groups<4>(words, scales, biases, group, dst, n);
    case 5: return dequantize_groups<5>(words, scales, biases, group, dst, n);
    case 6: return dequantize_groups<6>(words, scales, biases, group, dst, n);
    default: return dequantize_groups<8>(words, scales, biases, group, dst, n);
  }
}

}  // namespace cermet::cpu::CERMET_ISA
