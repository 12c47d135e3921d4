// The element types of kernels and what holds for all of them: complex64, conversion, memory
// access, wrapping arithmetic, reductions and the exchange of values in a simdgroup.
//
// Metal's own types serve the other dtypes: bool, uchar ... ulong, char ... long, half, bfloat,
// float. half and bfloat widen to float by themselves; the way back is always an explicit cast.
#pragma once

#include <metal_stdlib>
using namespace metal;

// Each operation rounds by itself, as on the CPU; safe math alone would contract within a
// statement.
#pragma METAL fp contract(off)

// ---- complex numbers ---------------------------------------------------------------------------

// In device or threadgroup memory it is read and written by `load` and `store`, not copied whole.
struct complex64 {
  float re, im;

  complex64() thread {}
  complex64() threadgroup {}
  complex64(float real, float imag) thread : re(real), im(imag) {}
  template <typename T>
  explicit complex64(T real) thread : re(static_cast<float>(real)), im(0.0f) {}
};

template <typename T>
constant constexpr bool is_complex = is_same_v<T, complex64>;
// half, bfloat or float.
template <typename T>
constant constexpr bool is_real_float = !is_integral_v<T> && !is_complex<T>;

inline complex64 operator-(complex64 a) { return complex64(-a.re, -a.im); }
inline complex64 operator+(complex64 a, complex64 b) { return complex64(a.re + b.re, a.im + b.im); }
inline complex64 operator-(complex64 a, complex64 b) { return complex64(a.re - b.re, a.im - b.im); }
inline complex64 operator*(complex64 a, complex64 b) {
  return complex64(a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re);
}
inline complex64 operator*(complex64 a, float b) { return complex64(a.re * b, a.im * b); }

inline bool operator==(complex64 a, complex64 b) { return a.re == b.re && a.im == b.im; }
inline bool operator!=(complex64 a, complex64 b) { return !(a == b); }
// Ordered by the real part, then the imaginary.
inline bool operator<(complex64 a, complex64 b) {
  return a.re < b.re || (a.re == b.re && a.im < b.im);
}
inline bool operator>(complex64 a, complex64 b) { return b < a; }
inline bool operator<=(complex64 a, complex64 b) { return a < b || a == b; }
inline bool operator>=(complex64 a, complex64 b) { return b <= a; }

// ---- limits ------------------------------------------------------------------------------------

// The value above which no other is: infinity, where the type has one.
template <typename T>
inline T highest_of() {
  if constexpr (is_integral_v<T>)
    return numeric_limits<T>::max();
  else if constexpr (is_complex<T>)
    return complex64(highest_of<float>(), highest_of<float>());
  else
    return static_cast<T>(numeric_limits<float>::infinity());
}
template <typename T>
inline T lowest_of() {
  if constexpr (is_integral_v<T>)
    return numeric_limits<T>::min();
  else
    return -highest_of<T>();
}

inline float nan_value() { return numeric_limits<float>::quiet_NaN(); }

template <typename T>
inline bool op_isnan(T x) {
  return x != x;
}

// ---- conversion --------------------------------------------------------------------------------

// Towards zero. Beyond the type's range it is the nearest value there, and 0 for a nan; types
// narrower than int take the low bits of the conversion to int.
template <typename To>
inline To truncated(float x) {
  if constexpr (sizeof(To) < sizeof(int)) {
    return static_cast<To>(truncated<int>(x));
  } else {
    // As a float the highest integer is the power of two after it.
    if (x >= static_cast<float>(highest_of<To>())) return highest_of<To>();
    if (x <= static_cast<float>(lowest_of<To>())) return lowest_of<To>();
    return x == x ? static_cast<To>(x) : To(0);
  }
}

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
    return truncated<To>(static_cast<float>(x));
  else
    return static_cast<To>(x);
}

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

// ---- arithmetic --------------------------------------------------------------------------------

// The type in which integers of type T wrap: unsigned, at least as wide as int. Others stay.
template <typename T>
using wrapping = conditional_t<is_integral_v<T>, conditional_t<sizeof(T) == 8, ulong, uint>, T>;

// Of bools the sum is `or`, the difference `exclusive or` and the product `and`.
template <typename T>
inline T op_add(T a, T b) {
  return static_cast<T>(static_cast<wrapping<T>>(a) + static_cast<wrapping<T>>(b));
}
template <typename T>
inline T op_subtract(T a, T b) {
  return static_cast<T>(static_cast<wrapping<T>>(a) - static_cast<wrapping<T>>(b));
}
template <typename T>
inline T op_multiply(T a, T b) {
  return static_cast<T>(static_cast<wrapping<T>>(a) * static_cast<wrapping<T>>(b));
}
template <typename T>
inline T op_negative(T a) {
  return static_cast<T>(-static_cast<wrapping<T>>(a));
}

// A nan wins.
template <typename T>
inline T op_maximum(T a, T b) {
  return op_isnan(a) || (b < a && !op_isnan(b)) ? a : b;
}
template <typename T>
inline T op_minimum(T a, T b) {
  return op_isnan(a) || (a < b && !op_isnan(b)) ? a : b;
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
  static T combine(T a, T b) { return op_add(a, b); }
};
template <typename T>
struct Prod {
  static T identity() { return T(1); }
  static T combine(T a, T b) { return op_multiply(a, b); }
};
template <typename T>
struct Min {
  static T identity() { return highest_of<T>(); }
  static T combine(T a, T b) { return op_minimum(a, b); }
};
template <typename T>
struct Max {
  static T identity() { return lowest_of<T>(); }
  static T combine(T a, T b) { return op_maximum(a, b); }
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
