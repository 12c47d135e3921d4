// What answers for rare arguments: free of the language's rules, one element at a time.

// Payne and Hanek, "Radian reduction for trigonometric functions" (1983), for |x| >= 2^13: the
// product with those bits of 2/pi that make a difference.
inline Angle reduce_far(f32 x) {
  if (!(abs(x) < kInf)) return Angle{kNan, 0.0f, 0};
  const u32 two_over_pi[8] = {0,          0xa2f9836e, 0x4e441529, 0xfc2757d1,
                              0xf534ddc0, 0xdb629599, 0x3c439041, 0xfe5163ab};
  u32 b = u32(bits(x)) & 0x7fffffff;
  u64 mantissa = (b & 0x7fffff) | 0x800000;
  u32 start = (b >> 23) - 152 + 32;  // the first bit that counts, in the table
  u32 word = start / 32, drop = start % 32;
  u64 w0 = two_over_pi[word], w1 = two_over_pi[word + 1];
  u64 w2 = two_over_pi[word + 2], w3 = two_over_pi[word + 3];
  u64 high = (w0 << 32 | w1) << drop | (w2 << drop >> 32);
  u64 low = ((w2 << 32 | w3) << drop >> 32) & 0xffffffff;
  u64 turns = high * mantissa + (low * mantissa >> 32);  // in units of 2^-64 of a turn
  i32 quadrant = i32((turns + (u64(1) << 61)) >> 62);

  // What is left of a quarter turn, in units of 2^-64, as two floats.
  u64 part = turns << 2;
  b32 below = part >> 63 != 0;
  part = below ? 0 - part : part;
  Pair t = pair_sum(f32(part >> 40) * 0x1p-24f, f32(part & 0xffffffffff) * 0x1p-64f);
  Pair r = pair_product(t, Pair{0.5f * kPi, 0.5f * kPiLo});
  f32 sign = below != (x < 0.0f) ? -1.0f : 1.0f;
  return Angle{sign * r.hi, sign * r.lo, x < 0.0f ? -quadrant : quadrant};
}

inline f32 sin_far(f32 x) { return sin_reduced(reduce_far(x)); }
inline f32 cos_far(f32 x) { return cos_reduced(reduce_far(x)); }
inline f32 tan_far(f32 x) { return tan_reduced(reduce_far(x)); }

// fmod of finite magnitudes, exact, where b is not 0: the integers that are left of them, in steps
// of as many bits as fit.
inline f32 fmod_magnitude(f32 a, f32 b) {
  i32 ia = bits(a), ib = bits(b);
  i32 ea = ia >> 23 > 0 ? ia >> 23 : 1, eb = ib >> 23 > 0 ? ib >> 23 : 1;
  u64 ma = u64(ia - ((ea - 1) << 23)), mb = u64(ib - ((eb - 1) << 23));
  if (ea < eb) return a;
  u64 r = ma % mb;
  for (i32 shift = ea - eb; shift > 0; shift -= 40) r = (r << (shift < 40 ? shift : 40)) % mb;
  return scale(f32(r), eb - 150);
}
inline f32 remainder_far(f32 a, f32 b) {
  if (!(abs(a) < kInf) || b != b || b == 0.0f) return kNan;
  f32 r = copysign(fmod_magnitude(abs(a), abs(b)), a);
  if (r == 0.0f) return copysign(0.0f, b);
  return (r < 0.0f) != (b < 0.0f) ? r + b : r;
}

inline f32 power_far(f32 a, f32 b) {
  f32 x = abs(a);
  if (b == 0.0f || a == 1.0f) return 1.0f;
  if (x != x || b != b) return kNan;
  if (abs(b) == kInf) return x == 1.0f ? 1.0f : (x > 1.0f) == (b > 0.0f) ? kInf : 0.0f;
  if (x == kInf) {
    f32 r = b > 0.0f ? kInf : 0.0f;
    return negative_where(is_negative(a) & is_whole(b) & !is_whole(0.5f * b), r);
  }
  Pair scaled = log2_pair(x * 0x1p24f);
  Pair log2_a = pair_sum(scaled.hi, -24.0f);
  return power_of(a, b, Pair{log2_a.hi, log2_a.lo + scaled.lo});
}

#include "ops/complex_rare.h"
