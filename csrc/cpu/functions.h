// The functions of the elementwise operations, by the operations' names: arithmetic, comparison and
// bits here, mathematics in math.h. An operation's loop calls the overload of its element type.
#pragma once

#include "cpu/math.h"

namespace cermet::cpu::CERMET_ISA {

// Integer arithmetic wraps: it is done in the unsigned type, at least as wide as int.
template <std::integral T>
struct Wrapping {
  using type = std::conditional_t<(sizeof(T) < 4), std::uint32_t, std::make_unsigned_t<T>>;
};
template <>
struct Wrapping<bool> {
  using type = std::uint32_t;
};
template <class T>
using Wide = typename Wrapping<T>::type;

inline bool add(bool a, bool b) { return a | b; }
inline bool multiply(bool a, bool b) { return a & b; }
inline bool subtract(bool a, bool b) { return a ^ b; }
inline bool negative(bool a) { return a; }
template <std::integral T>
inline T add(T a, T b) {
  return T(Wide<T>(a) + Wide<T>(b));
}
template <std::integral T>
inline T subtract(T a, T b) {
  return T(Wide<T>(a) - Wide<T>(b));
}
template <std::integral T>
inline T multiply(T a, T b) {
  return T(Wide<T>(a) * Wide<T>(b));
}
template <std::integral T>
inline T negative(T a) {
  return T(-Wide<T>(a));
}
template <std::integral T>
inline T square(T a) {
  return multiply(a, a);
}
template <std::floating_point T>
inline T add(T a, T b) {
  return a + b;
}
template <std::floating_point T>
inline T subtract(T a, T b) {
  return a - b;
}
template <std::floating_point T>
inline T multiply(T a, T b) {
  return a * b;
}
template <std::floating_point T>
inline T divide(T a, T b) {
  return a / b;
}
template <std::floating_point T>
inline T negative(T a) {
  return -a;
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
template <Real T>
inline bool equal(T a, T b) {
  return a == b;
}
template <Real T>
inline bool not_equal(T a, T b) {
  return a != b;
}
template <Real T>
inline bool less(T a, T b) {
  return a < b;
}
template <Real T>
inline bool less_equal(T a, T b) {
  return a <= b;
}
template <Real T>
inline bool greater(T a, T b) {
  return a > b;
}
template <Real T>
inline bool greater_equal(T a, T b) {
  return a >= b;
}

inline bool logical_not(bool a) { return !a; }
inline bool logical_and(bool a, bool b) { return a & b; }
inline bool logical_or(bool a, bool b) { return a | b; }
inline bool logical_xor(bool a, bool b) { return a ^ b; }

inline bool bitwise_invert(bool a) { return !a; }
template <std::integral T>
inline T bitwise_invert(T a) {
  return T(~a);
}
template <std::integral T>
inline T bitwise_and(T a, T b) {
  return T(a & b);
}
template <std::integral T>
inline T bitwise_or(T a, T b) {
  return T(a | b);
}
template <std::integral T>
inline T bitwise_xor(T a, T b) {
  return T(a ^ b);
}
// A count outside the width shifts everything out.
template <std::integral T>
inline T left_shift(T a, T b) {
  const bool inside = Wide<T>(b) < sizeof(T) * 8;
  return inside ? T(Wide<T>(a) << (inside ? b : 0)) : T(0);
}
template <std::integral T>
inline T right_shift(T a, T b) {
  constexpr int last = sizeof(T) * 8 - 1;
  const bool inside = Wide<T>(b) <= last;
  if constexpr (std::is_signed_v<T>)
    return T(a >> (inside ? int(b) : last));
  else
    return inside ? T(a >> (inside ? b : 0)) : T(0);
}

template <class T>
inline T select(bool condition, T a, T b) {
  return condition ? a : b;
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
template <Real T>
inline T imag(T) {
  return T(0);
}

}  // namespace cermet::cpu::CERMET_ISA
