// Conversions that the compiler calls where the machine has no instruction for them. A kernel
// library carries its own, since no compiler run-time is linked.
#pragma once

#define MSL_CALLED_BY_COMPILER \
  __attribute__((used, nodebug, noinline, disable_sanitizer_instrumentation, visibility("hidden")))

extern "C" {

MSL_CALLED_BY_COMPILER bfloat __truncsfbf2(float x) {
  const uint bits = __builtin_bit_cast(uint, x);
  const uint rounded = (bits + 0x7fffu + (bits >> 16 & 1)) >> 16;  // to nearest even
  const bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
  return __builtin_bit_cast(bfloat, (ushort)(nan ? bits >> 16 | 0x40 : rounded));
}

#if defined(__x86_64__) && !defined(__F16C__)
MSL_CALLED_BY_COMPILER half __truncsfhf2(float x) {
  const uint bits = __builtin_bit_cast(uint, x), magnitude = bits & 0x7fffffffu;
  uint r;
  if (magnitude > 0x7f800000u) {
    r = 0x7e00u | (magnitude >> 13 & 0x3ffu);
  } else if (magnitude >= 0x477ff000u) {  // rounds to infinity
    r = 0x7c00u;
  } else if (magnitude >= 0x38800000u) {
    const uint m = magnitude - 0x38000000u;
    r = (m + 0xfffu + (m >> 13 & 1)) >> 13;
  } else {  // subnormal: adding 0.5 puts the units of its last place at the end of the significand
    const float shifted = __builtin_bit_cast(float, magnitude) + 0.5f;
    r = __builtin_bit_cast(uint, shifted) - 0x3f000000u;
  }
  return __builtin_bit_cast(half, (ushort)(r | (bits >> 16 & 0x8000u)));
}
MSL_CALLED_BY_COMPILER float __extendhfsf2(half x) {
  const uint bits = __builtin_bit_cast(ushort, x), magnitude = bits & 0x7fffu;
  uint r;
  if (magnitude >= 0x7c00u)
    r = 0x7f800000u | (magnitude & 0x3ffu) << 13;
  else if (magnitude >= 0x400u)
    r = (magnitude << 13) + 0x38000000u;
  else
    r = __builtin_bit_cast(uint, (float)magnitude * 0x1p-24f);
  return __builtin_bit_cast(float, r | (bits & 0x8000u) << 16);
}
#endif

}  // extern "C"

#undef MSL_CALLED_BY_COMPILER
