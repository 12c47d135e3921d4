// The instruction that adds the products of pairs of bfloat16, for the *_bf16.cpp files.
#pragma once

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
};

}  // namespace cermet::cpu::CERMET_ISA
