// Arithmetic on one element of any dtype, for loops where updates meet elements.
//
// Integers wrap; bool adds as or and multiplies as and; nan wins a minimum or maximum; complex
// numbers are ordered by real, then imaginary part.
#pragma once

#include <cmath>
#include <type_traits>

#include "cermet/dtype.h"
#include "cermet/ops.h"
#include "cpu/loops.h"

namespace cermet::cpu {

template <class T>
inline constexpr bool kIsHalf = std::is_same_v<T, float16_t> || std::is_same_v<T, bfloat16_t>;
template <class T>
inline constexpr bool kIsComplex = std::is_same_v<T, complex64_t>;

template <class T>
T from_float(float x) {
  if constexpr (std::is_same_v<T, float16_t>)
    return to_float16(x);
  else
    return to_bfloat16(x);
}

// True when a goes before b; a nan goes before nothing here.
template <class T>
bool less(T a, T b) {
  if constexpr (kIsHalf<T>)
    return to_float(a) < to_float(b);
  else if constexpr (kIsComplex<T>)
    return a.re < b.re || (a.re == b.re && a.im < b.im);
  else
    return a < b;
}

template <class T>
bool is_nan(T a) {
  if constexpr (kIsHalf<T>)
    return std::isnan(to_float(a));
  else if constexpr (kIsComplex<T>)
    return std::isnan(a.re) || std::isnan(a.im);
  else
    return a != a;
}

struct Add {
  template <class T>
  T operator()(T a, T b) const {
    if constexpr (kIsHalf<T>)
      return from_float<T>(to_float(a) + to_float(b));
    else if constexpr (kIsComplex<T>)
      return {a.re + b.re, a.im + b.im};
    else if constexpr (std::is_same_v<T, bool>)
      return a || b;
    else if constexpr (std::is_integral_v<T>)
      return static_cast<T>(static_cast<std::uint64_t>(a) + static_cast<std::uint64_t>(b));
    else
      return a + b;
  }
};

struct Multiply {
  template <class T>
  T operator()(T a, T b) const {
    if constexpr (kIsHalf<T>)
      return from_float<T>(to_float(a) * to_float(b));
    else if constexpr (kIsComplex<T>)
      return {a.re * b.re + a.im * -b.im, a.re * b.im + a.im * b.re};  // as ops/ has it
    else if constexpr (std::is_same_v<T, bool>)
      return a && b;
    else if constexpr (std::is_integral_v<T>)
      return static_cast<T>(static_cast<std::uint64_t>(a) * static_cast<std::uint64_t>(b));
    else
      return a * b;
  }
};

struct Minimum {
  template <class T>
  T operator()(T a, T b) const {
    return is_nan(a) || (!is_nan(b) && less(a, b)) ? a : b;
  }
};

struct Maximum {
  template <class T>
  T operator()(T a, T b) const {
    return is_nan(a) || (!is_nan(b) && less(b, a)) ? a : b;
  }
};

struct Replace {
  template <class T>
  T operator()(T, T b) const {
    return b;
  }
};

// Calls f with what combines an element with its update.
template <class F>
void by_combination(Update mode, F f) {
  switch (mode) {
    case Update::set: return f(Replace());
    case Update::add: return f(Add());
    case Update::multiply: return f(Multiply());
    case Update::minimum: return f(Minimum());
    case Update::maximum: return f(Maximum());
  }
}

}  // namespace cermet::cpu
