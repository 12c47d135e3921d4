// The instruction that adds the products of pairs of bfloat16.
#pragma once

#include "cermet/dtype.h"
#include "cpu/products/vector.h"

namespace cermet::cpu::CERMET_ISA {

struct Dot {
  using Unit = std::uint32_t;
  using Sum = float;
  static constexpr int kNumbers = 2;
  static Vector<float> add(Vector<Unit> a, Vector<Unit> b, Vector<float> c) {
#if defined(__AVX512BF16__)
    return (Vector<float>)_mm512_dpbf16_ps((__m512)c, (__m512bh)a, (__m512bh)b);
#else
    return (Vector<float>)vbfdotq_f32((float32x4_t)c, (bfloat16x8_t)a, (bfloat16x8_t)b);
#endif
  }
  // As others round: the instruction for this flushes numbers that sums of pairs never are.
  static void round(Vector<float> sums, bfloat16_t* to) {
#if defined(__AVX512BF16__)
    const __m256bh rounded = _mm512_cvtneps_pbh((__m512)sums);
#else
    const bfloat16x4_t rounded = vcvt_bf16_f32((float32x4_t)sums);
#endif
    std::memcpy(to, &rounded, sizeof rounded);
  }
};

}  // namespace cermet::cpu::CERMET_ISA
