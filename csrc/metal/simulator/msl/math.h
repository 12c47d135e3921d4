// <metal_math> and <metal_common>: computed in float by the C library, rounded to half for half.
// fast:: and precise:: are the same here.
#pragma once

namespace msl {

// A nan gives way to a number.
MSL_INLINE float fmin(float x, float y) { return y < x || x != x ? y : x; }
MSL_INLINE float fmax(float x, float y) { return x < y || x != x ? y : x; }
MSL_INLINE float rsqrt(float x) { return 1.0f / __builtin_sqrtf(x); }
// The period is taken off before multiplying by pi, so that half periods are exact.
MSL_INLINE float in_period(float x) { return x - 2.0f * __builtin_rintf(x * 0.5f); }
MSL_INLINE float sinpi(float x) { return __builtin_sinf(in_period(x) * M_PI_F); }
MSL_INLINE float cospi(float x) { return __builtin_cosf(in_period(x) * M_PI_F); }
MSL_INLINE float tanpi(float x) { return __builtin_tanf((x - __builtin_rintf(x)) * M_PI_F); }
MSL_INLINE float fract(float x) {
  return fmin(x - __builtin_floorf(x), 0.999999940395355224609375f);
}
MSL_INLINE float sign(float x) { return x > 0.0f ? 1.0f : x < 0.0f ? -1.0f : x == 0.0f ? x : 0.0f; }
MSL_INLINE float saturate(float x) { return fmin(fmax(x, 0.0f), 1.0f); }
MSL_INLINE float divide(float x, float y) { return x / y; }
MSL_INLINE float step(float edge, float x) { return x < edge ? 0.0f : 1.0f; }
MSL_INLINE float clamp(float x, float low, float high) { return fmin(fmax(x, low), high); }
MSL_INLINE float mix(float x, float y, float a) { return x + (y - x) * a; }
MSL_INLINE float smoothstep(float low, float high, float x) {
  const float t = saturate((x - low) / (high - low));
  return t * t * (3.0f - 2.0f * t);
}
MSL_INLINE float fmin3(float x, float y, float z) { return fmin(x, fmin(y, z)); }
MSL_INLINE float fmax3(float x, float y, float z) { return fmax(x, fmax(y, z)); }
MSL_INLINE float fmedian3(float x, float y, float z) {
  return fmax(fmin(x, y), fmin(fmax(x, y), z));
}

}  // namespace msl

// Name in Metal, function of floats.
// clang-format off
#define MSL_UNARY_MATH(M) \
  M(abs, __builtin_fabsf) M(fabs, __builtin_fabsf) M(exp, __builtin_expf) \
  M(exp2, __builtin_exp2f) M(exp10, __builtin_exp10f) M(log, __builtin_logf) \
  M(log2, __builtin_log2f) M(log10, __builtin_log10f) M(sin, __builtin_sinf) \
  M(cos, __builtin_cosf) M(tan, __builtin_tanf) M(sinh, __builtin_sinhf) \
  M(cosh, __builtin_coshf) M(tanh, __builtin_tanhf) M(asin, __builtin_asinf) \
  M(acos, __builtin_acosf) M(atan, __builtin_atanf) M(asinh, __builtin_asinhf) \
  M(acosh, __builtin_acoshf) M(atanh, __builtin_atanhf) M(sqrt, __builtin_sqrtf) \
  M(rsqrt, msl::rsqrt) M(sinpi, msl::sinpi) M(cospi, msl::cospi) M(tanpi, msl::tanpi) \
  M(floor, __builtin_floorf) M(ceil, __builtin_ceilf) M(trunc, __builtin_truncf) \
  M(rint, __builtin_rintf) M(round, __builtin_roundf) M(fract, msl::fract) M(sign, msl::sign) \
  M(saturate, msl::saturate)
#define MSL_BINARY_MATH(M) \
  M(pow, __builtin_powf) M(powr, __builtin_powf) M(atan2, __builtin_atan2f) \
  M(fmod, __builtin_fmodf) M(fdim, __builtin_fdimf) M(copysign, __builtin_copysignf) \
  M(fmin, msl::fmin) M(fmax, msl::fmax) M(min, msl::fmin) M(max, msl::fmax) \
  M(divide, msl::divide) M(step, msl::step)
#define MSL_TERNARY_MATH(M) \
  M(clamp, msl::clamp) M(mix, msl::mix) M(smoothstep, msl::smoothstep) M(fmin3, msl::fmin3) \
  M(fmax3, msl::fmax3) M(fmedian3, msl::fmedian3) M(min3, msl::fmin3) M(max3, msl::fmax3) \
  M(median3, msl::fmedian3)
// clang-format on

#define MSL_UNARY(NAME, F)                                   \
  MSL_INLINE float NAME(float x) { return F(x); }            \
  MSL_INLINE half NAME(half x) { return (half)F((float)x); } \
  MSL_LIFT1(NAME)
#define MSL_BINARY(NAME, F)                                                    \
  MSL_INLINE float NAME(float x, float y) { return F(x, y); }                  \
  MSL_INLINE half NAME(half x, half y) { return (half)F((float)x, (float)y); } \
  MSL_LIFT2(NAME)
#define MSL_TERNARY(NAME, F)                                                                     \
  MSL_INLINE float NAME(float x, float y, float z) { return F(x, y, z); }                        \
  MSL_INLINE half NAME(half x, half y, half z) { return (half)F((float)x, (float)y, (float)z); } \
  MSL_LIFT3(NAME)

namespace metal {

MSL_UNARY_MATH(MSL_UNARY)
MSL_BINARY_MATH(MSL_BINARY)
MSL_TERNARY_MATH(MSL_TERNARY)

MSL_INLINE float fma(float x, float y, float z) { return __builtin_fmaf(x, y, z); }
// A product of halves is exact in float, and the sum is then rounded once more: double rounding
// can only differ from a true fused operation in a halfway case.
MSL_INLINE half fma(half x, half y, half z) { return (half)__builtin_fmaf(x, y, z); }
MSL_LIFT3(fma)
MSL_INLINE float nextafter(float x, float y) { return __builtin_nextafterf(x, y); }
MSL_INLINE half nextafter(half x, half y) {
  if (x != x || y != y) return x + y;
  if (x == y) return y;
  if (x == (half)0.0f) return as_type<half>((ushort)(y > x ? 1 : 0x8001));
  return as_type<half>((ushort)(as_type<ushort>(x) + ((x < y) == (x > (half)0.0f) ? 1 : -1)));
}
MSL_LIFT2(nextafter)
// A scalar as the last argument goes with vectors.
template <class T, int N>
MSL_INLINE vec<T, N> mix(vec<T, N> x, vec<T, N> y, T a) {
  return mix(x, y, (vec<T, N>)a);
}

MSL_INLINE float ldexp(float x, int k) { return __builtin_ldexpf(x, k); }
MSL_INLINE half ldexp(half x, int k) { return (half)__builtin_ldexpf(x, k); }
MSL_INLINE int ilogb(float x) { return __builtin_ilogbf(x); }
MSL_INLINE int ilogb(half x) { return __builtin_ilogbf(x); }
MSL_LIFT1(ilogb)
template <class T, int N>
MSL_INLINE vec<T, N> ldexp(vec<T, N> x, vec<int, N> k) {
  for (int i = 0; i < N; ++i) x[i] = ldexp(x[i], k[i]);
  return x;
}
MSL_INLINE float frexp(float x, thread int& exponent) {
  int e = 0;
  const float r = __builtin_frexpf(x, (int*)&e);
  exponent = e;
  return r;
}
MSL_INLINE half frexp(half x, thread int& exponent) { return (half)frexp((float)x, exponent); }
MSL_INLINE float modf(float x, thread float& whole) {
  whole = trunc(x);
  return copysign(isinf(x) ? 0.0f : x - whole, x);
}
MSL_INLINE half modf(half x, thread half& whole) {
  whole = trunc(x);
  return copysign(isinf(x) ? (half)0.0f : x - whole, x);
}
template <class T>
MSL_INLINE T sincos(T x, thread T& cosine) {
  cosine = cos(x);
  return sin(x);
}
template <class T, int N>
MSL_INLINE vec<T, N> frexp(vec<T, N> x, thread vec<int, N>& exponent) {
  for (int i = 0; i < N; ++i) {
    int e;
    x[i] = frexp((T)x[i], e);
    exponent[i] = e;
  }
  return x;
}
template <class T, int N>
MSL_INLINE vec<T, N> modf(vec<T, N> x, thread vec<T, N>& whole) {
  for (int i = 0; i < N; ++i) {
    T w;
    x[i] = modf((T)x[i], w);
    whole[i] = w;
  }
  return x;
}

namespace fast {
MSL_UNARY_MATH(MSL_UNARY)
MSL_BINARY_MATH(MSL_BINARY)
MSL_TERNARY_MATH(MSL_TERNARY)
using metal::fma;
using metal::frexp;
using metal::ldexp;
using metal::modf;
using metal::sincos;
}  // namespace fast

namespace precise {
MSL_UNARY_MATH(MSL_UNARY)
MSL_BINARY_MATH(MSL_BINARY)
MSL_TERNARY_MATH(MSL_TERNARY)
using metal::fma;
using metal::frexp;
using metal::ldexp;
using metal::modf;
using metal::sincos;
}  // namespace precise

}  // namespace metal

#undef MSL_UNARY
#undef MSL_BINARY
#undef MSL_TERNARY
#undef MSL_UNARY_MATH
#undef MSL_BINARY_MATH
#undef MSL_TERNARY_MATH
