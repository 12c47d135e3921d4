// The scalar functions from which the CPU's elementwise loops are made.
//
// A loop is `for (i < n) out[i] = f(in[i])`, and the compiler vectorises it: so the float functions
// have no branches, only selects, bit operations and polynomials. Everything stands in the
// namespace of one instruction set, and nothing calls an inline function of the standard library,
// so that the linker can never share code between instruction sets.
//
// The polynomials are minimax fits (Remez) made for this file; the reductions are those of Cody and
// Waite, "Software Manual for the Elementary Functions" (1980), and Payne and Hanek, "Radian
// reduction for trigonometric functions" (1983). Error bounds are in tests/cpp/test_math.cpp. Needs
// -fno-math-errno -fno-trapping-math -ffp-contract=off.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#ifndef CERMET_ISA
#error "CERMET_ISA must name the instruction set, e.g. -DCERMET_ISA=v3"
#endif

namespace cermet::cpu::CERMET_ISA {

#if defined(__FMA__) || defined(__aarch64__)
inline constexpr bool kFusedMultiplyAdd = true;
#else
inline constexpr bool kFusedMultiplyAdd = false;
#endif

inline constexpr float kInf = __builtin_inff();
inline constexpr float kNan = __builtin_nanf("");

// a * b + c, rounded once where the machine can.
template <std::floating_point T>
inline T madd(T a, T b, T c) {
  if constexpr (!kFusedMultiplyAdd) {
    return a * b + c;
  } else if constexpr (std::same_as<T, float>) {
    return __builtin_fmaf(a, b, c);
  } else {
    return __builtin_fma(a, b, c);
  }
}

// c0 + c1 x + c2 x^2 + ...
template <std::floating_point T>
inline T poly(T, T c0) {
  return c0;
}
template <std::floating_point T, class... C>
inline T poly(T x, T c0, C... c) {
  return madd(poly(x, c...), x, c0);
}

inline int32_t bits(float x) { return __builtin_bit_cast(int32_t, x); }
inline float from_bits(int32_t b) { return __builtin_bit_cast(float, b); }

// 2^k for -126 <= k <= 127.
inline float pow2(int32_t k) { return from_bits((k + 127) << 23); }

// Adding it rounds a small float to an integer, which stands in the low bits of the sum.
inline constexpr float kRound = 12582912.0f;  // 1.5 * 2^23

inline constexpr float kLn2Hi = 0.693359375f;  // few bits: a small integer times it is exact
inline constexpr float kLn2Lo = -0.000212194442f;
inline constexpr float kLog2e = 1.44269502f;
inline constexpr float kPi = 3.14159274f;
inline constexpr float kPiLo = -8.74227766e-08f;

// ---- rounding, signs, predicates --------------------------------------------------------------

template <class T>
concept Complex = requires(T z) {
  z.re;
  z.im;
};
template <class T>
concept Real = std::integral<T> || std::floating_point<T>;

inline float abs(float x) { return __builtin_fabsf(x); }
inline double abs(double x) { return __builtin_fabs(x); }
inline float copysign(float x, float sign) { return __builtin_copysignf(x, sign); }
inline double copysign(double x, double sign) { return __builtin_copysign(x, sign); }
inline float sqrt(float x) { return __builtin_sqrtf(x); }
inline double sqrt(double x) { return __builtin_sqrt(x); }
inline float floor(float x) { return __builtin_floorf(x); }
inline double floor(double x) { return __builtin_floor(x); }
inline float ceil(float x) { return __builtin_ceilf(x); }
inline double ceil(double x) { return __builtin_ceil(x); }
inline float trunc(float x) { return __builtin_truncf(x); }
inline double trunc(double x) { return __builtin_trunc(x); }
inline float rint(float x) { return __builtin_rintf(x); }  // halves to even
inline double rint(double x) { return __builtin_rint(x); }

template <std::floating_point T>
inline T rsqrt(T x) {
  return T(1) / sqrt(x);
}
template <std::floating_point T>
inline T reciprocal(T x) {
  return T(1) / x;
}
template <Real T>
inline T square(T x) {
  return T(x * x);
}

template <Real T>
inline bool isnan(T x) {
  return x != x;
}
template <std::floating_point T>
inline bool isinf(T x) {
  return abs(x) == T(kInf);
}
template <std::floating_point T>
inline bool isfinite(T x) {
  return abs(x) < T(kInf);
}
template <std::floating_point T>
inline bool isposinf(T x) {
  return x == T(kInf);
}
template <std::floating_point T>
inline bool isneginf(T x) {
  return x == T(-kInf);
}
template <std::integral T>
inline bool isinf(T) {
  return false;
}
template <std::integral T>
inline bool isfinite(T) {
  return true;
}
template <std::integral T>
inline bool isposinf(T) {
  return false;
}
template <std::integral T>
inline bool isneginf(T) {
  return false;
}

// The magnitude; that of the lowest integer wraps to itself.
template <std::integral T>
inline T abs(T x) {
  return x < T(0) ? T(0 - uint64_t(x)) : x;
}
template <Real T>
inline T sign(T x) {
  return x > T(0) ? T(1) : x < T(0) ? T(-1) : x == T(0) ? T(0) : x;
}
template <Real T>
inline T maximum(T a, T b) {
  return ((a > b) | (a != a)) ? a : b;
}
template <Real T>
inline T minimum(T a, T b) {
  return ((a < b) | (a != a)) ? a : b;
}

// ---- exponentials -----------------------------------------------------------------------------

// x = k ln2 + r with |r| <= ln2 / 2.
struct ExpArgument {
  float r;
  int32_t k;
};
inline ExpArgument reduce_exp(float x) {
  float z = madd(x, kLog2e, kRound);
  float n = z - kRound;
  return {madd(n, -kLn2Lo, madd(n, -kLn2Hi, x)), bits(z) - bits(kRound)};
}

// e^r - 1 for |r| <= ln2 / 2.
inline float expm1_reduced(float r) {
  return madd(r * r,
              poly(r, 0.49999997f, 0.16666539f, 0.0416677445f, 0.00836705882f, 0.00138393452f), r);
}

// 2^shift e^x, where |shift| <= 24. The power of two goes in by halves: a subnormal result is
// rounded once.
inline float exp_shifted(float x, int32_t shift) {
  x = x > 90.0f ? 90.0f : x;
  x = x < -125.0f ? -125.0f : x;
  auto [r, k] = reduce_exp(x);
  k += shift;
  int32_t half = k >> 1;
  return (1.0f + expm1_reduced(r)) * pow2(half) * pow2(k - half);
}

inline float exp(float x) { return exp_shifted(x, 0); }

// e^x - 1 for |x| <= 87.
inline float expm1_bounded(float x) {
  auto [r, k] = reduce_exp(x);
  float s = pow2(k);
  return madd(expm1_reduced(r), s, s - 1.0f);
}

inline float expm1(float x) {
  float c = x > 89.0f ? 89.0f : x;
  c = c < -20.0f ? -20.0f : c;
  auto [r, k] = reduce_exp(c);
  float s = pow2(k - 1);  // half, since 2^128 is not a float
  float y = 2.0f * madd(expm1_reduced(r), s, s - 0.5f);
  return abs(x) < 1e-7f ? x : y;
}

inline float sigmoid(float x) {
  float e = exp(-abs(x));
  return (x < 0.0f ? e : 1.0f) / (1.0f + e);
}

// x sigmoid(x). The factor of 2^24 keeps the bits of an e^x that is subnormal.
inline float silu(float x) {
  float scaled = exp_shifted(-abs(x), 24);
  return (x < 0.0f ? x * scaled * 0x1p-24f : x) / madd(scaled, 0x1p-24f, 1.0f);
}

inline float tanh(float x) {
  float a = abs(x);
  float t = expm1_bounded(a > 9.5f ? 19.0f : a + a);
  return copysign(t / (t + 2.0f), x);
}

inline float sinh(float x) {
  float a = abs(x), u = a * a;
  float h = exp_shifted(a, -1);
  float near =
      madd(a * u, poly(u, 0.166666672f, 0.00833331048f, 0.000198428956f, 2.78221319e-06f), a);
  return copysign(a < 1.0f ? near : h - 0.25f / h, x);
}

inline float cosh(float x) {
  float h = exp_shifted(abs(x), -1);
  return h + 0.25f / h;
}

// ---- logarithms -------------------------------------------------------------------------------

// x = 2^e (1 + f) with 1 + f in [2/3, 4/3), for finite x > 0.
struct LogArgument {
  float e, f;
};
inline int32_t log_exponent(float x) { return (bits(x) - 0x3f2aaaab) >> 23; }
inline LogArgument reduce_log(float x) {
  bool tiny = x < 0x1p-126f;
  float scaled = tiny ? x * 0x1p23f : x;
  int32_t k = log_exponent(scaled);
  return {float(k) - (tiny ? 23.0f : 0.0f), from_bits(bits(scaled) - (k << 23)) - 1.0f};
}

// log(1 + f) - f for 1 + f in [2/3, 4/3).
inline float log_tail(float f) {
  float p = poly(f, 0.333332151f, -0.249997973f, 0.200104058f, -0.16680485f, 0.140058771f,
                 -0.121842973f, 0.139843971f, -0.128915101f);
  return f * f * madd(f, p, -0.5f);
}

// y = log(x), but where x is 0, negative, infinite or nan.
inline float finish_log(float x, float y) {
  y = x == kInf ? kInf : y;
  y = x == 0.0f ? -kInf : y;
  return x >= 0.0f ? y : kNan;
}

inline float log(float x) {
  auto [e, f] = reduce_log(x);
  return finish_log(x, madd(e, kLn2Hi, f + madd(e, kLn2Lo, log_tail(f))));
}

inline float log2(float x) {
  constexpr float kLog2eLo = 1.92596303e-08f;
  auto [e, f] = reduce_log(x);
  float t = log_tail(f);
  return finish_log(x, e + madd(f, kLog2e, madd(t, kLog2e, f * kLog2eLo)));
}

inline float log10(float x) {
  constexpr float kLog10e = 0.434294492f, kLog10eLo = -1.0103049952e-08f;
  constexpr float kLog10Of2Hi = 0.30078125f, kLog10Of2Lo = 0.000248745666f;
  auto [e, f] = reduce_log(x);
  float low = madd(e, kLog10Of2Lo, madd(log_tail(f), kLog10e, f * kLog10eLo));
  return finish_log(x, madd(e, kLog10Of2Hi, madd(f, kLog10e, low)));
}

// log(1 + x) + extra ln2. Scaling x and 1 apart keeps the bits that 1 + x would lose.
inline float log1p_plus(float x, float extra) {
  float u = 1.0f + x;
  int32_t k = log_exponent(u);
  float s = 0.25f * pow2(2 - k);  // 2^-k may be subnormal
  float f = madd(x, s, s - 1.0f);
  float e = float(k) + extra;
  return finish_log(u, madd(e, kLn2Hi, f + madd(e, kLn2Lo, log_tail(f))));
}

inline float log1p(float x) {
  float y = log1p_plus(x, 0.0f);
  return x == 0.0f ? x : y;
}

inline float arcsinh(float x) {
  float a = abs(x), u = a * a;
  bool big = a > 0x1p60f;  // u would overflow, and asinh(a) = log(2 a)
  float z = big ? a : a + u / (1.0f + sqrt(1.0f + u));
  return copysign(log1p_plus(z, big ? 1.0f : 0.0f), x);
}

inline float arccosh(float x) {
  float t = x - 1.0f;
  bool big = x > 0x1p60f;
  float z = big ? x : t + sqrt(t * (t + 2.0f));
  return x >= 1.0f ? log1p_plus(z, big ? 1.0f : 0.0f) : kNan;
}

inline float arctanh(float x) {
  float a = abs(x);
  return copysign(0.5f * log1p((a + a) / (1.0f - a)), x);
}

// ---- inverse trigonometric functions ----------------------------------------------------------

// asin(s) for 0 <= s <= 1/2, s^2 = z.
inline float arcsin_reduced(float s, float z) {
  return madd(s * z,
              poly(z, 0.166667521f, 0.0749530941f, 0.0454691499f, 0.0241847839f, 0.0421582796f), s);
}

// Beyond 1/2: asin(a) = pi/2 - 2 asin(sqrt((1 - a) / 2)).
inline float arcsin(float x) {
  float a = abs(x);
  bool big = a > 0.5f;
  float z = big ? 0.5f * (1.0f - a) : a * a;
  float p = arcsin_reduced(big ? sqrt(z) : a, z);
  return copysign(big ? (0.5f * kPi - 2.0f * p) + 0.5f * kPiLo : p, x);
}

inline float arccos(float x) {
  float a = abs(x);
  bool big = a > 0.5f;
  float z = big ? 0.5f * (1.0f - a) : a * a;
  float p = arcsin_reduced(big ? sqrt(z) : a, z);
  p = big ? p + p : copysign(p, x);
  float turn = big ? (x < 0.0f ? 1.0f : 0.0f) : 0.5f;  // the result in half turns, when p is 0
  p = (big & (x > 0.0f)) ? -p : p;
  return (turn * kPi - p) + turn * kPiLo;
}

// atan(t) for 0 <= t <= 1.
inline float arctan_reduced(float t) {
  float u = t * t;
  float p = poly(u, -0.333332986f, 0.199985296f, -0.142640173f, 0.109508894f, -0.0839931667f,
                 0.0578810424f, -0.0310959164f, 0.0108676357f, -0.00178246363f);
  return madd(t * u, p, t);
}

inline float arctan(float x) {
  float a = abs(x);
  bool big = a > 1.0f;
  float p = arctan_reduced((big ? 1.0f : a) / (big ? a : 1.0f));
  return copysign(big ? (0.5f * kPi - p) + 0.5f * kPiLo : p, x);
}

inline float arctan2(float y, float x) {
  float a = abs(x), b = abs(y);
  bool steep = b > a;
  float low = steep ? a : b, high = steep ? b : a;
  float t = low / high;
  t = low == high ? 1.0f : t;  // both infinite
  t = high == 0.0f ? 0.0f : t;
  float p = arctan_reduced(t);
  p = steep ? (0.5f * kPi - p) + 0.5f * kPiLo : p;
  p = bits(x) < 0 ? (kPi - p) + kPiLo : p;
  p = ((x != x) | (y != y)) ? kNan : p;
  return copysign(p, y);
}

// ---- trigonometric functions ------------------------------------------------------------------

// Up to this magnitude `reduce_near` is accurate. Each function has a form for near arguments
// alone, which vectorises, and one for all; the block forms at the end of the section take the
// first wherever they can.
inline constexpr float kNear = kFusedMultiplyAdd ? 131072.0f : 12000.0f;

// x - q pi/2 = r + low for an integer q. Without a fused operation the parts of pi/2 are short, so
// that each product is exact.
struct NearAngle {
  float r, low;
};
inline NearAngle reduce_near(float x, float q) {
  float a, p, rest;  // x - q pi/2 = a - p - rest, where a is exact
  if constexpr (kFusedMultiplyAdd) {
    a = madd(q, -1.57079637f, x);
    p = q * -4.37113883e-08f;
    rest = madd(q, -1.71512451e-15f, madd(q, -4.37113883e-08f, -p));
  } else {
    a = (x - q * 1.5703125f) - q * 0.000483751297f;
    p = q * 7.54953362e-08f;
    rest = q * 2.56334407e-12f;
  }
  float r = a - p;
  return {r, ((a - r) - p) - rest};
}

// sin(r + low + quadrant pi/2) for |r| <= pi/4.
inline float sin_reduced(NearAngle angle, int32_t quadrant) {
  float r = angle.r, u = r * r;
  float s = madd(r * u, poly(u, -0.166666552f, 0.0083321603f, -0.000195152184f), angle.low) + r;
  float c = madd(u, madd(u, poly(u, 0.0416666456f, -0.00138873153f, 2.4433084e-05f), -0.5f), 1.0f);
  float y = quadrant & 1 ? c : s;
  return from_bits(bits(y) ^ (quadrant & 2) << 30);
}

inline float sin_near(float x) {
  float z = madd(x, 0.636619772f, kRound);
  float y = sin_reduced(reduce_near(x, z - kRound), bits(z));
  return x == 0.0f ? x : y;
}

inline float cos_near(float x) {
  float z = madd(x, 0.636619772f, kRound);
  return sin_reduced(reduce_near(x, z - kRound), bits(z) + 1);
}

inline float tan_near(float x) {
  float z = madd(x, 0.636619772f, kRound);
  auto [r, low] = reduce_near(x, z - kRound);
  float u = r * r;
  float p = poly(u, 0.333333492f, 0.13332662f, 0.0540600307f, 0.0212815814f, 0.0108374339f,
                 8.74236648e-05f, 0.00437734416f);
  float t = madd(r * u, p, madd(low, u, low)) + r;
  bool odd = bits(z) & 1;
  float y = (odd ? -1.0f : t) / (odd ? t : 1.0f);
  return x == 0.0f ? x : y;
}

// x = r + quadrant pi/2 (modulo a full turn) with |r| <= pi/4, for finite |x| >= 2^13. Payne and
// Hanek: the product with those bits of 2/pi that make a difference.
struct FarAngle {
  double r;
  int quadrant;
};
inline FarAngle reduce_far(float x) {
  constexpr uint32_t kTwoOverPi[] = {0,          0xa2f9836e, 0x4e441529, 0xfc2757d1,
                                     0xf534ddc0, 0xdb629599, 0x3c439041, 0xfe5163ab};
  uint32_t b = uint32_t(bits(x)) & 0x7fffffff;
  uint32_t mantissa = (b & 0x7fffff) | 0x800000;
  int start = int(b >> 23) - 152 + 32;  // the first bit that counts, in the table
  const uint32_t* word = kTwoOverPi + start / 32;
  int drop = start % 32;
  uint64_t high = (uint64_t(word[0]) << 32 | word[1]) << drop | (uint64_t(word[2]) << drop >> 32);
  uint64_t low = uint32_t((uint64_t(word[2]) << 32 | word[3]) << drop >> 32);
  uint64_t turns = high * mantissa + (low * mantissa >> 32);  // in units of 2^-64 of a turn
  uint64_t quadrant = (turns + (uint64_t(1) << 61)) >> 62;
  double r = double(int64_t(turns << 2)) * (0x1p-64 * 1.5707963267948966);
  return bits(x) < 0 ? FarAngle{-r, int(-quadrant & 3)} : FarAngle{r, int(quadrant & 3)};
}

inline bool is_near(float x) { return abs(x) <= kNear; }

inline float sin_far(float x) {
  if (!isfinite(x)) return kNan;
  auto [r, quadrant] = reduce_far(x);
  double y = quadrant & 1 ? __builtin_cos(r) : __builtin_sin(r);
  return float(quadrant & 2 ? -y : y);
}
inline float cos_far(float x) {
  if (!isfinite(x)) return kNan;
  auto [r, quadrant] = reduce_far(x);
  double y = quadrant & 1 ? __builtin_sin(r) : __builtin_cos(r);
  return float((quadrant + 1) & 2 ? -y : y);
}
inline float tan_far(float x) {
  if (!isfinite(x)) return kNan;
  auto [r, quadrant] = reduce_far(x);
  double t = __builtin_tan(r);
  return float(quadrant & 1 ? -1.0 / t : t);
}

inline float sin(float x) { return is_near(x) ? sin_near(x) : sin_far(x); }
inline float cos(float x) { return is_near(x) ? cos_near(x) : cos_far(x); }
inline float tan(float x) { return is_near(x) ? tan_near(x) : tan_far(x); }

// out[i] = near(in[i]...) in a vector loop over every chunk all of whose arguments are near, else
// all(in[i]...).
template <class IsNear, class Near, class All, class... In>
inline void map_near(IsNear is_near, Near near, All all, float* __restrict out, ptrdiff_t n,
                     const In* __restrict... in) {
  constexpr ptrdiff_t kChunk = 256;
  for (ptrdiff_t begin = 0; begin < n; begin += kChunk) {
    ptrdiff_t end = n - begin < kChunk ? n : begin + kChunk;
    int32_t far = 0;
    for (ptrdiff_t i = begin; i < end; ++i) far |= is_near(in[i]...) ? 0 : 1;
    if (far) {
      for (ptrdiff_t i = begin; i < end; ++i) out[i] = all(in[i]...);
    } else {
      for (ptrdiff_t i = begin; i < end; ++i) out[i] = near(in[i]...);
    }
  }
}

inline void sin(const float* __restrict x, float* __restrict out, ptrdiff_t n) {
  map_near([](float v) { return is_near(v); }, [](float v) { return sin_near(v); },
           [](float v) { return sin(v); }, out, n, x);
}
inline void cos(const float* __restrict x, float* __restrict out, ptrdiff_t n) {
  map_near([](float v) { return is_near(v); }, [](float v) { return cos_near(v); },
           [](float v) { return cos(v); }, out, n, x);
}
inline void tan(const float* __restrict x, float* __restrict out, ptrdiff_t n) {
  map_near([](float v) { return is_near(v); }, [](float v) { return tan_near(v); },
           [](float v) { return tan(v); }, out, n, x);
}

// ---- error functions --------------------------------------------------------------------------

// Below 1 an odd polynomial; beyond, the eighth root of 1 - erf is one.
inline float erf(float x) {
  float a = abs(x), u = x * x;
  float near = madd(x,
                    poly(u, 0.128379166f, -0.37612626f, 0.112835787f, -0.0268533472f, 0.0051871622f,
                         -0.00079978531f, 7.80690389e-05f),
                    x);
  float c = a > 3.92f ? 3.92f : a;
  float p = poly(c, 1.0008347f, -0.145060569f, -0.0614263564f, -0.0113735739f, 0.012925881f,
                 -0.00246973801f, 0.00014985021f);
  p *= p;
  p *= p;
  p *= p;
  return a < 1.0f ? near : copysign(1.0f - p, x);
}

// M. Giles, "Approximating the erfinv function" (2012): polynomials in w = -log(1 - x^2), and in
// its root where it is large.
inline float erfinv(float x) {
  float w = -log((1.0f - x) * (1.0f + x));
  float near =
      poly(w - 2.5f, 1.50140941f, 0.24664028f, -0.00417738687f, -0.0012527419f, 0.00021834443f,
           -4.96334633e-06f, -3.46270349e-06f, 4.66170178e-07f, 2.32325412e-08f, -8.79101858e-09f);
  float far = poly(sqrt(w) - 3.0f, 2.83297682f, 1.00167501f, 0.00944528636f, -0.00763728889f,
                   0.00568697182f, -0.00359740574f, 0.00148509524f, -5.67771494e-05f,
                   -0.000309574767f, 0.000115704788f);
  float y = x * (w < 5.0f ? near : far);
  return abs(x) == 1.0f ? copysign(kInf, x) : y;
}

// ---- powers, remainders -----------------------------------------------------------------------

// a^b with C's special cases: 2^(b log2 |a|) in double, whose 53 bits leave the float result
// correct to half an ULP.
inline float power(float a, float b) {
  float x = abs(a);
  auto [e, f] = reduce_log(x);
  double s = double(f) / (double(f) + 2.0);
  double log2x =
      madd(s,
           poly(s * s, 2.8853900817779312, 0.96179669391521228, 0.57707802064470937,
                0.41219794314520875, 0.32064425418149761, 0.26066631565472631, 0.2510552909873433),
           double(e));
  double y = double(b) * log2x;
  y = y > 200.0 ? 200.0 : y;
  y = y < -200.0 ? -200.0 : y;
  constexpr double kRoundDouble = 6755399441055744.0;  // 1.5 * 2^52
  double z = y + kRoundDouble;
  double p = poly(y - (z - kRoundDouble), 0.99999999996167122, 0.6931471807283105,
                  0.24022651198199302, 0.055504103538146866, 0.00961802724996858,
                  0.0013333922323855813, 0.0001546929201679564, 1.5201967613093402e-05);
  uint64_t exponent = (__builtin_bit_cast(uint64_t, z) + 1023) << 52;
  float r = float(p * __builtin_bit_cast(double, exponent));

  bool infinite_power = abs(b) == kInf;
  bool grows = (x > 1.0f) == (b > 0.0f);
  r = ((x == 0.0f) | (x == kInf) | infinite_power) ? (grows ? kInf : 0.0f) : r;
  r = x == 1.0f ? 1.0f : r;
  float whole = trunc(b), half = 0.5f * b;
  bool odd = (whole == b) & (trunc(half) != half);
  r = bits(a) < 0 ? (odd ? -r : r) : r;
  r = ((a < 0.0f) & (whole != b) & (x != kInf)) ? kNan : r;
  r = ((a != a) | (b != b)) ? kNan : r;
  return ((b == 0.0f) | (a == 1.0f)) ? 1.0f : r;
}

// a^b, wrapping. A negative power of 1 or -1 is that of its magnitude; of any other number, 0.
template <std::integral T>
inline T power(T a, T b) {
  uint64_t base = uint64_t(a), result = 1;
  bool negative = b < T(0);
  uint64_t power = negative ? uint64_t(b) & 1 : uint64_t(b);
  bool vanishes = negative && a != T(1) && a != T(-1);
  for (; power != 0; power >>= 1, base *= base) {
    if (power & 1) result *= base;
  }
  return vanishes ? T(0) : T(result);
}

// Towards minus infinity; 0 for a divisor of 0.
template <std::integral T>
inline T floor_divide(T a, T b) {
  if constexpr (std::is_signed_v<T>) {
    if (b == T(-1))
      return T(0 - uint64_t(a));  // the lowest integer wraps, where a division would trap
  }
  T d = b == T(0) ? T(1) : b;
  T q = T(a / d);
  q = T(q - T(a % d != 0 && (a < T(0)) != (d < T(0))));
  return b == T(0) ? T(0) : q;
}

// With the sign of the divisor; 0 for a divisor of 0.
template <std::integral T>
inline T remainder(T a, T b) {
  bool trivial = b == T(0);
  if constexpr (std::is_signed_v<T>) trivial |= b == T(-1);
  T d = trivial ? T(1) : b;
  T r = T(a % d);
  return (r != T(0) && (r < T(0)) != (d < T(0))) ? T(r + d) : r;
}

// In double the quotient of two floats is on the right side of every integer below 2^29, and its
// product with b is exact.
inline bool has_near_remainder(float a, float b) { return abs(a) < 0x1p29f * abs(b); }

inline float floor_divide(float a, float b) { return float(floor(double(a) / double(b))); }

inline float remainder_near(float a, float b) {
  double q = floor(double(a) / double(b));
  float r = float(double(a) - q * double(b));
  r = abs(b) == kInf ? ((a < 0.0f) != (b < 0.0f) && a != 0.0f ? b : a) : r;
  return r == 0.0f ? copysign(0.0f, b) : r;
}

// Python's remainder: exact but for the rounding of fmod(a, b) + b where the signs differ.
template <std::floating_point T>
inline T remainder_far(T a, T b) {
  T r = T(__builtin_fmod(double(a), double(b)));
  if (r == T(0)) return copysign(T(0), b);
  return (r < T(0)) != (b < T(0)) ? r + b : r;
}

inline float remainder(float a, float b) {
  return has_near_remainder(a, b) ? remainder_near(a, b) : remainder_far(a, b);
}
inline double remainder(double a, double b) { return remainder_far(a, b); }

// The integer (a - remainder) / b.
inline double floor_divide(double a, double b) {
  if (b == 0.0 || !isfinite(a)) return a / b;
  return rint((a - remainder(a, b)) / b);
}

inline void remainder(const float* __restrict a, const float* __restrict b, float* __restrict out,
                      ptrdiff_t n) {
  map_near([](float x, float y) { return has_near_remainder(x, y); },
           [](float x, float y) { return remainder_near(x, y); },
           [](float x, float y) { return remainder(x, y); }, out, n, a, b);
}

// ---- double -----------------------------------------------------------------------------------

inline double exp(double x) { return __builtin_exp(x); }
inline double expm1(double x) { return __builtin_expm1(x); }
inline double log(double x) { return __builtin_log(x); }
inline double log2(double x) { return __builtin_log2(x); }
inline double log10(double x) { return __builtin_log10(x); }
inline double log1p(double x) { return __builtin_log1p(x); }
inline double sin(double x) { return __builtin_sin(x); }
inline double cos(double x) { return __builtin_cos(x); }
inline double tan(double x) { return __builtin_tan(x); }
inline double arcsin(double x) { return __builtin_asin(x); }
inline double arccos(double x) { return __builtin_acos(x); }
inline double arctan(double x) { return __builtin_atan(x); }
inline double arctan2(double y, double x) { return __builtin_atan2(y, x); }
inline double sinh(double x) { return __builtin_sinh(x); }
inline double cosh(double x) { return __builtin_cosh(x); }
inline double tanh(double x) { return __builtin_tanh(x); }
inline double arcsinh(double x) { return __builtin_asinh(x); }
inline double arccosh(double x) { return __builtin_acosh(x); }
inline double arctanh(double x) { return __builtin_atanh(x); }
inline double erf(double x) { return __builtin_erf(x); }
inline double power(double a, double b) { return __builtin_pow(a, b); }

inline double sigmoid(double x) {
  double e = exp(-abs(x));
  return (x < 0.0 ? e : 1.0) / (1.0 + e);
}

// Halley's method from S. Winitzki's "A handy approximation for the error function and its inverse"
// (2008).
inline double erfinv(double x) {
  double a = abs(x);
  if (!(a < 1.0)) return a == 1.0 ? copysign(double(kInf), x) : double(kNan);
  if (a < 1e-9) return x * 0.88622692545275801;  // sqrt(pi) / 2
  double l = __builtin_log1p(-a * a);
  double h = 4.3307467508 + 0.5 * l;  // 2 / (pi 0.147)
  double y = sqrt(sqrt(h * h - l / 0.147) - h);
  for (int i = 0; i < 3; ++i) {
    double error = a < 0.5 ? __builtin_erf(y) - a : (1.0 - a) - __builtin_erfc(y);
    double step = error * 0.88622692545275801 * exp(y * y);
    y -= step / (1.0 + y * step);
  }
  return copysign(y, x);
}

inline double silu(double x) { return x * sigmoid(x); }

// log(e^a + e^b)
template <std::floating_point T>
inline T logaddexp(T a, T b) {
  T distance = a == b ? T(0) : abs(a - b);  // also of equal infinities
  return maximum(a, b) + log1p(exp(-distance));
}

// ---- complex numbers --------------------------------------------------------------------------

// They are rare, so each is taken through double and the C library, whose range leaves no float to
// overflow on the way.
__extension__ typedef _Complex double LibraryComplex;

struct ComplexDouble {
  double re, im;
};

template <Complex T>
inline LibraryComplex to_library(T z) {
  LibraryComplex c;
  __real__ c = z.re;
  __imag__ c = z.im;
  return c;
}
template <Complex T>
inline T from_library(LibraryComplex c) {
  return {decltype(T::re)(__real__ c), decltype(T::im)(__imag__ c)};
}
template <Complex To, Complex From>
inline To convert(From z) {
  return {decltype(To::re)(z.re), decltype(To::im)(z.im)};
}

template <Complex T>
inline bool isnan(T z) {
  return isnan(z.re) || isnan(z.im);
}
template <Complex T>
inline bool isinf(T z) {
  return isinf(z.re) || isinf(z.im);
}
template <Complex T>
inline bool isfinite(T z) {
  return isfinite(z.re) && isfinite(z.im);
}
template <Complex T>
inline bool equal(T a, T b) {
  return a.re == b.re && a.im == b.im;
}

// Ordered by the real part, then the imaginary.
template <Complex T>
inline bool less(T a, T b) {
  return a.re < b.re || (a.re == b.re && a.im < b.im);
}
template <Complex T>
inline T maximum(T a, T b) {
  return isnan(a) || (less(b, a) && !isnan(b)) ? a : b;
}
template <Complex T>
inline T minimum(T a, T b) {
  return isnan(a) || (less(a, b) && !isnan(b)) ? a : b;
}

template <Complex T>
inline T negative(T z) {
  return {-z.re, -z.im};
}
template <Complex T>
inline T add(T a, T b) {
  return {a.re + b.re, a.im + b.im};
}
template <Complex T>
inline T subtract(T a, T b) {
  return {a.re - b.re, a.im - b.im};
}
// a b - c d. As a difference, beside a sum of products, GCC 12 would contract it in vectors and not
// in what is left of a loop, whatever -ffp-contract says.
template <std::floating_point T>
inline T minus_product(T a, T b, T c, T d) {
  return a * b + c * -d;
}
template <Complex T>
inline T multiply(T a, T b) {
  return {minus_product(a.re, b.re, a.im, b.im), a.re * b.im + a.im * b.re};
}

// The modulus: squares of floats neither overflow nor underflow in double.
template <Complex T>
inline auto abs(T z) {
  double re = z.re, im = z.im;
  double r = sqrt(re * re + im * im);
  return decltype(T::re)(isinf(z) ? double(kInf) : r);
}

// In double, for operands of a float's range. A zero divisor divides by its parts; an infinite one
// gives 0.
inline ComplexDouble divide_wide(ComplexDouble a, ComplexDouble b) {
  double norm = b.re * b.re + b.im * b.im;
  if (norm == 0.0) return {a.re / abs(b.re), a.im / abs(b.re)};
  if (isinf(b) && isfinite(a)) {
    b = {copysign(isinf(b.re) ? 1.0 : 0.0, b.re), copysign(isinf(b.im) ? 1.0 : 0.0, b.im)};
    return {0.0 * (a.re * b.re + a.im * b.im), 0.0 * minus_product(a.im, b.re, a.re, b.im)};
  }
  return {(a.re * b.re + a.im * b.im) / norm, minus_product(a.im, b.re, a.re, b.im) / norm};
}
template <Complex T>
inline T divide(T a, T b) {
  return convert<T>(divide_wide(convert<ComplexDouble>(a), convert<ComplexDouble>(b)));
}
template <Complex T>
inline T reciprocal(T z) {
  return divide(T{1, 0}, z);
}
template <Complex T>
inline T square(T z) {
  return multiply(z, z);
}

template <Complex T>
inline T sign(T z) {
  ComplexDouble w = convert<ComplexDouble>(z);
  double r = abs(w);
  return r == 0.0 ? T{0, 0} : convert<T>(ComplexDouble{w.re / r, w.im / r});
}

template <Complex T>
inline T exp(T z) {
  return from_library<T>(__builtin_cexp(to_library(z)));
}
template <Complex T>
inline T log(T z) {
  return from_library<T>(__builtin_clog(to_library(z)));
}
template <Complex T>
inline T sqrt(T z) {
  return from_library<T>(__builtin_csqrt(to_library(z)));
}
template <Complex T>
inline T sin(T z) {
  return from_library<T>(__builtin_csin(to_library(z)));
}
template <Complex T>
inline T cos(T z) {
  return from_library<T>(__builtin_ccos(to_library(z)));
}
template <Complex T>
inline T tan(T z) {
  return from_library<T>(__builtin_ctan(to_library(z)));
}
template <Complex T>
inline T sinh(T z) {
  return from_library<T>(__builtin_csinh(to_library(z)));
}
template <Complex T>
inline T cosh(T z) {
  return from_library<T>(__builtin_ccosh(to_library(z)));
}
template <Complex T>
inline T tanh(T z) {
  return from_library<T>(__builtin_ctanh(to_library(z)));
}
template <Complex T>
inline T arcsin(T z) {
  return from_library<T>(__builtin_casin(to_library(z)));
}
template <Complex T>
inline T arccos(T z) {
  return from_library<T>(__builtin_cacos(to_library(z)));
}
template <Complex T>
inline T arctan(T z) {
  return from_library<T>(__builtin_catan(to_library(z)));
}
template <Complex T>
inline T arcsinh(T z) {
  return from_library<T>(__builtin_casinh(to_library(z)));
}
template <Complex T>
inline T arccosh(T z) {
  return from_library<T>(__builtin_cacosh(to_library(z)));
}
template <Complex T>
inline T arctanh(T z) {
  return from_library<T>(__builtin_catanh(to_library(z)));
}

template <Complex T>
inline T log2(T z) {
  ComplexDouble w = log(convert<ComplexDouble>(z));
  return convert<T>(ComplexDouble{w.re * 1.4426950408889634, w.im * 1.4426950408889634});
}
template <Complex T>
inline T log10(T z) {
  ComplexDouble w = log(convert<ComplexDouble>(z));
  return convert<T>(ComplexDouble{w.re * 0.43429448190325182, w.im * 0.43429448190325182});
}
template <Complex T>
inline T log1p(T z) {
  double x = z.re, y = z.im;
  return convert<T>(ComplexDouble{0.5 * log1p(x * (2.0 + x) + y * y), arctan2(y, 1.0 + x)});
}
template <Complex T>
inline T expm1(T z) {
  double x = z.re, y = z.im;
  if (y == 0.0) return {decltype(T::re)(expm1(x)), z.im};
  double s = sin(0.5 * y);
  return convert<T>(ComplexDouble{expm1(x) * cos(y) - 2.0 * s * s, exp(x) * sin(y)});
}

template <Complex T>
inline T rsqrt(T z) {
  ComplexDouble root = sqrt(convert<ComplexDouble>(z));
  return convert<T>(divide_wide({1.0, 0.0}, root));
}

// 1 / (1 + e^-z), from that one of e^z and e^-z which does not overflow.
template <Complex T>
inline T sigmoid(T z) {
  ComplexDouble w = convert<ComplexDouble>(z);
  bool left = w.re < 0.0;
  ComplexDouble e = exp(left ? w : negative(w));
  return convert<T>(divide_wide(left ? e : ComplexDouble{1.0, 0.0}, {1.0 + e.re, e.im}));
}
template <Complex T>
inline T silu(T z) {
  return multiply(z, sigmoid(z));
}

// e^(b log a), with 0^0 = 1 and 0^b = 0 where b has a positive real part.
template <Complex T>
inline T power(T a, T b) {
  if (b.re == 0 && b.im == 0) return {1, 0};
  if (a.re == 0 && a.im == 0 && b.re > 0) return {0, 0};
  ComplexDouble w = log(convert<ComplexDouble>(a));
  return convert<T>(exp(multiply(convert<ComplexDouble>(b), w)));
}

// log(e^a + e^b), from the operand with the greater real part.
template <Complex T>
inline T logaddexp(T a, T b) {
  T low = minimum(a, b), high = maximum(a, b);
  return isnan(high) || isinf(high) ? high : add(high, log1p(exp(subtract(low, high))));
}

}  // namespace cermet::cpu::CERMET_ISA
