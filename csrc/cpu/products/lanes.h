// Vectors of sums to elements of any type, for the *_simd.cpp files of convolutions and pooling.
#pragma once

#include <type_traits>

#include "cpu/products/source.h"

namespace cermet::cpu::CERMET_ISA {

template <class V, class M>
V select(M mask, V a, V b) {
  return mask ? a : b;
}

// The upper half is v as bfloat16, as narrow() has it.
inline Vector<std::uint32_t> rounded(Vector<float> v) {
  const auto b = (Vector<std::uint32_t>)v;
  return select(v != v, b | 0x400000u, b + 0x7fffu + (b >> 16 & 1u));
}

template <class T, class Unit>
void put(T* to, Vector<Unit> v) {
  if constexpr (std::is_same_v<T, Unit>) {
    store(to, v);
  } else if constexpr (std::is_same_v<T, bfloat16_t>) {
    typedef std::uint16_t Half __attribute__((vector_size(kVectorBytes / 2)));
    const Half half = __builtin_convertvector(rounded(v) >> 16, Half);
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

// Two vectors of bfloat16 at once: those at even places, and those at odd ones.
inline void get_two(const bfloat16_t* x, Vector<float> (&v)[2]) {
  Vector<std::uint32_t> both;
  std::memcpy(&both, x, sizeof both);
  v[0] = (Vector<float>)(both << 16), v[1] = (Vector<float>)(both & 0xffff0000u);
}
inline void get_two(const float* x, Vector<float> (&v)[2]) {
  constexpr auto even = [](int l) { return 2 * l; };
  constexpr auto odd = [](int l) { return 2 * l + 1; };
  const Vector<float> a = load(x), b = load(x + kVectorLanes<float>);
  v[0] = shuffle<even>(a, b), v[1] = shuffle<odd>(a, b);
}
inline void put_two(bfloat16_t* to, const Vector<float> (&v)[2]) {
  const Vector<std::uint32_t> both = rounded(v[0]) >> 16 | (rounded(v[1]) & 0xffff0000u);
  std::memcpy(to, &both, sizeof both);
}

}  // namespace cermet::cpu::CERMET_ISA
