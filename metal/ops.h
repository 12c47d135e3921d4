// The functions of the elementwise operations, as the table in elementwise.def calls them.
//
// Those of real numbers are float functions: half and bfloat widen to float in the call, and the
// caller's `cast` rounds the result once. They are the CPU's, polynomial for polynomial, so that
// both give the same bits wherever the CPU works in float as well; of Metal's own functions only
// the exactly rounded ones are used, for the others are less accurate than the operations promise.
// Complex functions follow W. Kahan, "Branch cuts for complex elementary functions" (1987).
#pragma once

#include "types.h"

constant constexpr float kInf = numeric_limits<float>::infinity();
constant constexpr float kLn2 = 0.693147182f, kLn2Rest = -1.90465421e-09f;
constant constexpr float kLn2Hi = 0.693359375f;  // few bits: a small integer times it is exact
constant constexpr float kLn2Lo = -0.000212194442f;
constant constexpr float kLog2e = 1.44269502f;
constant constexpr float kLog2eLo = 1.92596303e-08f;
constant constexpr float kLog10e = 0.434294492f;
constant constexpr float kPi = 3.14159274f;
constant constexpr float kPiLo = -8.74227766e-08f;
// Adding it rounds a small float to an integer, which stands in the low bits of the sum.
constant constexpr float kRound = 12582912.0f;  // 1.5 * 2^23

// c0 + c1 x + c2 x^2 + ...
inline float poly(float, float c0) { return c0; }
template <typename... C>
inline float poly(float x, float c0, C... c) {
  return fma(poly(x, c...), x, c0);
}

inline int bits_of(float x) { return as_type<int>(x); }
inline float from_bits(int b) { return as_type<float>(b); }
// 2^k for -126 <= k <= 127.
inline float pow2(int k) { return from_bits((k + 127) << 23); }

// hi + lo, with lo below half a unit of hi.
struct Pair {
  float hi, lo;
};
// For |a| >= |b| or a = 0.
inline Pair pair_sum(float a, float b) {
  float s = a + b;
  return Pair{s, b - (s - a)};
}
inline Pair pair_product(float a, float b) {
  float p = a * b;
  return Pair{p, fma(a, b, -p)};
}
inline Pair pair_product(Pair a, Pair b) {
  Pair p = pair_product(a.hi, b.hi);
  return pair_sum(p.hi, p.lo + fma(a.hi, b.lo, a.lo * b.hi));
}
inline Pair pair_sum(Pair a, Pair b) {
  float s = a.hi + b.hi, c = s - a.hi;
  return pair_sum(s, (a.hi - (s - c)) + (b.hi - c) + (a.lo + b.lo));
}
inline Pair pair_quotient(Pair a, Pair b) {
  float q = a.hi / b.hi;
  float rest = fma(-q, b.lo, fma(-q, b.hi, a.hi) + a.lo);
  return pair_sum(q, rest / b.hi);
}

// ---- signs, parts, predicates ------------------------------------------------------------------

// That of the lowest integer wraps to itself.
template <typename T>
inline T op_abs(T x) {
  if constexpr (is_integral_v<T>)
    return x < T(0) ? op_negative(x) : x;
  else
    return static_cast<T>(fabs(static_cast<float>(x)));
}
template <typename T>
inline T op_sign(T x) {
  return x > T(0) ? T(1) : x < T(0) ? static_cast<T>(-1) : x == T(0) ? T(0) : x;
}

template <typename T>
inline T op_real(T x) {
  return x;
}
template <typename T>
inline T op_imag(T) {
  return T(0);
}
template <typename T>
inline T op_conj(T x) {
  return x;
}
inline float op_real(complex64 z) { return z.re; }
inline float op_imag(complex64 z) { return z.im; }
inline complex64 op_conj(complex64 z) { return complex64(z.re, -z.im); }

template <typename T>
inline bool op_isinf(T x) {
  if constexpr (is_integral_v<T>)
    return false;
  else
    return fabs(static_cast<float>(x)) == kInf;
}
template <typename T>
inline bool op_isfinite(T x) {
  if constexpr (is_integral_v<T>)
    return true;
  else
    return fabs(static_cast<float>(x)) < kInf;
}
inline bool op_isinf(complex64 z) { return op_isinf(z.re) || op_isinf(z.im); }
inline bool op_isfinite(complex64 z) { return op_isfinite(z.re) && op_isfinite(z.im); }

inline float op_floor(float x) { return floor(x); }
inline float op_ceil(float x) { return ceil(x); }
inline float op_trunc(float x) { return trunc(x); }
inline float op_rint(float x) { return rint(x); }

inline float op_sqrt(float x) { return precise::sqrt(x); }
inline float op_rsqrt(float x) { return 1.0f / op_sqrt(x); }
inline float op_reciprocal(float x) { return 1.0f / x; }

// ---- bits --------------------------------------------------------------------------------------

template <typename T>
inline T op_invert(T x) {
  if constexpr (is_same_v<T, bool>)
    return !x;
  else
    return static_cast<T>(~x);
}
// A count outside the width shifts everything out.
template <typename T>
inline T op_left_shift(T a, T b) {
  bool inside = static_cast<wrapping<T>>(b) < sizeof(T) * 8;
  return inside ? static_cast<T>(static_cast<wrapping<T>>(a) << b) : T(0);
}
template <typename T>
inline T op_right_shift(T a, T b) {
  bool inside = static_cast<wrapping<T>>(b) < sizeof(T) * 8;
  return inside ? static_cast<T>(a >> b) : a < T(0) ? static_cast<T>(-1) : T(0);
}

// ---- exponentials ------------------------------------------------------------------------------

// x = k ln2 + r with |r| <= ln2 / 2.
struct ExpArgument {
  float r;
  int k;
};
inline ExpArgument reduce_exp(float x) {
  float z = fma(x, kLog2e, kRound);
  float n = z - kRound;
  return ExpArgument{fma(n, -kLn2Lo, fma(n, -kLn2Hi, x)), bits_of(z) - bits_of(kRound)};
}

// e^r - 1 for |r| <= ln2 / 2.
inline float expm1_reduced(float r) {
  return fma(r * r,
             poly(r, 0.49999997f, 0.16666539f, 0.0416677445f, 0.00836705882f, 0.00138393452f), r);
}

// 2^shift e^x, where |shift| <= 24. The power of two goes in by halves: a subnormal result is
// rounded once.
inline float exp_shifted(float x, int shift) {
  x = x > 90.0f ? 90.0f : x;
  x = x < -125.0f ? -125.0f : x;
  ExpArgument a = reduce_exp(x);
  int k = a.k + shift, half_k = k >> 1;
  return (1.0f + expm1_reduced(a.r)) * pow2(half_k) * pow2(k - half_k);
}

inline float op_exp(float x) { return exp_shifted(x, 0); }

inline float op_expm1(float x) {
  float c = x > 89.0f ? 89.0f : x;
  c = c < -20.0f ? -20.0f : c;
  ExpArgument a = reduce_exp(c);
  float s = pow2(a.k - 1);  // half, since 2^128 is not a float
  float y = 2.0f * fma(expm1_reduced(a.r), s, s - 0.5f);
  return fabs(x) < 1e-7f ? x : y;
}

inline float op_sigmoid(float x) {
  float e = op_exp(-fabs(x));
  return (x < 0.0f ? e : 1.0f) / (1.0f + e);
}

// The factor of 2^24 keeps the bits of an e^x that is subnormal.
inline float op_silu(float x) {
  float scaled = exp_shifted(-fabs(x), 24);
  return (x < 0.0f ? x * scaled * 0x1p-24f : x) / fma(scaled, 0x1p-24f, 1.0f);
}

inline float op_tanh(float x) {
  float a = fabs(x);
  ExpArgument e = reduce_exp(a > 9.5f ? 19.0f : a + a);
  float s = pow2(e.k);
  float t = fma(expm1_reduced(e.r), s, s - 1.0f);
  return copysign(t / (t + 2.0f), x);
}

inline float op_sinh(float x) {
  float a = fabs(x), u = a * a;
  float h = exp_shifted(a, -1);
  float near =
      fma(a * u, poly(u, 0.166666672f, 0.00833331048f, 0.000198428956f, 2.78221319e-06f), a);
  return copysign(a < 1.0f ? near : h - 0.25f / h, x);
}

inline float op_cosh(float x) {
  float h = exp_shifted(fabs(x), -1);
  return h + 0.25f / h;
}

// ---- logarithms --------------------------------------------------------------------------------

// x = 2^e (1 + f) with 1 + f in [2/3, 4/3), for finite x > 0.
struct LogArgument {
  float e, f;
};
inline int log_exponent(float x) { return (bits_of(x) - 0x3f2aaaab) >> 23; }
// 2^-k x - 1, exact, for k = log_exponent(x).
inline float log_fraction(float x, int k) { return from_bits(bits_of(x) - (k << 23)) - 1.0f; }
inline LogArgument reduce_log(float x) {
  bool tiny = x < 0x1p-126f;
  float scaled = tiny ? x * 0x1p23f : x;
  int k = log_exponent(scaled);
  return LogArgument{static_cast<float>(k) - (tiny ? 23.0f : 0.0f), log_fraction(scaled, k)};
}

// log(1 + f) - f for 1 + f in [2/3, 4/3).
inline float log_tail(float f) {
  float p = poly(f, 0.333332151f, -0.249997973f, 0.200104058f, -0.16680485f, 0.140058771f,
                 -0.121842973f, 0.139843971f, -0.128915101f);
  return f * f * fma(f, p, -0.5f);
}

// y = log(x), but where x is 0, negative, infinite or nan.
inline float finish_log(float x, float y) {
  y = x == kInf ? kInf : y;
  y = x == 0.0f ? -kInf : y;
  return x >= 0.0f ? y : nan_value();
}

inline float op_log(float x) {
  LogArgument a = reduce_log(x);
  return finish_log(x, fma(a.e, kLn2Hi, a.f + fma(a.e, kLn2Lo, log_tail(a.f))));
}

inline float op_log2(float x) {
  LogArgument a = reduce_log(x);
  float low = fma(log_tail(a.f), kLog2e, a.f * kLog2eLo);
  return finish_log(x, a.e + fma(a.f, kLog2e, low));
}

inline float op_log10(float x) {
  LogArgument a = reduce_log(x);
  float low = fma(a.e, 0.000248745666f, fma(log_tail(a.f), kLog10e, a.f * -1.0103049952e-08f));
  return finish_log(x, fma(a.e, 0.30078125f, fma(a.f, kLog10e, low)));
}

// log(1 + x) + extra ln2. Scaling x and 1 apart keeps the bits that 1 + x would lose.
inline float log1p_plus(float x, float extra) {
  float u = 1.0f + x;
  int k = log_exponent(u);
  float s = pow2(k < 64 ? -k : 0);
  float f = k < 64 ? fma(x, s, s - 1.0f) : log_fraction(x, k);
  float e = static_cast<float>(k) + extra;
  return finish_log(u, fma(e, kLn2Hi, f + fma(e, kLn2Lo, log_tail(f))));
}

inline float op_log1p(float x) {
  float y = log1p_plus(x, 0.0f);
  return x == 0.0f ? x : y;
}

inline float op_arcsinh(float x) {
  float a = fabs(x), u = a * a;
  bool big = a > 0x1p60f;  // u would overflow, and asinh(a) = log(2 a)
  float z = big ? a : a + u / (1.0f + op_sqrt(1.0f + u));
  return copysign(log1p_plus(z, big ? 1.0f : 0.0f), x);
}

inline float op_arccosh(float x) {
  float t = x - 1.0f;
  bool big = x > 0x1p60f;
  float z = big ? x : t + op_sqrt(t * (t + 2.0f));
  return x >= 1.0f ? log1p_plus(z, big ? 1.0f : 0.0f) : nan_value();
}

inline float op_arctanh(float x) {
  float a = fabs(x);
  return copysign(0.5f * op_log1p((a + a) / (1.0f - a)), x);
}

inline float op_logaddexp(float a, float b) {
  float distance = a == b ? 0.0f : fabs(a - b);  // also of equal infinities
  return op_maximum(a, b) + op_log1p(op_exp(-distance));
}

// ---- inverse trigonometric functions -----------------------------------------------------------

// asin(s) for 0 <= s <= 1/2, s^2 = z.
inline float arcsin_reduced(float s, float z) {
  return fma(s * z,
             poly(z, 0.166667521f, 0.0749530941f, 0.0454691499f, 0.0241847839f, 0.0421582796f), s);
}

// Beyond 1/2: asin(a) = pi/2 - 2 asin(sqrt((1 - a) / 2)).
inline float op_arcsin(float x) {
  float a = fabs(x);
  bool big = a > 0.5f;
  float z = big ? 0.5f * (1.0f - a) : a * a;
  float p = arcsin_reduced(big ? op_sqrt(z) : a, z);
  return copysign(big ? (0.5f * kPi - 2.0f * p) + 0.5f * kPiLo : p, x);
}

inline float op_arccos(float x) {
  float a = fabs(x);
  bool big = a > 0.5f;
  float z = big ? 0.5f * (1.0f - a) : a * a;
  float p = arcsin_reduced(big ? op_sqrt(z) : a, z);
  p = big ? p + p : copysign(p, x);
  float turn = big ? (x < 0.0f ? 1.0f : 0.0f) : 0.5f;  // the result in half turns, when p is 0
  p = big && x > 0.0f ? -p : p;
  return (turn * kPi - p) + turn * kPiLo;
}

// atan(t) for 0 <= t <= 1.
inline float arctan_reduced(float t) {
  float u = t * t;
  float p = poly(u, -0.333332986f, 0.199985296f, -0.142640173f, 0.109508894f, -0.0839931667f,
                 0.0578810424f, -0.0310959164f, 0.0108676357f, -0.00178246363f);
  return fma(t * u, p, t);
}

inline float op_arctan(float x) {
  float a = fabs(x);
  bool big = a > 1.0f;
  float p = arctan_reduced((big ? 1.0f : a) / (big ? a : 1.0f));
  return copysign(big ? (0.5f * kPi - p) + 0.5f * kPiLo : p, x);
}

inline float op_arctan2(float y, float x) {
  float a = fabs(x), b = fabs(y);
  bool steep = b > a;
  float low = steep ? a : b, high = steep ? b : a;
  float t = low / high;
  t = low == high ? 1.0f : t;  // both infinite
  t = high == 0.0f ? 0.0f : t;
  float p = arctan_reduced(t);
  p = steep ? (0.5f * kPi - p) + 0.5f * kPiLo : p;
  p = bits_of(x) < 0 ? (kPi - p) + kPiLo : p;
  p = op_isnan(x) || op_isnan(y) ? nan_value() : p;
  return copysign(p, y);
}

// ---- trigonometric functions -------------------------------------------------------------------

// x = r + low + quadrant pi/2, modulo a full turn, with |r| <= pi/4.
struct Angle {
  float r, low;
  int quadrant;
};
inline Angle reduce_near(float x) {
  float z = fma(x, 0.636619772f, kRound), q = z - kRound;
  float a = fma(q, -0.5f * kPi, x), p = q * (0.5f * kPiLo);  // a is exact
  float rest = fma(q, -1.71512451e-15f, fma(q, 0.5f * kPiLo, -p));
  float r = a - p;
  return Angle{r, ((a - r) - p) - rest, bits_of(z)};
}

// Payne and Hanek, for |x| >= 2^13: the product with those bits of 2/pi that make a difference.
constant constexpr uint kTwoOverPi[8] = {0,          0xa2f9836e, 0x4e441529, 0xfc2757d1,
                                         0xf534ddc0, 0xdb629599, 0x3c439041, 0xfe5163ab};
inline Angle reduce_far(float x) {
  if (!op_isfinite(x)) return Angle{nan_value(), 0.0f, 0};
  uint b = static_cast<uint>(bits_of(x)) & 0x7fffffff;
  ulong mantissa = (b & 0x7fffff) | 0x800000;
  int start = static_cast<int>(b >> 23) - 152 + 32;  // the first bit that counts, in the table
  int word = start / 32, drop = start % 32;
  ulong w0 = kTwoOverPi[word], w1 = kTwoOverPi[word + 1];
  ulong w2 = kTwoOverPi[word + 2], w3 = kTwoOverPi[word + 3];
  ulong high = (w0 << 32 | w1) << drop | (w2 << drop >> 32);
  ulong low = ((w2 << 32 | w3) << drop >> 32) & 0xffffffff;
  ulong turns = high * mantissa + (low * mantissa >> 32);  // in units of 2^-64 of a turn
  int quadrant = static_cast<int>((turns + (1ul << 61)) >> 62);

  // What is left of a quarter turn, in units of 2^-64, as two floats.
  ulong part = turns << 2;
  bool negative = part >> 63 != 0;
  part = negative ? 0 - part : part;
  Pair t = pair_sum(static_cast<float>(part >> 40) * 0x1p-24f,
                    static_cast<float>(part & 0xffffffffff) * 0x1p-64f);
  Pair r = pair_product(t, Pair{0.5f * kPi, 0.5f * kPiLo});
  float sign = negative != (x < 0.0f) ? -1.0f : 1.0f;
  return Angle{sign * r.hi, sign * r.lo, x < 0.0f ? -quadrant : quadrant};
}

inline Angle reduce_angle(float x) { return fabs(x) <= 131072.0f ? reduce_near(x) : reduce_far(x); }

inline float sin_reduced(Angle angle) {
  float r = angle.r, u = r * r;
  float s = fma(r * u, poly(u, -0.166666552f, 0.0083321603f, -0.000195152184f), angle.low) + r;
  float c = fma(u, fma(u, poly(u, 0.0416666456f, -0.00138873153f, 2.4433084e-05f), -0.5f), 1.0f);
  float y = (angle.quadrant & 1) != 0 ? c : s;
  return (angle.quadrant & 2) != 0 ? -y : y;
}
inline float cos_reduced(Angle angle) {
  return sin_reduced(Angle{angle.r, angle.low, angle.quadrant + 1});
}

inline float op_sin(float x) { return x == 0.0f ? x : sin_reduced(reduce_angle(x)); }
inline float op_cos(float x) { return cos_reduced(reduce_angle(x)); }

inline float op_tan(float x) {
  Angle a = reduce_angle(x);
  float u = a.r * a.r;
  float p = poly(u, 0.333333492f, 0.13332662f, 0.0540600307f, 0.0212815814f, 0.0108374339f,
                 8.74236648e-05f, 0.00437734416f);
  float t = fma(a.r * u, p, fma(a.low, u, a.low)) + a.r;
  bool odd = (a.quadrant & 1) != 0;
  float y = (odd ? -1.0f : t) / (odd ? t : 1.0f);
  return x == 0.0f ? x : y;
}

// ---- error functions ---------------------------------------------------------------------------

// Below 1 an odd polynomial; beyond, the eighth root of 1 - erf is one.
inline float op_erf(float x) {
  float a = fabs(x), u = x * x;
  float near = fma(x,
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
inline float op_erfinv(float x) {
  float w = -op_log((1.0f - x) * (1.0f + x));
  float near =
      poly(w - 2.5f, 1.50140941f, 0.24664028f, -0.00417738687f, -0.0012527419f, 0.00021834443f,
           -4.96334633e-06f, -3.46270349e-06f, 4.66170178e-07f, 2.32325412e-08f, -8.79101858e-09f);
  float far = poly(op_sqrt(w) - 3.0f, 2.83297682f, 1.00167501f, 0.00944528636f, -0.00763728889f,
                   0.00568697182f, -0.00359740574f, 0.00148509524f, -5.67771494e-05f,
                   -0.000309574767f, 0.000115704788f);
  float y = x * (w < 5.0f ? near : far);
  return fabs(x) == 1.0f ? copysign(kInf, x) : y;
}

// ---- powers, remainders ------------------------------------------------------------------------

// log2(x) for finite x > 0, to some 40 bits.
inline Pair log2_pair(float x) {
  LogArgument a = reduce_log(x);
  Pair s = pair_quotient(Pair{a.f, 0.0f}, pair_sum(2.0f, a.f));
  Pair u = pair_product(s, s);
  float tail =
      u.hi * poly(u.hi, 0.577078021f, 0.412197943f, 0.320644254f, 0.260666316f, 0.25105529f);
  Pair p = pair_sum(Pair{0.961796701f, -7.0392252e-09f}, Pair{tail, 0.0f});
  p = pair_sum(Pair{2.88539004f, 3.85192642e-08f}, pair_product(u, p));
  return pair_sum(Pair{a.e, 0.0f}, pair_product(s, p));
}

// a^b with C's special cases, from 2^(b log2 |a|).
inline float real_power(float a, float b) {
  float x = fabs(a);
  Pair log2x = log2_pair(x);
  Pair y = pair_product(b, log2x.hi);
  bool inside = fabs(y.hi) < 200.0f;
  float n = inside ? rint(y.hi) : copysign(200.0f, y.hi);
  float rest = inside ? y.hi - n : 0.0f, low = inside ? fma(b, log2x.lo, y.lo) : 0.0f;
  float t = fma(rest, kLn2, fma(rest, kLn2Rest, low * kLn2));
  int k = static_cast<int>(n), half_k = k >> 1;
  float r = (1.0f + expm1_reduced(t)) * pow2(half_k) * pow2(k - half_k);

  bool grows = (x > 1.0f) == (b > 0.0f);
  r = x == 0.0f || x == kInf || fabs(b) == kInf ? (grows ? kInf : 0.0f) : r;
  r = x == 1.0f ? 1.0f : r;
  float whole = trunc(b), half_b = 0.5f * b;
  bool odd = whole == b && trunc(half_b) != half_b;
  r = bits_of(a) < 0 && odd ? -r : r;
  r = a < 0.0f && whole != b && x != kInf ? nan_value() : r;
  r = op_isnan(a) || op_isnan(b) ? nan_value() : r;
  return b == 0.0f || a == 1.0f ? 1.0f : r;
}

// Wrapping. A negative power of 1 or -1 is that of its magnitude; of any other number, 0.
template <typename T>
inline T integer_power(T a, T b) {
  bool negative = b < T(0);
  if (negative && a != T(1) && a != static_cast<T>(-1)) return T(0);
  ulong base = static_cast<ulong>(a), result = 1;
  for (ulong n = negative ? b & 1 : b; n != 0; n >>= 1, base *= base) {
    if ((n & 1) != 0) result *= base;
  }
  return static_cast<T>(result);
}

template <typename T>
inline T op_power(T a, T b) {
  if constexpr (is_integral_v<T>)
    return integer_power(a, b);
  else
    return static_cast<T>(real_power(static_cast<float>(a), static_cast<float>(b)));
}

// Division towards minus infinity, whose remainder has the divisor's sign. By 0 both are 0; the
// lowest integer by -1 wraps.
template <typename T>
struct FloorDivision {
  T quotient, remainder;
};
template <typename T>
inline FloorDivision<T> integer_division(T a, T b) {
  if (b == T(0)) return FloorDivision<T>{T(0), T(0)};
  if (b == static_cast<T>(-1) && T(0) > b) return FloorDivision<T>{op_negative(a), T(0)};
  T q = static_cast<T>(a / b), r = static_cast<T>(a % b);
  if (r == T(0) || (r < T(0)) == (b < T(0))) return FloorDivision<T>{q, r};
  return FloorDivision<T>{static_cast<T>(q - T(1)), static_cast<T>(r + b)};
}

// The rounded quotient may have been lifted over an integer; what is left of a tells. Beyond 2^24
// it is an integer itself, to which the rest of the quotient is added.
inline float real_floor_divide(float a, float b) {
  float q = floor(a / b), r = fma(-q, b, a);
  if (!op_isfinite(q)) return q;
  if (fabs(q) >= 0x1p24f) return q + floor(r / b);
  bool lifted = b < 0.0f ? r > 0.0f : r < 0.0f;
  return lifted ? q - 1.0f : q;
}

inline float real_remainder(float a, float b) {
  float q = real_floor_divide(a, b), r;
  if (fabs(b) == kInf && op_isfinite(a)) {
    r = a != 0.0f && (a < 0.0f) != (b < 0.0f) ? b : a;
  } else if (fabs(q) < 0x1p24f) {
    r = fma(-q, b, a);
  } else {
    r = precise::fmod(a, b);
    r = r != 0.0f && (r < 0.0f) != (b < 0.0f) ? r + b : r;
  }
  return r == 0.0f ? copysign(0.0f, b) : r;
}

template <typename T>
inline T op_floor_divide(T a, T b) {
  if constexpr (is_integral_v<T>)
    return integer_division(a, b).quotient;
  else
    return static_cast<T>(real_floor_divide(static_cast<float>(a), static_cast<float>(b)));
}
template <typename T>
inline T op_remainder(T a, T b) {
  if constexpr (is_integral_v<T>)
    return integer_division(a, b).remainder;
  else
    return static_cast<T>(real_remainder(static_cast<float>(a), static_cast<float>(b)));
}

// ---- complex numbers ---------------------------------------------------------------------------

inline complex64 times_i(complex64 z) { return complex64(-z.im, z.re); }
inline complex64 over_i(complex64 z) { return complex64(z.im, -z.re); }

inline float larger_part(complex64 z) { return op_maximum(fabs(z.re), fabs(z.im)); }
// The exponent of the larger part, and 2^k z: what is squared is first brought near 1.
inline int exponent_of(complex64 z) { return (bits_of(larger_part(z)) >> 23) - 127; }
inline float scale(float x, int k) { return x * pow2(k >> 1) * pow2(k - (k >> 1)); }
inline complex64 scale(complex64 z, int k) { return complex64(scale(z.re, k), scale(z.im, k)); }
// |z|^2, for a z near 1.
inline float norm(complex64 z) { return fma(z.re, z.re, z.im * z.im); }
// a b + c d, within an ULP (Kahan).
inline float sum_of_products(float a, float b, float c, float d) {
  float p = c * d;
  return fma(a, b, p) - fma(-c, d, p);
}

// A zero divisor divides by its parts; an infinite one gives 0.
inline complex64 operator/(complex64 a, complex64 b) {
  if (b.re == 0.0f && b.im == 0.0f) return complex64(a.re / fabs(b.re), a.im / fabs(b.re));
  if (op_isinf(b) && op_isfinite(a)) {
    a = a * 0.25f;
    b = complex64(copysign(op_isinf(b.re) ? 1.0f : 0.0f, b.re),
                  copysign(op_isinf(b.im) ? 1.0f : 0.0f, b.im));
    return (a * op_conj(b)) * 0.0f;
  }
  int ea = exponent_of(a), eb = exponent_of(b);
  a = scale(a, -ea);
  b = scale(b, -eb);
  float n = norm(b);
  complex64 q(sum_of_products(a.re, b.re, a.im, b.im) / n,
              sum_of_products(a.im, b.re, -a.re, b.im) / n);
  return scale(q, ea - eb);
}
inline complex64 op_reciprocal(complex64 z) { return complex64(1.0f, 0.0f) / z; }

inline float op_abs(complex64 z) {
  if (op_isinf(z)) return kInf;
  int e = exponent_of(z);
  return scale(op_sqrt(norm(scale(z, -e))), e);
}
inline complex64 op_sign(complex64 z) {
  if (z.re == 0.0f && z.im == 0.0f) return complex64(0.0f, 0.0f);
  z = scale(z, -exponent_of(z));
  float r = op_sqrt(norm(z));
  return complex64(z.re / r, z.im / r);
}

inline complex64 op_sqrt(complex64 z) {
  if (op_isinf(z.im)) return complex64(kInf, z.im);
  if (z.re == 0.0f && z.im == 0.0f) return complex64(0.0f, z.im);
  int e = exponent_of(z) & ~1;
  complex64 w = scale(z, -e);
  float t = op_sqrt(0.5f * (fabs(w.re) + op_sqrt(norm(w)))), u = 0.5f * w.im / t;
  bool left = w.re < 0.0f;
  return scale(complex64(left ? fabs(u) : t, left ? copysign(t, w.im) : u), e / 2);
}
inline complex64 op_rsqrt(complex64 z) { return op_reciprocal(op_sqrt(z)); }

// e^x (c + i s): either factor alone may leave the range of float.
inline complex64 exp_times(float x, float c, float s) {
  x = x > 176.0f ? 176.0f : x;
  x = x < -176.0f ? -176.0f : x;
  ExpArgument a = reduce_exp(x);
  float m = 1.0f + expm1_reduced(a.r);
  return scale(complex64(m * c, m * s), op_isnan(x) ? 0 : a.k);
}
inline complex64 op_exp(complex64 z) {
  return exp_times(z.re, op_cos(z.im), z.im == 0.0f ? z.im : op_sin(z.im));
}
inline complex64 op_expm1(complex64 z) {
  if (z.im == 0.0f) return complex64(op_expm1(z.re), z.im);
  if (z.re > 80.0f) return op_exp(z);
  float s = op_sin(0.5f * z.im);
  return complex64(fma(-2.0f * s, s, op_expm1(z.re) * op_cos(z.im)), op_exp(z.re) * op_sin(z.im));
}
// With |1 + e^-z|^2 = (1 - e^-x)^2 + 4 e^-x cos^2(y / 2), which nothing cancels in near a pole.
inline complex64 op_sigmoid(complex64 z) {
  float a = -fabs(z.re), e = op_exp(a), h = op_expm1(a), c = op_cos(0.5f * z.im), k = 2.0f * c * c;
  float d = fma(h, h, 2.0f * e * k);
  return complex64((z.re < 0.0f ? e * (k + h) : fma(e, k, -h)) / d, e * op_sin(z.im) / d);
}
inline complex64 op_silu(complex64 z) { return z * op_sigmoid(z); }

// log|1 + x + i y|, from 2 x + x^2 + y^2.
inline float log1p_modulus(float x, float y) {
  Pair u = pair_sum(pair_sum(Pair{2.0f * x, 0.0f}, pair_product(x, x)), pair_product(y, y));
  return 0.5f * op_log1p(u.hi + u.lo);
}
inline float log_modulus(complex64 z) {
  if (op_isinf(z)) return kInf;
  float a = larger_part(z);
  if (a >= 0.5f && a <= 2.0f) return log1p_modulus(a - 1.0f, min(fabs(z.re), fabs(z.im)));
  int k = exponent_of(z);
  float e = static_cast<float>(k);
  return fma(e, kLn2Hi, fma(e, kLn2Lo, 0.5f * op_log(norm(scale(z, -k)))));
}
inline complex64 op_log(complex64 z) { return complex64(log_modulus(z), op_arctan2(z.im, z.re)); }
inline complex64 op_log2(complex64 z) { return op_log(z) * kLog2e; }
inline complex64 op_log10(complex64 z) { return op_log(z) * kLog10e; }
inline complex64 op_log1p(complex64 z) {
  complex64 w(1.0f + z.re, z.im);
  if (!(larger_part(z) < 0.5f)) return op_log(w);
  return complex64(log1p_modulus(z.re, z.im), op_arctan2(w.im, w.re));
}
// From the operand with the greater real part.
inline complex64 op_logaddexp(complex64 a, complex64 b) {
  complex64 low = op_minimum(a, b), high = op_maximum(a, b);
  if (op_isnan(high) || op_isinf(high)) return high;
  return high + op_log1p(op_exp(low - high));
}

inline complex64 op_sinh(complex64 z) {
  float c = op_cos(z.im), s = op_sin(z.im);
  if (!(fabs(z.re) > 80.0f)) return complex64(op_sinh(z.re) * c, op_cosh(z.re) * s);
  complex64 w = exp_times(fabs(z.re), 0.5f * c, 0.5f * s);
  return complex64(z.re < 0.0f ? -w.re : w.re, w.im);
}
inline complex64 op_cosh(complex64 z) {
  float c = op_cos(z.im), s = op_sin(z.im);
  if (!(fabs(z.re) > 80.0f)) return complex64(op_cosh(z.re) * c, op_sinh(z.re) * s);
  complex64 w = exp_times(fabs(z.re), 0.5f * c, 0.5f * s);
  return complex64(w.re, z.re < 0.0f ? -w.im : w.im);
}
inline complex64 op_tanh(complex64 z) {
  if (fabs(z.re) > 10.0f) {
    float e = 2.0f * op_exp(-fabs(z.re));
    float im = op_isinf(z.re) ? 0.0f : op_sin(z.im) * op_cos(z.im) * e * e;
    return complex64(copysign(1.0f, z.re), im);
  }
  float t = op_tan(z.im), b = fma(t, t, 1.0f), s = op_sinh(z.re);
  float d = fma(b * s, s, 1.0f);
  return complex64(b * op_cosh(z.re) * s / d, t / d);
}
inline complex64 op_sin(complex64 z) { return over_i(op_sinh(times_i(z))); }
inline complex64 op_cos(complex64 z) { return op_cosh(times_i(z)); }
inline complex64 op_tan(complex64 z) { return over_i(op_tanh(times_i(z))); }

// Beyond this modulus 1 is nothing beside z^2.
constant constexpr float kHuge = 0x1p40f;

inline complex64 op_arcsin(complex64 z) {
  if (larger_part(z) > kHuge || op_isinf(z))
    return complex64(op_arctan2(z.re, fabs(z.im)), copysign(log_modulus(z) + kLn2, z.im));
  complex64 a = op_sqrt(complex64(1.0f - z.re, -z.im)), b = op_sqrt(complex64(1.0f + z.re, z.im));
  return complex64(op_arctan2(z.re, (a * b).re), op_arcsinh((op_conj(a) * b).im));
}
inline complex64 op_arccos(complex64 z) {
  if (larger_part(z) > kHuge || op_isinf(z))
    return complex64(op_arctan2(fabs(z.im), z.re), -copysign(log_modulus(z) + kLn2, z.im));
  complex64 a = op_sqrt(complex64(1.0f - z.re, -z.im)), b = op_sqrt(complex64(1.0f + z.re, z.im));
  return complex64(2.0f * op_arctan2(a.re, b.re), op_arcsinh((op_conj(b) * a).im));
}
inline complex64 op_arctanh(complex64 z) {
  float x = fabs(z.re), y = z.im;
  if (larger_part(z) > kHuge || op_isinf(z))
    return complex64(copysign(op_reciprocal(z).re, z.re), copysign(0.5f * kPi, y));
  float d = 1.0f - x, n = fma(d, d, y * y);
  float re = n > 1e-4f
                 ? 0.25f * op_log1p(4.0f * x / n)
                 : 0.5f * (log_modulus(complex64(1.0f + x, y)) - log_modulus(complex64(d, y)));
  float im = 0.5f * op_arctan2(2.0f * y, fma(-y, y, d * (1.0f + x)));
  return complex64(copysign(re, z.re), im);
}
inline complex64 op_arccosh(complex64 z) {
  complex64 w = op_arccos(z);
  bool below = bits_of(z.im) < 0;
  return complex64(below ? w.im : -w.im, below ? -w.re : w.re);
}
inline complex64 op_arcsinh(complex64 z) { return over_i(op_arcsin(times_i(z))); }
inline complex64 op_arctan(complex64 z) { return over_i(op_arctanh(times_i(z))); }

// arctan(k / 8)
constant constexpr Pair kArctanEighths[9] = {{0.0f, 0.0f},
                                             {0.124354996f, -1.24038224e-09f},
                                             {0.244978666f, -3.17867777e-09f},
                                             {0.358770669f, 1.76394988e-09f},
                                             {0.463647604f, 5.01215869e-09f},
                                             {0.558599293f, 2.21115979e-08f},
                                             {0.643501103f, 5.86893734e-09f},
                                             {0.718829989f, 1.01883355e-08f},
                                             {0.785398185f, -2.18556941e-08f}};

// The logarithm of a finite z other than 0, each part as a pair: a power multiplies its error.
struct ComplexPair {
  Pair re, im;
};
inline ComplexPair log_pair(complex64 z) {
  int k = exponent_of(z);
  z = scale(z, -k);
  float x = fabs(z.re), y = fabs(z.im);
  Pair n = pair_sum(pair_product(x, x), pair_product(y, y));
  Pair log2n = pair_sum(log2_pair(n.hi), Pair{kLog2e * n.lo / n.hi, 0.0f});
  Pair modulus = pair_sum(Pair{2.0f * static_cast<float>(k), 0.0f}, log2n);

  bool steep = y > x;
  Pair t = pair_quotient(Pair{steep ? x : y, 0.0f}, Pair{steep ? y : x, 0.0f});
  int near = static_cast<int>(rint(8.0f * t.hi));
  float c = 0.125f * static_cast<float>(near);
  Pair d = pair_quotient(pair_sum(t, Pair{-c, 0.0f}),
                         pair_sum(Pair{1.0f, 0.0f}, pair_product(t, Pair{c, 0.0f})));
  float u = d.hi * d.hi, tail = d.hi * u * poly(u, -0.333333343f, 0.200000003f, -0.142857149f);
  Pair p = pair_sum(Pair{kArctanEighths[near].hi, kArctanEighths[near].lo},
                    pair_sum(d, Pair{tail, 0.0f}));
  if (steep) p = pair_sum(Pair{0.5f * kPi, 0.5f * kPiLo}, Pair{-p.hi, -p.lo});
  if (bits_of(z.re) < 0) p = pair_sum(Pair{kPi, kPiLo}, Pair{-p.hi, -p.lo});
  float sign = copysign(1.0f, z.im);
  return ComplexPair{pair_product(modulus, Pair{0.5f * kLn2, 0.5f * kLn2Rest}),
                     Pair{sign * p.hi, sign * p.lo}};
}

// e^(b log a), with 0^0 = 1 and 0^b = 0 where b has a positive real part.
inline complex64 op_power(complex64 a, complex64 b) {
  bool zero = a.re == 0.0f && a.im == 0.0f;
  if (b.re == 0.0f && b.im == 0.0f) return complex64(1.0f, 0.0f);
  if (zero && b.re > 0.0f) return complex64(0.0f, 0.0f);
  if (zero || !op_isfinite(a) || !op_isfinite(b)) return op_exp(b * op_log(a));
  ComplexPair w = log_pair(a);
  Pair x{b.re, 0.0f}, y{b.im, 0.0f}, minus_y{-b.im, 0.0f};
  Pair re = pair_sum(pair_product(x, w.re), pair_product(minus_y, w.im));
  Pair im = pair_sum(pair_product(x, w.im), pair_product(y, w.re));
  Angle angle = reduce_angle(im.hi);
  Pair r = pair_sum(Pair{angle.r, angle.low}, Pair{im.lo, 0.0f});
  angle = Angle{r.hi, r.lo, angle.quadrant};
  float m = 1.0f + re.lo;
  return exp_times(re.hi, m * cos_reduced(angle), m * sin_reduced(angle));
}
