// Conversion between float and the 16-bit floats, one element or a block at a time.
//
// The instruction and the integer form give the same bits, so it does not matter where a block's
// tail begins.
#pragma once

#include <cstddef>
#include <cstdint>

#include "ops/cpp.h"

#if defined(__F16C__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace cermet::cpu::CERMET_ISA {

inline float widen(bfloat16_t x) { return widen_bfloat16(x.bits); }
inline float widen(float16_t x) { return widen_float16(x.bits); }
inline void narrow(float x, bfloat16_t& out) { out.bits = uint16_t(narrow_bfloat16(x)); }
inline void narrow(float x, float16_t& out) { out.bits = uint16_t(narrow_float16(x)); }

// As many elements as one instruction converts.
#if defined(__AVX512F__)
inline constexpr ptrdiff_t kHalfLanes = 16;
inline constexpr __mmask16 kAllLanes = 0xffff;  // GCC 12 warns of the forms without a mask
inline void widen_lanes(const float16_t* in, float* out) {
  __m256i h = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(in));
  _mm512_storeu_ps(out, _mm512_maskz_cvtph_ps(kAllLanes, h));
}
inline void narrow_lanes(const float* in, float16_t* out) {
  __m256i h = _mm512_maskz_cvtps_ph(kAllLanes, _mm512_loadu_ps(in), _MM_FROUND_TO_NEAREST_INT);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), h);
}
#elif defined(__F16C__)
inline constexpr ptrdiff_t kHalfLanes = 8;
inline void widen_lanes(const float16_t* in, float* out) {
  _mm256_storeu_ps(out, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(in))));
}
inline void narrow_lanes(const float* in, float16_t* out) {
  __m128i h = _mm256_cvtps_ph(_mm256_loadu_ps(in), _MM_FROUND_TO_NEAREST_INT);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out), h);
}
#elif defined(__aarch64__)
inline constexpr ptrdiff_t kHalfLanes = 4;
inline void widen_lanes(const float16_t* in, float* out) {
  uint16x4_t h = vld1_u16(reinterpret_cast<const uint16_t*>(in));
  vst1q_f32(out, vcvt_f32_f16(vreinterpret_f16_u16(h)));
}
inline void narrow_lanes(const float* in, float16_t* out) {
  uint16x4_t h = vreinterpret_u16_f16(vcvt_f16_f32(vld1q_f32(in)));
  vst1_u16(reinterpret_cast<uint16_t*>(out), h);
}
#else
inline constexpr ptrdiff_t kHalfLanes = 1;  // a loop over these vectorises
inline void widen_lanes(const float16_t* in, float* out) { *out = widen(*in); }
inline void narrow_lanes(const float* in, float16_t* out) { narrow(*in, *out); }
#endif

inline void widen(const bfloat16_t* __restrict in, float* __restrict out, ptrdiff_t n) {
  for (ptrdiff_t i = 0; i < n; ++i) out[i] = widen(in[i]);
}
inline void narrow(const float* __restrict in, bfloat16_t* __restrict out, ptrdiff_t n) {
  for (ptrdiff_t i = 0; i < n; ++i) narrow(in[i], out[i]);
}
inline void widen(const float16_t* __restrict in, float* __restrict out, ptrdiff_t n) {
  ptrdiff_t i = 0;
  for (; i + kHalfLanes <= n; i += kHalfLanes) widen_lanes(in + i, out + i);
  for (; i < n; ++i) out[i] = widen(in[i]);
}
inline void narrow(const float* __restrict in, float16_t* __restrict out, ptrdiff_t n) {
  ptrdiff_t i = 0;
  for (; i + kHalfLanes <= n; i += kHalfLanes) narrow_lanes(in + i, out + i);
  for (; i < n; ++i) narrow(in[i], out[i]);
}

// To int32 as `truncated` does. The instruction gives the lowest integer for what is out of range.
#if defined(__AVX512F__)
inline constexpr ptrdiff_t kIntLanes = 16;
inline void truncate_lanes(const float* in, int32_t* out) {
  const __m512 x = _mm512_loadu_ps(in);
  const __mmask16 number = _mm512_cmp_ps_mask(x, x, _CMP_ORD_Q);
  const __mmask16 above = _mm512_cmp_ps_mask(x, _mm512_set1_ps(0x1p31f), _CMP_GE_OQ);
  const __m512i y = _mm512_maskz_cvttps_epi32(number, x);
  _mm512_storeu_si512(out, _mm512_mask_mov_epi32(y, above, _mm512_set1_epi32(INT32_MAX)));
}
#elif defined(__AVX2__)
inline constexpr ptrdiff_t kIntLanes = 8;
inline void truncate_lanes(const float* in, int32_t* out) {
  const __m256 x = _mm256_loadu_ps(in);
  const __m256 number = _mm256_cmp_ps(x, x, _CMP_ORD_Q);
  const __m256 above = _mm256_cmp_ps(x, _mm256_set1_ps(0x1p31f), _CMP_GE_OQ);
  const __m256i y = _mm256_xor_si256(_mm256_cvttps_epi32(x), _mm256_castps_si256(above));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(out),
                      _mm256_and_si256(y, _mm256_castps_si256(number)));
}
#else
inline constexpr ptrdiff_t kIntLanes = 1;
inline void truncate_lanes(const float* in, int32_t* out) { *out = truncated<int32_t>(*in); }
#endif
inline void truncate(const float* in, int32_t* out, ptrdiff_t n) {
  ptrdiff_t i = 0;
  for (; i + kIntLanes <= n; i += kIntLanes) truncate_lanes(in + i, out + i);
  for (; i < n; ++i) out[i] = truncated<int32_t>(in[i]);
}

// Rounds floats in place to values of Half.
template <class Half>
inline void round_to(float* x, ptrdiff_t n) {
  ptrdiff_t i = 0;
  if constexpr (std::is_same_v<Half, float16_t>)
    for (; i + kHalfLanes <= n; i += kHalfLanes) {
      Half half[kHalfLanes];
      narrow_lanes(x + i, half);
      widen_lanes(half, x + i);
    }
  for (; i < n; ++i) {
    Half half;
    narrow(x[i], half);
    x[i] = widen(half);
  }
}

}  // namespace cermet::cpu::CERMET_ISA
