// What holds for elements of all types: memory access, reductions and the exchange of values in a
// simdgroup.
#pragma once

#include "ops.h"

// ---- memory ------------------------------------------------------------------------------------

template <typename T, typename Index>
inline T load(device const T* p, Index i) {
  if constexpr (is_complex<T>)
    return complex64(p[i].re, p[i].im);
  else
    return p[i];
}
template <typename T, typename Index>
inline T load(threadgroup const T* p, Index i) {
  if constexpr (is_complex<T>)
    return complex64(p[i].re, p[i].im);
  else
    return p[i];
}
template <typename T, typename Index>
inline T load(constant T* p, Index i) {
  if constexpr (is_complex<T>)
    return complex64(p[i].re, p[i].im);
  else
    return p[i];
}

template <typename T, typename Index>
inline void store(device T* p, Index i, T x) {
  if constexpr (is_complex<T>) {
    p[i].re = x.re;
    p[i].im = x.im;
  } else {
    p[i] = x;
  }
}
template <typename T, typename Index>
inline void store(threadgroup T* p, Index i, T x) {
  if constexpr (is_complex<T>) {
    p[i].re = x.re;
    p[i].im = x.im;
  } else {
    p[i] = x;
  }
}

// ---- exchange in a simdgroup -------------------------------------------------------------------

// The lane from which each lane takes a value.
struct FromLane {
  ushort lane;
  template <typename T>
  T operator()(T x) const thread {
    return simd_shuffle(x, lane);
  }
};
struct FromUp {
  ushort delta;
  template <typename T>
  T operator()(T x) const thread {
    return simd_shuffle_up(x, delta);
  }
};
struct FromXor {
  ushort mask;
  template <typename T>
  T operator()(T x) const thread {
    return simd_shuffle_xor(x, mask);
  }
};

// Metal moves numbers of up to 32 bits, but bool and bfloat: the others go as what it moves.
template <typename T, typename From>
inline T exchange(T x, From from) {
  if constexpr (is_same_v<T, bool>)
    return from(static_cast<ushort>(x)) != 0;
  else if constexpr (is_complex<T>)
    return complex64(from(x.re), from(x.im));
  else if constexpr (is_same_v<T, bfloat>)
    return as_type<bfloat>(from(as_type<ushort>(x)));
  else if constexpr (sizeof(T) == 8)
    return as_type<T>(uint2(from(as_type<uint2>(x).x), from(as_type<uint2>(x).y)));
  else
    return from(x);
}

template <typename T>
inline T shuffle(T x, ushort lane) {
  return exchange(x, FromLane{lane});
}
template <typename T>
inline T shuffle_up(T x, ushort delta) {
  return exchange(x, FromUp{delta});
}
template <typename T>
inline T shuffle_xor(T x, ushort mask) {
  return exchange(x, FromXor{mask});
}

// ---- reductions --------------------------------------------------------------------------------

// Each has the identity and the combination of two values, the earlier first.

// Of a simdgroup's values, given to each lane. All 32 lanes must take part.
template <typename Reduction, typename T>
inline T butterfly(T x) {
  for (ushort mask = 16; mask > 0; mask /= 2) x = Reduction::combine(x, shuffle_xor(x, mask));
  return x;
}

template <typename T>
struct Sum {
  static T identity() { return T(0); }
  static T combine(T a, T b) { return ops::add(a, b); }
};
template <typename T>
struct Prod {
  static T identity() { return T(1); }
  static T combine(T a, T b) { return ops::multiply(a, b); }
};
template <typename T>
struct Min {
  static T identity() { return highest_of<T>(); }
  static T combine(T a, T b) { return ops::minimum(a, b); }
};
template <typename T>
struct Max {
  static T identity() { return lowest_of<T>(); }
  static T combine(T a, T b) { return ops::maximum(a, b); }
};
template <typename T>
struct All {
  static T identity() { return T(1); }
  static T combine(T a, T b) { return cast<T>(cast<bool>(a) && cast<bool>(b)); }
};
template <typename T>
struct Any {
  static T identity() { return T(0); }
  static T combine(T a, T b) { return cast<T>(cast<bool>(a) || cast<bool>(b)); }
};
