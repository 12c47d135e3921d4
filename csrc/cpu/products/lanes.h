// Vectors of sums to elements of any type, for the *_simd.cpp files of convolutions and pooling.
#pragma once

#include <type_traits>

#include "cpu/products/source.h"

namespace cermet::cpu::CERMET_ISA {

template <class V, class M>
V select(M mask, V a, V b) {
  return mask ? a : b;
}

template <class T, class Unit>
void put(T* to, Vector<Unit> v) {
  if constexpr (std::is_same_v<T, Unit>) {
    store(to, v);
  } else if constexpr (std::is_same_v<T, bfloat16_t>) {  // as narrow() has it
    typedef std::uint16_t Half __attribute__((vector_size(kVectorBytes / 2)));
    const auto b = (Vector<std::uint32_t>)v;
    const auto rounded = select(v != v, b | 0x400000u, b + 0x7fffu + (b >> 16 & 1u)) >> 16;
    const Half half = __builtin_convertvector(rounded, Half);
    std::memcpy(to, &half, sizeof half);
  } else {
    Unit wide[kVectorLanes<Unit>];
    store(wide, v);
    narrow(wide, to, kVectorLanes<Unit>);
  }
}

// Calls f(c, lanes) for each L of n; the number of lanes is a constant where all count.
template <std::int64_t L, class F>
[[gnu::always_inline]] inline void by_vectors(std::int64_t n, F&& f) {
  std::int64_t c = 0;
  for (; c + L <= n; c += L) f(c, std::integral_constant<std::int64_t, L>{});
  if (c < n) f(c, n - c);
}

// The first `lanes` of a vector, as many as it has at most.
template <class R>
[[gnu::always_inline]] inline Vector<typename R::Unit> get(const typename R::Element* x,
                                                           std::int64_t lanes) {
  if (lanes >= kVectorLanes<typename R::Unit>) return R::along(x);
  Vector<typename R::Unit> v{};
  for (std::int64_t l = 0; l < lanes; ++l) v[l] = R::one(x + l, 0, true);
  return v;
}
template <class R>
[[gnu::always_inline]] inline void put(typename R::Element* to, Vector<typename R::Unit> v,
                                       std::int64_t lanes) {
  using T = typename R::Element;
  constexpr std::int64_t L = kVectorLanes<typename R::Unit>;
  if (lanes >= L) return put<T, typename R::Unit>(to, v);
  T all[L];
  put<T, typename R::Unit>(all, v);
  for (std::int64_t l = 0; l < lanes; ++l) to[l] = all[l];
}

}  // namespace cermet::cpu::CERMET_ISA
