// Complex functions, after W. Kahan, "Branch cuts for complex elementary functions" (1987).
#pragma once

namespace ops {

inline float real(complex64 z) { return z.re; }
inline float imag(complex64 z) { return z.im; }
inline complex64 conjugate(complex64 z) { return complex64(z.re, -z.im); }
inline bool isinf(complex64 z) { return isinf(z.re) || isinf(z.im); }
inline bool isfinite(complex64 z) { return isfinite(z.re) && isfinite(z.im); }
inline bool isnan(complex64 z) { return isnan(z.re) || isnan(z.im); }
inline complex64 maximum(complex64 a, complex64 b) {
  return isnan(a) || (b < a && !isnan(b)) ? a : b;
}
inline complex64 minimum(complex64 a, complex64 b) {
  return isnan(a) || (a < b && !isnan(b)) ? a : b;
}
inline complex64 times_i(complex64 z) { return complex64(-z.im, z.re); }
inline complex64 over_i(complex64 z) { return complex64(z.im, -z.re); }

inline float larger_part(complex64 z) { return maximum(abs(z.re), abs(z.im)); }
// The exponent of the larger part, and 2^k z: what is squared is first brought near 1.
inline int exponent_of(complex64 z) { return (bits(larger_part(z)) >> 23) - 127; }
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
  if (b.re == 0.0f && b.im == 0.0f) return complex64(a.re / abs(b.re), a.im / abs(b.re));
  if (isinf(b) && isfinite(a)) {
    a = a * 0.25f;
    b = complex64(copysign(isinf(b.re) ? 1.0f : 0.0f, b.re),
                  copysign(isinf(b.im) ? 1.0f : 0.0f, b.im));
    return (a * conjugate(b)) * 0.0f;
  }
  int ea = exponent_of(a), eb = exponent_of(b);
  a = scale(a, -ea);
  b = scale(b, -eb);
  float n = norm(b);
  complex64 q(sum_of_products(a.re, b.re, a.im, b.im) / n,
              sum_of_products(a.im, b.re, -a.re, b.im) / n);
  return scale(q, ea - eb);
}
inline complex64 reciprocal(complex64 z) { return complex64(1.0f, 0.0f) / z; }

inline float abs(complex64 z) {
  if (isinf(z)) return kInf;
  int e = exponent_of(z);
  return scale(sqrt(norm(scale(z, -e))), e);
}
inline complex64 sign(complex64 z) {
  if (z.re == 0.0f && z.im == 0.0f) return complex64(0.0f, 0.0f);
  z = scale(z, -exponent_of(z));
  float r = sqrt(norm(z));
  return complex64(z.re / r, z.im / r);
}

inline complex64 sqrt(complex64 z) {
  if (isinf(z.im)) return complex64(kInf, z.im);
  if (z.re == 0.0f && z.im == 0.0f) return complex64(0.0f, z.im);
  int e = exponent_of(z) & ~1;
  complex64 w = scale(z, -e);
  float t = sqrt(0.5f * (abs(w.re) + sqrt(norm(w)))), u = 0.5f * w.im / t;
  bool left = w.re < 0.0f;
  return scale(complex64(left ? abs(u) : t, left ? copysign(t, w.im) : u), e / 2);
}
inline complex64 rsqrt(complex64 z) { return reciprocal(sqrt(z)); }

// e^x (c + i s): either factor alone may leave the range of float.
inline complex64 exp_times(float x, float c, float s) {
  x = x > 176.0f ? 176.0f : x;
  x = x < -176.0f ? -176.0f : x;
  ExpArgument a = reduce_exp(x);
  float m = 1.0f + expm1_reduced(a.r);
  return scale(complex64(m * c, m * s), isnan(x) ? 0 : a.k);
}
inline complex64 exp(complex64 z) {
  return exp_times(z.re, cos(z.im), z.im == 0.0f ? z.im : sin(z.im));
}
inline complex64 expm1(complex64 z) {
  if (z.im == 0.0f) return complex64(expm1(z.re), z.im);
  if (z.re > 80.0f) return exp(z);
  float s = sin(0.5f * z.im);
  return complex64(fma(-2.0f * s, s, expm1(z.re) * cos(z.im)), exp(z.re) * sin(z.im));
}
// With |1 + e^-z|^2 = (1 - e^-x)^2 + 4 e^-x cos^2(y / 2), which nothing cancels in near a pole.
inline complex64 sigmoid(complex64 z) {
  float a = -abs(z.re), e = exp(a), h = expm1(a), c = cos(0.5f * z.im), k = 2.0f * c * c;
  float d = fma(h, h, 2.0f * e * k);
  return complex64((z.re < 0.0f ? e * (k + h) : fma(e, k, -h)) / d, e * sin(z.im) / d);
}
inline complex64 silu(complex64 z) { return z * sigmoid(z); }

// log|1 + x + i y|, from 2 x + x^2 + y^2.
inline float log1p_modulus(float x, float y) {
  Pair u = pair_sum(pair_sum(Pair{2.0f * x, 0.0f}, pair_product(x, x)), pair_product(y, y));
  return 0.5f * log1p(u.hi + u.lo);
}
inline float log_modulus(complex64 z) {
  if (isinf(z)) return kInf;
  float a = larger_part(z);
  if (a >= 0.5f && a <= 2.0f) return log1p_modulus(a - 1.0f, minimum(abs(z.re), abs(z.im)));
  int k = exponent_of(z);
  float e = static_cast<float>(k);
  return fma(e, kLn2Hi, fma(e, kLn2Lo, 0.5f * log(norm(scale(z, -k)))));
}
inline complex64 log(complex64 z) { return complex64(log_modulus(z), arctan2(z.im, z.re)); }
inline complex64 log2(complex64 z) { return log(z) * kLog2e; }
inline complex64 log10(complex64 z) { return log(z) * kLog10e; }
inline complex64 log1p(complex64 z) {
  complex64 w(1.0f + z.re, z.im);
  if (!(larger_part(z) < 0.5f)) return log(w);
  return complex64(log1p_modulus(z.re, z.im), arctan2(w.im, w.re));
}
// From the operand with the greater real part.
inline complex64 logaddexp(complex64 a, complex64 b) {
  complex64 low = minimum(a, b), high = maximum(a, b);
  if (isnan(high) || isinf(high)) return high;
  return high + log1p(exp(low - high));
}

inline complex64 sinh(complex64 z) {
  float c = cos(z.im), s = sin(z.im);
  if (!(abs(z.re) > 80.0f)) return complex64(sinh(z.re) * c, cosh(z.re) * s);
  complex64 w = exp_times(abs(z.re), 0.5f * c, 0.5f * s);
  return complex64(z.re < 0.0f ? -w.re : w.re, w.im);
}
inline complex64 cosh(complex64 z) {
  float c = cos(z.im), s = sin(z.im);
  if (!(abs(z.re) > 80.0f)) return complex64(cosh(z.re) * c, sinh(z.re) * s);
  complex64 w = exp_times(abs(z.re), 0.5f * c, 0.5f * s);
  return complex64(w.re, z.re < 0.0f ? -w.im : w.im);
}
inline complex64 tanh(complex64 z) {
  if (abs(z.re) > 10.0f) {
    float e = 2.0f * exp(-abs(z.re));
    float im = isinf(z.re) ? 0.0f : sin(z.im) * cos(z.im) * e * e;
    return complex64(copysign(1.0f, z.re), im);
  }
  float t = tan(z.im), b = fma(t, t, 1.0f), s = sinh(z.re);
  float d = fma(b * s, s, 1.0f);
  return complex64(b * cosh(z.re) * s / d, t / d);
}
inline complex64 sin(complex64 z) { return over_i(sinh(times_i(z))); }
inline complex64 cos(complex64 z) { return cosh(times_i(z)); }
inline complex64 tan(complex64 z) { return over_i(tanh(times_i(z))); }

// Beyond this modulus 1 is nothing beside z^2.
constant constexpr float kHuge = 0x1p40f;

inline complex64 arcsin(complex64 z) {
  if (larger_part(z) > kHuge || isinf(z))
    return complex64(arctan2(z.re, abs(z.im)), copysign(log_modulus(z) + kLn2, z.im));
  complex64 a = sqrt(complex64(1.0f - z.re, -z.im)), b = sqrt(complex64(1.0f + z.re, z.im));
  return complex64(arctan2(z.re, (a * b).re), arcsinh((conjugate(a) * b).im));
}
inline complex64 arccos(complex64 z) {
  if (larger_part(z) > kHuge || isinf(z))
    return complex64(arctan2(abs(z.im), z.re), -copysign(log_modulus(z) + kLn2, z.im));
  complex64 a = sqrt(complex64(1.0f - z.re, -z.im)), b = sqrt(complex64(1.0f + z.re, z.im));
  return complex64(2.0f * arctan2(a.re, b.re), arcsinh((conjugate(b) * a).im));
}
inline complex64 arctanh(complex64 z) {
  float x = abs(z.re), y = z.im;
  if (larger_part(z) > kHuge || isinf(z))
    return complex64(copysign(reciprocal(z).re, z.re), copysign(0.5f * kPi, y));
  float d = 1.0f - x, n = fma(d, d, y * y);
  float re = n > 1e-4f
                 ? 0.25f * log1p(4.0f * x / n)
                 : 0.5f * (log_modulus(complex64(1.0f + x, y)) - log_modulus(complex64(d, y)));
  float im = 0.5f * arctan2(2.0f * y, fma(-y, y, d * (1.0f + x)));
  return complex64(copysign(re, z.re), im);
}
inline complex64 arccosh(complex64 z) {
  complex64 w = arccos(z);
  bool below = bits(z.im) < 0;
  return complex64(below ? w.im : -w.im, below ? -w.re : w.re);
}
inline complex64 arcsinh(complex64 z) { return over_i(arcsin(times_i(z))); }
inline complex64 arctan(complex64 z) { return over_i(arctanh(times_i(z))); }

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
  float x = abs(z.re), y = abs(z.im);
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
  if (bits(z.re) < 0) p = pair_sum(Pair{kPi, kPiLo}, Pair{-p.hi, -p.lo});
  float sign = copysign(1.0f, z.im);
  return ComplexPair{pair_product(modulus, Pair{0.5f * kLn2, 0.5f * kLn2Rest}),
                     Pair{sign * p.hi, sign * p.lo}};
}

// e^(b log a), with 0^0 = 1 and 0^b = 0 where b has a positive real part.
inline complex64 power(complex64 a, complex64 b) {
  bool zero = a.re == 0.0f && a.im == 0.0f;
  if (b.re == 0.0f && b.im == 0.0f) return complex64(1.0f, 0.0f);
  if (zero && b.re > 0.0f) return complex64(0.0f, 0.0f);
  if (zero || !isfinite(a) || !isfinite(b)) return exp(b * log(a));
  ComplexPair w = log_pair(a);
  Pair x{b.re, 0.0f}, y{b.im, 0.0f}, minus_y{-b.im, 0.0f};
  Pair re = pair_sum(pair_product(x, w.re), pair_product(minus_y, w.im));
  Pair im = pair_sum(pair_product(x, w.im), pair_product(y, w.re));
  Angle angle = (is_far(im.hi) ? reduce_far(im.hi) : reduce_near(im.hi));
  Pair r = pair_sum(Pair{angle.r, angle.low}, Pair{im.lo, 0.0f});
  angle = Angle{r.hi, r.lo, angle.quadrant};
  float m = 1.0f + re.lo;
  return exp_times(re.hi, m * cos_reduced(angle), m * sin_reduced(angle));
}

}  // namespace ops
