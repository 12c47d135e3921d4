// Powers, by pairs of floats, and division towards minus infinity.

// log2(x) for normal x > 0, to some 33 bits: with s = f / (2 + f), an odd polynomial in s. Its tail
// is added last, and 2^x below is scaled in the end: chains of operations take the time here.
inline Pair log2_pair(f32 x) {
  i32 k = log_exponent(x);
  f32 m = log_mantissa(x, k), f = m - 1.0f, r = 1.0f / (m + 1.0f), s = f * r;
  f32 s_lo = fma(-s, f, fma(-2.0f, s, f)) * r;
  f32 u = s * s, u_lo = fma(s + s, s_lo, fma(s, s, -u)), u2 = u * u;
  f32 high = fma(u2, fma(u, 0.25105529f, 0.260666316f), fma(u, 0.320644254f, 0.412197943f));
  f32 tail = fma(u2, high, fma(u, 0.577078021f, -7.0392252e-09f));
  // The factor of u_lo is the slope with the tail's, about 1.
  f32 slope = 0.961796701f, v = slope * u, v_lo = u_lo + fma(slope, u, -v);
  Pair q = pair_sum(2.88539004f, v);
  f32 y = s * q.hi;
  f32 rest = fma(u, tail, q.lo + (v_lo + 3.85192642e-08f));
  Pair whole = pair_sum(f32(k), y);
  f32 y_lo = whole.lo + fma(s_lo, q.hi, fma(s, q.hi, -y));
  return pair_sum(whole.hi, fma(s, rest, y_lo));
}

// 2^(hi + lo), for |lo| far below 1. Beyond 200 it is 0 or infinite.
inline f32 exp2_pair(f32 hi, f32 lo) {
  f32 shifted = hi + kRound, z = (hi - (shifted - kRound)) + lo, z2 = z * z;
  f32 high =
      fma(z2, fma(z, 1.5201967e-05f, 0.000154692921f), fma(z, 0.0013333922f, 0.00961802714f));
  f32 p = fma(z, fma(z2, high, fma(z, 0.0555041045f, 0.240226507f)), kLn2);
  i32 n = i32(u32(bits(shifted)) - 0x4b400000u);  // anything where it is not used
  f32 r = scale_near_1(fma(z, p, 1.0f), n);
  return select(abs(hi) < 200.0f, r, select(hi > 0.0f, kInf, 0.0f));
}

inline b32 is_whole(f32 x) { return trunc(x) == x; }
// 2^(b log2 |a|), and with the sign that a^b has.
inline f32 power_of_magnitude(f32 b, Pair log2_a) {
  Pair y = pair_product(b, log2_a.hi);
  return exp2_pair(y.hi, fma(b, log2_a.lo, y.lo));
}
inline f32 power_of(f32 a, f32 b, Pair log2_a) {
  f32 r = power_of_magnitude(b, log2_a);
  b32 whole = is_whole(b);
  r = negative_where(is_negative(a) & whole & !is_whole(0.5f * b), r);
  return select((a < 0.0f) & !whole, kNan, r);
}

// a^b with C's special cases. Rare: subnormal a, what is not finite, and 0^0.
inline b32 power_rare(f32 a, f32 b) {
  f32 x = abs(a);
  return ((x < 0x1p-126f) & ((x != 0.0f) | (b == 0.0f))) | !(x < kInf) | !(abs(b) < kInf);
}
inline f32 power_usual(f32 a, f32 b) {
  f32 x = abs(a);
  Pair log2_a = log2_pair(x);
  return power_of(a, b, Pair{select(x == 0.0f, -kInf, log2_a.hi), log2_a.lo});
}
RARE_2(power, f32, power_far)

// The rounded quotient may have been lifted over an integer; r, what is left of a, tells. Beyond
// 2^24 the quotient is an integer, and none is nearer to the true one.
inline f32 lowered_quotient(f32 q, f32 r, f32 b) {
  b32 lifted = select(b < 0.0f, -r, r) < 0.0f;
  return select(lifted & (abs(q) <= 0x1p24f), q - 1.0f, q);
}
// Of and by infinities the floor of the quotient, as the array API standard has it: what is left is
// a nan, or without end, and lowers nothing.
inline f32 floor_divide(f32 a, f32 b) {
  f32 q = floor(a / b);
  return lowered_quotient(q, fma(-q, b, a), b);
}

// Python's: exact but for the rounding of fmod(a, b) + b where the signs differ.
inline b32 remainder_rare(f32 a, f32 b) { return !(abs(a / b) <= 0x1p23f); }
inline f32 remainder_usual(f32 a, f32 b) {
  f32 q = floor(a / b);
  f32 r = fma(-lowered_quotient(q, fma(-q, b, a), b), b, a);
  // By infinity: the product is a nan.
  b32 differ = ((a < 0.0f) ^ (b < 0.0f)) & (a != 0.0f);
  r = select((abs(b) == kInf) & (a == a), select(differ, b, a), r);
  return select(r == 0.0f, copysign(0.0f, b), r);
}
RARE_2(remainder, f32, remainder_far)
