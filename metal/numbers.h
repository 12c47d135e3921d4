// The element type that Metal lacks, complex64, and the limits of all.
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
inline bool operator!=(complex64 a, complex64 b) { return a.re != b.re || a.im != b.im; }

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
