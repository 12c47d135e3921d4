// The elementwise operations in float64: the C library's functions, and what it lacks.
#pragma once

#include "ops/cpp.h"

namespace cermet::cpu::CERMET_ISA {

inline double abs(double x) { return __builtin_fabs(x); }
inline double copysign(double x, double sign) { return __builtin_copysign(x, sign); }
inline double sqrt(double x) { return __builtin_sqrt(x); }
inline double floor(double x) { return __builtin_floor(x); }
inline double ceil(double x) { return __builtin_ceil(x); }
inline double trunc(double x) { return __builtin_trunc(x); }
inline double rint(double x) { return __builtin_rint(x); }
inline double rsqrt(double x) { return 1.0 / sqrt(x); }
inline double reciprocal(double x) { return 1.0 / x; }
inline bool isinf(double x) { return abs(x) == double(kInf); }
inline bool isfinite(double x) { return abs(x) < double(kInf); }

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

inline constexpr double kHalfRootPi = 0.88622692545275801;
// Halley's method from S. Winitzki's "A handy approximation for the error function and its inverse"
// (2008).
inline double erfinv(double x) {
  double a = abs(x);
  if (!(a < 1.0)) return a == 1.0 ? copysign(double(kInf), x) : double(kNan);
  if (a < 1e-9) return x * kHalfRootPi;
  double l = __builtin_log1p(-a * a);
  double h = 4.3307467508 + 0.5 * l;  // 2 / (pi 0.147)
  double y = sqrt(sqrt(h * h - l / 0.147) - h);
  for (int i = 0; i < 3; ++i) {
    double error = a < 0.5 ? __builtin_erf(y) - a : (1.0 - a) - __builtin_erfc(y);
    double step = error * kHalfRootPi * exp(y * y);
    y -= step / (1.0 + y * step);
  }
  return copysign(y, x);
}

inline double silu(double x) { return x * sigmoid(x); }

// log(e^a + e^b)
inline double logaddexp(double a, double b) {
  double distance = a == b ? 0.0 : abs(a - b);  // also of equal infinities
  return maximum(a, b) + log1p(exp(-distance));
}

// Python's: exact but for the rounding of fmod(a, b) + b where the signs differ.
inline double remainder(double a, double b) {
  double r = __builtin_fmod(a, b);
  if (r == 0.0) return copysign(0.0, b);
  return (r < 0.0) != (b < 0.0) ? r + b : r;
}
// The integer (a - remainder) / b; of and by infinities the floor of the quotient.
inline double floor_divide(double a, double b) {
  if (b == 0.0 || __builtin_isinf(a) || __builtin_isinf(b)) return __builtin_floor(a / b);
  const double r = remainder(a, b);
  const double q = rint((a - r) / b);
  return q == 0.0 ? copysign(0.0, a / b) : q;
}

}  // namespace cermet::cpu::CERMET_ISA
