// Complex functions.
#pragma once

#include <concepts>

#include "cpu/float64.h"

namespace cermet::cpu::CERMET_ISA {

template <class T>
concept Complex = requires(T z) {
  z.re;
  z.im;
};

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

template <Complex T>
inline bool not_equal(T a, T b) {
  return !equal(a, b);
}
template <Complex T>
inline bool less_equal(T a, T b) {
  return less(a, b) || equal(a, b);
}
template <Complex T>
inline bool greater(T a, T b) {
  return less(b, a);
}
template <Complex T>
inline bool greater_equal(T a, T b) {
  return less_equal(b, a);
}
template <Complex T>
inline T conjugate(T z) {
  return {z.re, -z.im};
}
template <Complex T>
inline float real(T z) {
  return z.re;
}
template <Complex T>
inline float imag(T z) {
  return z.im;
}
}  // namespace cermet::cpu::CERMET_ISA
