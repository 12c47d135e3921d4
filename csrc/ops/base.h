// What the functions share: polynomials, powers of two, pairs of floats.

CONSTANT float kLn2Hi = 0.693359375f;  // few bits: a small integer times it is exact
CONSTANT float kLn2Lo = -0.000212194442f;
CONSTANT float kLn2 = 0.693147182f, kLn2Rest = -1.90465421e-09f;
CONSTANT float kLog2e = 1.44269502f, kLog2eLo = 1.92596303e-08f;
CONSTANT float kLog10e = 0.434294492f, kLog10eLo = -1.01030495e-08f;
CONSTANT float kPi = 3.14159274f, kPiLo = -8.74227766e-08f;
// Adding it rounds a small float to an integer, which stands in the low bits of the sum.
CONSTANT float kRound = 12582912.0f;  // 1.5 * 2^23

// c0 + c1 x + c2 x^2 + ...
inline f32 poly(f32, f32 c0) { return c0; }
template <typename... C>
inline f32 poly(f32 x, f32 c0, C... c) {
  return fma(poly(x, c...), x, c0);
}

// 2^k for -126 <= k <= 127.
inline f32 pow2(i32 k) { return from_bits(i32(u32(k + 127) << 23)); }

inline b32 is_negative(f32 x) { return bits(x) < 0; }  // -0 and nans, too

// x, but of a condition's sign.
inline f32 negative_where(b32 condition, f32 x) { return select(condition, -x, x); }

// ---- pairs -------------------------------------------------------------------------------------

// hi + lo, with lo below half a unit of hi.
struct Pair {
  f32 hi, lo;
};
// For |a| >= |b| or a = 0.
inline Pair pair_sum(f32 a, f32 b) {
  f32 s = a + b;
  return Pair{s, b - (s - a)};
}
inline Pair pair_product(f32 a, f32 b) {
  f32 p = a * b;
  return Pair{p, fma(a, b, -p)};
}
inline Pair pair_product(Pair a, Pair b) {
  Pair p = pair_product(a.hi, b.hi);
  return pair_sum(p.hi, p.lo + fma(a.hi, b.lo, a.lo * b.hi));
}
inline Pair pair_sum(Pair a, Pair b) {
  f32 s = a.hi + b.hi, c = s - a.hi;
  return pair_sum(s, (a.hi - (s - c)) + (b.hi - c) + (a.lo + b.lo));
}
inline Pair pair_quotient(Pair a, Pair b) {
  f32 q = a.hi / b.hi;
  f32 rest = fma(-q, b.lo, fma(-q, b.hi, a.hi) + a.lo);
  return pair_sum(q, rest / b.hi);
}
