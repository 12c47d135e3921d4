// ops/ as C++ reads it: in the namespace of one instruction set, scalar functions without branches
// around which the compiler vectorises loops.
//
// Nothing here calls an inline function of the standard library, so that the linker can never share
// code between instruction sets. Needs -fno-math-errno -fno-trapping-math -ffp-contract=off.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "cermet/dtype.h"

#ifndef CERMET_ISA  // outside the files that are compiled for each instruction set
#define CERMET_ISA plain
#endif

namespace cermet::cpu::CERMET_ISA {

using f32 = float;
using i32 = std::int32_t;
using u32 = std::uint32_t;
using u64 = std::uint64_t;
using b32 = bool;
using c64 = complex64_t;

inline constexpr float kInf = __builtin_inff();
inline constexpr float kNan = __builtin_nanf("");

// Integers wrap in an unsigned type at least as wide as int.
template <class T, bool = std::is_integral_v<T>>
struct Wide {
  using type = T;
};
template <class T>
struct Wide<T, true> {
  using type = std::conditional_t<sizeof(T) == 8, u64, u32>;
};
template <class T>
using wide = typename Wide<T>::type;
template <class T>
inline constexpr u32 width = 8 * sizeof(T);
template <class T>
constexpr T lowest_of() {
  return std::is_signed_v<T> ? T(T(1) << (width<T> - 1)) : T(0);
}
template <class T>
constexpr T highest_of() {
  return T(~lowest_of<T>());
}

template <class T>
inline T select(b32 c, T a, T b) {
  return c ? a : b;
}

inline i32 bits(f32 x) { return __builtin_bit_cast(i32, x); }
inline f32 from_bits(i32 b) { return __builtin_bit_cast(f32, b); }

inline f32 abs(f32 x) { return __builtin_fabsf(x); }
inline f32 copysign(f32 x, f32 sign) { return __builtin_copysignf(x, sign); }
inline f32 sqrt(f32 x) { return __builtin_sqrtf(x); }
inline f32 floor(f32 x) { return __builtin_floorf(x); }
inline f32 ceil(f32 x) { return __builtin_ceilf(x); }
inline f32 trunc(f32 x) { return __builtin_truncf(x); }
inline f32 rint(f32 x) { return __builtin_rintf(x); }  // halves to even

// a * b + c, rounded once.
inline f32 fma(f32 a, f32 b, f32 c) {
#if defined(__FMA__) || defined(__aarch64__)
  return __builtin_fmaf(a, b, c);
#else
  // The product is exact in double. The sum is rounded to odd, which the second rounding cannot
  // mistake for a tie (Boldo and Melquiond, "Emulation of FMA and correctly rounded sums", 2008).
  double p = double(a) * double(b), d = c, s = p + d, t = s - p;
  double rest = (p - (s - t)) + (d - t);  // 0 or nan where the sum is exact
  u64 sum = __builtin_bit_cast(u64, s), sign = __builtin_bit_cast(u64, rest) ^ sum;
  u64 odd = (sum - (sign >> 63)) | 1;
  return f32(__builtin_fabs(rest) > 0.0 ? __builtin_bit_cast(double, odd) : s);
#endif
}

#define CONSTANT inline constexpr
#define TABLE(name, ...) inline constexpr float name[] = {__VA_ARGS__}
// The loops (loop.h) call f_usual, and f again where f_rare holds.
#define RARE_1(f, T, g) \
  inline T g(T x);      \
  inline T f(T x) { return __builtin_expect(f##_rare(x), 0) ? g(x) : f##_usual(x); }
#define RARE_2(f, T, g) \
  inline T g(T x, T y); \
  inline T f(T x, T y) { return __builtin_expect(f##_rare(x, y), 0) ? g(x, y) : f##_usual(x, y); }

// clang-format off
#ifdef __clang__  // it would have calls joined by && and ||, which are branches
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wbitwise-instead-of-logical"
#endif
#include "ops/all.h"
#include "ops/rare.h"
#include "ops/calls.h"
#ifdef __clang__
#pragma clang diagnostic pop
#endif
// clang-format on

#undef CONSTANT
#undef TABLE
#undef RARE_1
#undef RARE_2

}  // namespace cermet::cpu::CERMET_ISA
