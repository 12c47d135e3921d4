// Exponentials, logarithms and the hyperbolic functions. The reductions are those of Cody and
// Waite, "Software Manual for the Elementary Functions" (1980).

inline f32 rsqrt(f32 x) { return 1.0f / sqrt(x); }
inline f32 reciprocal(f32 x) { return 1.0f / x; }

// ---- exponentials ------------------------------------------------------------------------------

// x = k ln2 + r with |r| <= ln2 / 2.
struct ExpArgument {
  f32 r;
  i32 k;
};
inline ExpArgument reduce_exp(f32 x) {
  f32 z = fma(x, kLog2e, kRound);
  f32 n = z - kRound;
  return ExpArgument{fma(n, -kLn2Lo, fma(n, -kLn2Hi, x)), bits(z) - 0x4b400000};
}

// e^r - 1 for |r| <= ln2 / 2.
inline f32 expm1_reduced(f32 r) {
  return fma(r * r,
             poly(r, 0.49999997f, 0.16666539f, 0.0416677445f, 0.00836705882f, 0.00138393452f), r);
}

// x 2^k for |k| <= 252. The power of two goes in by halves: a subnormal result is rounded once.
inline f32 scale(f32 x, i32 k) {
  i32 part = k >> 1;
  return x * pow2(part) * pow2(k - part);
}
// That of an x in [1/2, 2], of which half the power takes no bit.
template <typename T>
inline T scale_near_1(T x, i32 k) {
  return scale(x, k);
}

// 2^shift e^x, where |shift| <= 24.
inline f32 exp_shifted(f32 x, i32 shift) {
  f32 low = select(x > 90.0f, 90.0f, x);
  ExpArgument a = reduce_exp(select(low < -125.0f, -125.0f, low));
  return scale_near_1(1.0f + expm1_reduced(a.r), a.k + shift);
}

inline f32 exp(f32 x) { return exp_shifted(x, 0); }

// e^x - 1 for |x| <= 87.
inline f32 expm1_bounded(f32 x) {
  ExpArgument a = reduce_exp(x);
  f32 s = pow2(a.k);
  return fma(expm1_reduced(a.r), s, s - 1.0f);
}

inline f32 expm1(f32 x) {
  f32 low = select(x > 89.0f, 89.0f, x);
  ExpArgument a = reduce_exp(select(low < -20.0f, -20.0f, low));
  f32 s = pow2(a.k - 1);  // half, since 2^128 is not a float
  f32 y = 2.0f * fma(expm1_reduced(a.r), s, s - 0.5f);
  return select(abs(x) < 1e-7f, x, y);
}

inline f32 sigmoid(f32 x) {
  f32 e = exp(-abs(x));
  return select(x < 0.0f, e, 1.0f) / (1.0f + e);
}

// x sigmoid(x). The factor of 2^24 keeps the bits of an e^x that is subnormal.
inline f32 silu(f32 x) {
  f32 scaled = exp_shifted(-abs(x), 24);
  return select(x < 0.0f, x * scaled * 0x1p-24f, x) / fma(scaled, 0x1p-24f, 1.0f);
}

inline f32 tanh(f32 x) {
  f32 a = abs(x);
  f32 t = expm1_bounded(select(a > 9.5f, 19.0f, a + a));
  return copysign(t / (t + 2.0f), x);
}

// sinh(x) for |x| <= 1.
inline f32 sinh_near(f32 x) {
  f32 u = x * x;
  return fma(x * u, poly(u, 0.166666672f, 0.00833331048f, 0.000198428956f, 2.78221319e-06f), x);
}
inline f32 sinh(f32 x) {
  f32 a = abs(x), h = exp_shifted(a, -1);
  return copysign(select(a < 1.0f, sinh_near(a), h - 0.25f / h), x);
}

inline f32 cosh(f32 x) {
  f32 h = exp_shifted(abs(x), -1);
  return h + 0.25f / h;
}

// ---- logarithms --------------------------------------------------------------------------------

// x = 2^e (1 + f) with 1 + f in [2/3, 4/3), for finite x > 0.
struct LogArgument {
  f32 e, f;
};
inline i32 log_exponent(f32 x) { return i32(u32(bits(x)) - 0x3f2aaaabu) >> 23; }
// 2^-k x for k = log_exponent(x), and that less 1, both exact.
inline f32 log_mantissa(f32 x, i32 k) { return from_bits(i32(u32(bits(x)) - (u32(k) << 23))); }
inline f32 log_fraction(f32 x, i32 k) { return log_mantissa(x, k) - 1.0f; }
inline LogArgument reduce_log(f32 x) {
  b32 tiny = x < 0x1p-126f;
  f32 scaled = select(tiny, x * 0x1p23f, x);
  i32 k = log_exponent(scaled);
  return LogArgument{f32(k) - select(tiny, 23.0f, 0.0f), log_fraction(scaled, k)};
}

// log(1 + f) - f for 1 + f in [2/3, 4/3).
inline f32 log_tail(f32 f) {
  f32 p = poly(f, 0.333332151f, -0.249997973f, 0.200104058f, -0.16680485f, 0.140058771f,
               -0.121842973f, 0.139843971f, -0.128915101f);
  return f * f * fma(f, p, -0.5f);
}

// y = log(x), but where x is 0, negative, infinite or nan.
inline f32 finish_log(f32 x, f32 y) {
  f32 inside = select(x == 0.0f, -kInf, select(x == kInf, kInf, y));
  return select(x >= 0.0f, inside, kNan);
}

// Of 2^e e^(f + tail) to each base.
inline f32 log_sum(f32 e, f32 f, f32 tail) { return fma(e, kLn2Hi, f + fma(e, kLn2Lo, tail)); }
inline f32 log2_sum(f32 e, f32 f, f32 tail) {
  return e + fma(f, kLog2e, fma(tail, kLog2e, f * kLog2eLo));
}
inline f32 log10_sum(f32 e, f32 f, f32 tail) {
  f32 low = fma(e, 0.000248745666f, fma(tail, kLog10e, f * kLog10eLo));
  return fma(e, 0.30078125f, fma(f, kLog10e, low));
}

inline f32 log(f32 x) {
  LogArgument a = reduce_log(x);
  return finish_log(x, log_sum(a.e, a.f, log_tail(a.f)));
}
inline f32 log2(f32 x) {
  LogArgument a = reduce_log(x);
  return finish_log(x, log2_sum(a.e, a.f, log_tail(a.f)));
}
inline f32 log10(f32 x) {
  LogArgument a = reduce_log(x);
  return finish_log(x, log10_sum(a.e, a.f, log_tail(a.f)));
}

// log(1 + x) + extra ln2. Scaling x and 1 apart keeps the bits that 1 + x would lose.
inline f32 log1p_plus(f32 x, f32 extra) {
  f32 u = 1.0f + x;
  i32 k = log_exponent(u);
  f32 s = 0.25f * pow2(2 - k);  // 2^-k may be subnormal
  f32 f = fma(x, s, s - 1.0f);
  f32 e = f32(k) + extra;
  return finish_log(u, log_sum(e, f, log_tail(f)));
}

inline f32 log1p(f32 x) { return select(x == 0.0f, x, log1p_plus(x, 0.0f)); }

inline f32 arcsinh(f32 x) {
  f32 a = abs(x), u = a * a;
  b32 big = a > 0x1p60f;  // u would overflow, and asinh(a) = log(2 a)
  f32 z = select(big, a, a + u / (1.0f + sqrt(1.0f + u)));
  return copysign(log1p_plus(z, select(big, 1.0f, 0.0f)), x);
}

inline f32 arccosh(f32 x) {
  f32 t = x - 1.0f;
  b32 big = x > 0x1p60f;
  f32 z = select(big, x, t + sqrt(t * (t + 2.0f)));
  return select(x >= 1.0f, log1p_plus(z, select(big, 1.0f, 0.0f)), kNan);
}

inline f32 arctanh(f32 x) {
  f32 a = abs(x);
  return copysign(0.5f * log1p((a + a) / (1.0f - a)), x);
}

// log(e^a + e^b)
inline f32 logaddexp(f32 a, f32 b) {
  f32 distance = select(a == b, 0.0f, abs(a - b));  // also of equal infinities
  f32 larger = select((a > b) | (a != a), a, b);
  return larger + log1p(exp(-distance));
}
