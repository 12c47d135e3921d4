// Address spaces, scalar types, and the two kinds of functions that the library is made of.
#pragma once

#pragma OPENCL EXTENSION cl_khr_fp16 : enable
#pragma OPENCL EXTENSION __cl_clang_function_pointers : enable
#pragma OPENCL EXTENSION __cl_clang_bitfields : enable

#include "runtime.h"  // before a member's name becomes a keyword

namespace msl {
inline __attribute__((always_inline, nodebug)) unsigned long threadgroup_address(
    __global const cermet_arguments* arguments, int slot) {
  return arguments->threadgroup[slot];
}
}  // namespace msl

#define device __global
#define threadgroup __local
#define constant __constant const
#define thread __private

// A function that vanishes into its caller: without debug information of its own, so that its
// memory accesses belong to the caller's line.
#define MSL_INLINE inline __attribute__((always_inline, nodebug))
// A function that is one step of the simulated machine: its own accesses are not checked, and its
// return address is the place in the source.
#define MSL_OPERATION inline __attribute__((noinline, nodebug, disable_sanitizer_instrumentation))
#define MSL_EXPORT \
  __attribute__((visibility("default"), nodebug, disable_sanitizer_instrumentation))

typedef signed char schar;
typedef unsigned char uchar;
typedef unsigned short ushort;
typedef unsigned int uint;
typedef unsigned long ulong;
typedef schar int8_t;
typedef uchar uint8_t;
typedef short int16_t;
typedef ushort uint16_t;
typedef int int32_t;
typedef uint uint32_t;
typedef long int64_t;
typedef ulong uint64_t;
typedef __SIZE_TYPE__ size_t;
typedef __PTRDIFF_TYPE__ ptrdiff_t;
typedef __UINTPTR_TYPE__ uintptr_t;
typedef __INTPTR_TYPE__ intptr_t;
typedef __bf16 bfloat;

#define MSL_FOR_INTEGERS(M) \
  M(char) M(schar) M(uchar) M(short) M(ushort) M(int) M(uint) M(long) M(ulong)
