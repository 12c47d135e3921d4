// csrc/ops as Metal reads it, in the namespace `ops`. Of Metal's own functions only the exactly
// rounded ones are used, for the others are less accurate than the operations promise.
#pragma once

#include "numbers.h"

namespace ops {

using f32 = float;
using i32 = int;
using u32 = uint;
using u64 = ulong;
using b32 = bool;
using c64 = complex64;

constant constexpr float kInf = numeric_limits<float>::infinity();
constant constexpr float kNan = numeric_limits<float>::quiet_NaN();

// The type in which integers of type T wrap: unsigned, at least as wide as int. Others stay.
template <typename T>
using wide = conditional_t<is_integral_v<T>, conditional_t<sizeof(T) == 8, ulong, uint>, T>;
template <typename T>
constant constexpr u32 width = 8 * sizeof(T);

template <typename T>
inline T select(b32 c, T a, T b) {
  return c ? a : b;
}
inline f32 fma(f32 a, f32 b, f32 c) { return metal::fma(a, b, c); }
inline f32 abs(f32 x) { return metal::fabs(x); }
inline f32 copysign(f32 x, f32 sign) { return metal::copysign(x, sign); }
inline f32 sqrt(f32 x) { return metal::precise::sqrt(x); }
inline f32 floor(f32 x) { return metal::floor(x); }
inline f32 ceil(f32 x) { return metal::ceil(x); }
inline f32 trunc(f32 x) { return metal::trunc(x); }
inline f32 rint(f32 x) { return metal::rint(x); }
inline i32 bits(f32 x) { return as_type<int>(x); }
inline f32 from_bits(i32 b) { return as_type<float>(b); }

#define CONSTANT constant constexpr
#define TABLE(name, ...) constant constexpr float name[] = {__VA_ARGS__}
#define RARE_1(f, T, g) \
  inline T g(T x);      \
  inline T f(T x) { return f##_rare(x) ? g(x) : f##_usual(x); }
#define RARE_2(f, T, g) \
  inline T g(T x, T y); \
  inline T f(T x, T y) { return f##_rare(x, y) ? g(x, y) : f##_usual(x, y); }

#include "ops/all.h"
#include "ops/calls.h"
#include "ops/rare.h"

#undef CONSTANT
#undef TABLE
#undef RARE_1
#undef RARE_2

}  // namespace ops

// Integers wrap; of a complex number only a bool sees the imaginary part.
template <typename To, typename From>
inline To cast(From x) {
  if constexpr (is_same_v<To, From>)
    return x;
  else if constexpr (is_same_v<To, bool>)
    return x != From(0);
  else if constexpr (is_complex<From>)
    return cast<To>(x.re);
  else if constexpr (is_complex<To>)
    return complex64(x);
  else if constexpr (is_real_float<To>)
    return static_cast<To>(static_cast<float>(x));
  else if constexpr (is_real_float<From>)
    return ops::truncated<To>(static_cast<float>(x));
  else
    return static_cast<To>(x);
}
