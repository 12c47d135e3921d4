// Powers, by pairs of floats, and division towards minus infinity.

// log2(x) for finite x > 0, to some 38 bits: with s = f / (2 + f), an odd polynomial in s.
inline Pair log2_pair(f32 x) {
  LogArgument a = reduce_log(x);
  Pair d = pair_sum(2.0f, a.f);
  f32 r = 1.0f / d.hi, s = a.f * r;
  f32 s_lo = fma(-s, d.lo, fma(-s, d.hi, a.f)) * r;
  f32 u = s * s, u_lo = fma(s + s, s_lo, fma(s, s, -u));
  f32 tail = u * poly(u, 0.577078021f, 0.412197943f, 0.320644254f, 0.260666316f, 0.25105529f);
  Pair p = pair_sum(0.961796701f, tail);
  f32 v = u * p.hi;
  f32 v_lo = fma(u_lo, p.hi, fma(u, p.lo - 7.0392252e-09f, fma(u, p.hi, -v)));
  Pair q = pair_sum(2.88539004f, v);
  f32 y = s * q.hi;
  f32 y_lo = fma(s_lo, q.hi, fma(s, q.lo + (v_lo + 3.85192642e-08f), fma(s, q.hi, -y)));
  Pair whole = pair_sum(a.e, y);
  return Pair{whole.hi, whole.lo + y_lo};
}

// 2^(hi + lo), for |lo| far below 1. Beyond 200 it is as at 200.
inline f32 exp2_pair(f32 hi, f32 lo) {
  b32 inside = abs(hi) < 200.0f;
  f32 y = select(inside, hi, copysign(200.0f, hi)), n = rint(y);
  Pair z = pair_sum(y - n, select(inside, lo, 0.0f));
  f32 t = z.hi * kLn2, t_lo = fma(z.lo, kLn2, fma(z.hi, kLn2Rest, fma(z.hi, kLn2, -t)));
  f32 p = poly(z.hi, 0.240226507f, 0.0555041045f, 0.00961802714f, 0.0013333922f, 0.000154692921f,
               1.5201967e-05f);
  Pair sum = pair_sum(1.0f, t);
  return scale(sum.hi + (sum.lo + fma(z.hi * z.hi, p, t_lo)), i32(n));
}

// a^b with C's special cases, from 2^(b log2 |a|).
inline f32 power(f32 a, f32 b) {
  f32 x = abs(a);
  Pair log2x = log2_pair(x);
  Pair y = pair_product(b, log2x.hi);
  f32 r = exp2_pair(y.hi, fma(b, log2x.lo, y.lo));

  b32 shrinks = (x > 1.0f) ^ (b > 0.0f);
  r = select((x == 0.0f) | (x == kInf) | (abs(b) == kInf), select(shrinks, 0.0f, kInf), r);
  r = select(x == 1.0f, 1.0f, r);
  f32 whole = trunc(b), halved = 0.5f * b;
  b32 fraction = whole != b, odd = (whole == b) & (trunc(halved) != halved);
  r = negative_where(is_negative(a) & odd, r);
  r = select((a < 0.0f) & fraction & (x != kInf), kNan, r);
  r = select((a != a) | (b != b), kNan, r);
  return select((b == 0.0f) | (a == 1.0f), 1.0f, r);
}

// The rounded quotient may have been lifted over an integer; r, what is left of a, tells. Beyond
// 2^24 the quotient is an integer, and none is nearer to the true one.
inline f32 lowered_quotient(f32 q, f32 r, f32 b) {
  b32 lifted = select(b < 0.0f, -r, r) < 0.0f;
  return select(lifted & (abs(q) <= 0x1p24f), q - 1.0f, q);
}
// No integer is the quotient of an infinity; of a divided by one, all is left.
inline f32 floor_divide(f32 a, f32 b) {
  f32 q = floor(a / b);
  q = lowered_quotient(q, select(abs(b) == kInf, a, fma(-q, b, a)), b);
  return select((abs(a) == kInf) & (b != 0.0f), kNan, q);
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
