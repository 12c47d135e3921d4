// What a user's kernel finds defined: the element types by their usual names, and where an element
// of a strided array lies.
#pragma once

#include <metal_stdlib>
using namespace metal;

typedef half float16_t;
typedef bfloat bfloat16_t;

struct complex64_t {
  float real, imag;

  complex64_t() thread {}
  complex64_t() threadgroup {}
  complex64_t(float re, float im = 0.0f) thread : real(re), imag(im) {}
};

// The place of element `i`, in row-major order, of an array of these extents and strides.
inline long elem_to_loc(uint i, constant const int* shape, constant const long* strides, int ndim) {
  long place = 0;
  for (int axis = ndim - 1; axis >= 0; --axis) {
    const uint extent = uint(shape[axis]);
    place += long(i % extent) * strides[axis];
    i /= extent;
  }
  return place;
}
