// A vector register and its arithmetic, for the *_simd.cpp files of products.
#pragma once

#include <cstdint>
#include <cstring>
#include <utility>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#include "cpu/isa.h"

namespace cermet::cpu::CERMET_ISA {

#if defined(__AVX512F__)
inline constexpr int kVectorBytes = 64;
#elif defined(__AVX2__)
inline constexpr int kVectorBytes = 32;
#else
inline constexpr int kVectorBytes = 16;
#endif

template <class T>
struct VectorOf {
  typedef T type __attribute__((vector_size(kVectorBytes)));
};
template <class T>
using Vector = typename VectorOf<T>::type;
template <class T>
inline constexpr int kVectorLanes = kVectorBytes / static_cast<int>(sizeof(T));

template <class T>
inline Vector<T> load(const T* from) {
  Vector<T> v;
  std::memcpy(&v, from, sizeof v);
  return v;
}
template <class T>
inline void store(T* to, Vector<T> v) {
  std::memcpy(to, &v, sizeof v);
}
template <class T>
inline Vector<T> splat(T x) {
  return x - Vector<T>{};
}
// Of a unit in memory, which may be a pair of smaller elements and lie at any of these.
template <class T>
inline Vector<T> splat_at(const T* from) {
  T x;
  std::memcpy(&x, from, sizeof x);
  return splat(x);
}

// a * b + c, rounded once where the machine can.
inline Vector<float> multiply_add(Vector<float> a, Vector<float> b, Vector<float> c) {
#if defined(__AVX512F__)
  return (Vector<float>)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__FMA__)
  return (Vector<float>)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#elif defined(__aarch64__)
  return (Vector<float>)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
#else
  return a * b + c;
#endif
}
inline Vector<double> multiply_add(Vector<double> a, Vector<double> b, Vector<double> c) {
#if defined(__AVX512F__)
  return (Vector<double>)_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c);
#elif defined(__FMA__)
  return (Vector<double>)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c);
#elif defined(__aarch64__)
  return (Vector<double>)vfmaq_f64((float64x2_t)c, (float64x2_t)a, (float64x2_t)b);
#else
  return a * b + c;
#endif
}

// Lane l of the result is lane index(l) of a, then b.
template <auto index, class V>
inline V shuffle(V a, V b) {
  constexpr std::size_t lanes = sizeof(V) / sizeof(a[0]);
  return [&]<std::size_t... l>(std::index_sequence<l...>) {
    return __builtin_shufflevector(a, b, index(static_cast<int>(l))...);
  }(std::make_index_sequence<lanes>());
}

// x[i][j] = x[j][i]: within blocks of 128 bits, then of blocks, which is what instructions do.
template <class T>
[[gnu::always_inline]] inline void transpose(Vector<T> (&x)[kVectorLanes<T>]) {
  constexpr int L = kVectorLanes<T>, P = 16 / static_cast<int>(sizeof(T)), blocks = L / P;
  Vector<T> y[L];
#pragma GCC unroll 8
  for (int i = 0; i < L; i += P) {
    if constexpr (P == 4) {
      constexpr auto low = [](int l) { return l / 4 * 4 + l % 4 / 2 + l % 2 * L; };
      constexpr auto high = [](int l) { return l / 4 * 4 + 2 + l % 4 / 2 + l % 2 * L; };
      constexpr auto first = [](int l) { return l / 4 * 4 + l % 2 + l % 4 / 2 * L; };
      constexpr auto second = [](int l) { return l / 4 * 4 + 2 + l % 2 + l % 4 / 2 * L; };
      const Vector<T> a = shuffle<low>(x[i], x[i + 1]), b = shuffle<high>(x[i], x[i + 1]);
      const Vector<T> c = shuffle<low>(x[i + 2], x[i + 3]), d = shuffle<high>(x[i + 2], x[i + 3]);
      y[i] = shuffle<first>(a, c), y[i + 1] = shuffle<second>(a, c);
      y[i + 2] = shuffle<first>(b, d), y[i + 3] = shuffle<second>(b, d);
    } else {
      constexpr auto low = [](int l) { return l / 2 * 2 + l % 2 * L; };
      constexpr auto high = [](int l) { return l / 2 * 2 + 1 + l % 2 * L; };
      y[i] = shuffle<low>(x[i], x[i + 1]), y[i + 1] = shuffle<high>(x[i], x[i + 1]);
    }
  }
  // y[q * P + c] has in block b the column b * P + c of rows q * P and on.
  if constexpr (blocks == 4) {
    constexpr auto low = [](int l) { return l % (L / 2) + l / (L / 2) * L; };
    constexpr auto high = [](int l) { return L / 2 + l % (L / 2) + l / (L / 2) * L; };
    constexpr auto even = [](int l) { return l / P % 2 * 2 * P + l % P + l / (L / 2) * L; };
    constexpr auto odd = [](int l) { return (l / P % 2 * 2 + 1) * P + l % P + l / (L / 2) * L; };
#pragma GCC unroll 4
    for (int c = 0; c < P; ++c) {
      const Vector<T> a = shuffle<low>(y[c], y[P + c]), b = shuffle<high>(y[c], y[P + c]);
      const Vector<T> d = shuffle<low>(y[2 * P + c], y[3 * P + c]);
      const Vector<T> e = shuffle<high>(y[2 * P + c], y[3 * P + c]);
      x[c] = shuffle<even>(a, d), x[P + c] = shuffle<odd>(a, d);
      x[2 * P + c] = shuffle<even>(b, e), x[3 * P + c] = shuffle<odd>(b, e);
    }
  } else if constexpr (blocks == 2) {
    constexpr auto low = [](int l) { return l % P + l / P * L; };
    constexpr auto high = [](int l) { return P + l % P + l / P * L; };
#pragma GCC unroll 4
    for (int c = 0; c < P; ++c)
      x[c] = shuffle<low>(y[c], y[P + c]), x[P + c] = shuffle<high>(y[c], y[P + c]);
  } else {
    for (int i = 0; i < L; ++i) x[i] = y[i];
  }
}

}  // namespace cermet::cpu::CERMET_ISA
