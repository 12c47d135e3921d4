// How a loop is made from a function of elements; for the *_simd.cpp files alone.
#pragma once

#include "cpu/functions.h"
#include "cpu/loops.h"

namespace cermet::cpu::CERMET_ISA {

#define CERMET_VECTORIZE _Pragma("GCC ivdep")
#ifdef __clang__
#undef CERMET_VECTORIZE
#define CERMET_VECTORIZE _Pragma("clang loop vectorize(assume_safety)")
#endif

// F::apply is the function of elements; F::block, where there is one, the function of blocks.
template <class F, class T>
void unary_loop(void* out, const void* a, const void*, const void*, std::int64_t n) {
  const auto* x = static_cast<const T*>(a);
  using R = decltype(F::apply(*x));
  auto* y = static_cast<R*>(out);
  if constexpr (requires { F::block(x, y, n); }) {
    F::block(x, y, n);
  } else {
    CERMET_VECTORIZE
    for (std::int64_t i = 0; i < n; ++i) y[i] = F::apply(x[i]);
  }
}

template <class F, class T>
void binary_loop(void* out, const void* a, const void* b, const void*, std::int64_t n) {
  const auto* x = static_cast<const T*>(a);
  const auto* y = static_cast<const T*>(b);
  using R = decltype(F::apply(*x, *y));
  auto* z = static_cast<R*>(out);
  if constexpr (requires { F::block(x, y, z, n); }) {
    F::block(x, y, z, n);
  } else {
    CERMET_VECTORIZE
    for (std::int64_t i = 0; i < n; ++i) z[i] = F::apply(x[i], y[i]);
  }
}

using Integers = void(std::uint8_t, std::uint16_t, std::uint32_t, std::uint64_t, std::int8_t,
                      std::int16_t, std::int32_t, std::int64_t);

// Calls f(Type<T>) for each type that tiles hold and the rule allows an operation to compute in.
template <Rule rule, class F>
constexpr void for_types(F f) {
  constexpr bool logical = rule == Rule::logical;
  constexpr bool exact = rule == Rule::same || rule == Rule::real || rule == Rule::magnitude ||
                         rule == Rule::component || rule == Rule::comparison ||
                         rule == Rule::predicate || rule == Rule::bitwise || rule == Rule::choice;
  constexpr bool inexact = !logical && rule != Rule::bitwise;
  constexpr bool complex =
      inexact && rule != Rule::real_inexact && rule != Rule::real && rule != Rule::rounding;
  if constexpr (logical || exact) f(Type<bool>{});
  if constexpr (exact) [&]<class... T>(Type<void(T...)>) { (f(Type<T>{}), ...); }(Type<Integers>{});
  if constexpr (inexact) f(Type<float>{}), f(Type<double>{});
  if constexpr (complex) f(Type<complex64_t>{});
}

}  // namespace cermet::cpu::CERMET_ISA
