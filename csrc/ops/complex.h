// Complex numbers, each function from real arithmetic in which nothing that counts cancels: the
// error of a result is small beside its modulus. What is squared is first brought near 1 by a power
// of two. Branch cuts as W. Kahan's, "Branch cuts for complex elementary functions" (1987).
//
// What is infinite, not a number, or at a pole is left to complex_rare.h.

// ---- parts, order ------------------------------------------------------------------------------

inline f32 real(c64 z) { return z.re; }
inline f32 imag(c64 z) { return z.im; }
inline c64 conjugate(c64 z) { return c64{z.re, -z.im}; }
inline c64 negative(c64 z) { return c64{-z.re, -z.im}; }
inline c64 times_i(c64 z) { return c64{-z.im, z.re}; }
inline c64 over_i(c64 z) { return c64{z.im, -z.re}; }
inline c64 select(b32 c, c64 a, c64 b) { return c64{select(c, a.re, b.re), select(c, a.im, b.im)}; }

inline b32 isnan(c64 z) { return (z.re != z.re) | (z.im != z.im); }
inline b32 isinf(c64 z) { return (abs(z.re) == kInf) | (abs(z.im) == kInf); }
inline b32 isfinite(c64 z) { return (abs(z.re) < kInf) & (abs(z.im) < kInf); }
inline b32 is_zero(c64 z) { return (z.re == 0.0f) & (z.im == 0.0f); }

inline b32 equal(c64 a, c64 b) { return (a.re == b.re) & (a.im == b.im); }
inline b32 not_equal(c64 a, c64 b) { return (a.re != b.re) | (a.im != b.im); }
// Ordered by the real part, then the imaginary.
inline b32 less(c64 a, c64 b) { return (a.re < b.re) | ((a.re == b.re) & (a.im < b.im)); }
inline b32 less_equal(c64 a, c64 b) { return (a.re < b.re) | ((a.re == b.re) & (a.im <= b.im)); }
inline b32 greater(c64 a, c64 b) { return less(b, a); }
inline b32 greater_equal(c64 a, c64 b) { return less_equal(b, a); }
inline c64 maximum(c64 a, c64 b) { return select(isnan(a) | (less(b, a) & !isnan(b)), a, b); }
inline c64 minimum(c64 a, c64 b) { return select(isnan(a) | (less(a, b) & !isnan(b)), a, b); }

// ---- arithmetic --------------------------------------------------------------------------------

inline c64 add(c64 a, c64 b) { return c64{a.re + b.re, a.im + b.im}; }
inline c64 subtract(c64 a, c64 b) { return c64{a.re - b.re, a.im - b.im}; }
// Four products of which none is fused: a z* has no imaginary part, and a b is b a.
inline c64 multiply(c64 a, c64 b) {
  return c64{a.re * b.re + a.im * -b.im, a.re * b.im + a.im * b.re};
}
inline c64 square(c64 z) { return multiply(z, z); }
inline c64 multiply(c64 z, f32 x) { return c64{z.re * x, z.im * x}; }
inline c64 divide(c64 z, f32 x) { return c64{z.re / x, z.im / x}; }

// a b + c d, within an ULP (Kahan).
inline f32 sum_of_products(f32 a, f32 b, f32 c, f32 d) {
  f32 p = c * d;
  return fma(a, b, p) - fma(-c, d, p);
}
inline f32 norm(c64 z) { return sum_of_products(z.re, z.re, z.im, z.im); }

inline f32 larger_part(c64 z) {
  f32 x = abs(z.re), y = abs(z.im);
  return select(x > y, x, y);
}
// The exponent of the larger part, which 2^-k z has near 1.
inline i32 exponent_of(c64 z) { return (bits(larger_part(z)) >> 23) - 127; }
inline c64 scale(c64 z, i32 k) { return c64{scale(z.re, k), scale(z.im, k)}; }

inline f32 abs(c64 z) {
  i32 k = exponent_of(z);
  return select(isinf(z), kInf, scale(sqrt(norm(scale(z, -k))), k));
}

inline b32 sign_rare(c64 z) { return !isfinite(z); }
inline c64 sign_usual(c64 z) {
  c64 w = scale(z, -exponent_of(z));
  f32 r = sqrt(norm(w));
  return select(r == 0.0f, c64{0.0f, 0.0f}, divide(w, r));
}
RARE_1(sign, c64, sign_far)

inline b32 divide_rare(c64 a, c64 b) { return is_zero(b) | !(isfinite(a) & isfinite(b)); }
inline c64 divide_usual(c64 a, c64 b) {
  i32 ka = exponent_of(a), kb = exponent_of(b), k = ka - kb;
  c64 v = scale(a, -ka), w = scale(b, -kb);
  f32 n = norm(w);
  c64 q{sum_of_products(v.re, w.re, v.im, w.im) / n, sum_of_products(v.im, w.re, -v.re, w.im) / n};
  return scale(q, select(k > 252, 252, select(k < -160, -160, k)));  // beyond it is 0 or infinite
}
RARE_2(divide, c64, divide_far)

inline b32 reciprocal_rare(c64 z) { return divide_rare(c64{1.0f, 0.0f}, z); }
inline c64 reciprocal_usual(c64 z) { return divide_usual(c64{1.0f, 0.0f}, z); }
RARE_1(reciprocal, c64, reciprocal_far)

// ---- roots -------------------------------------------------------------------------------------

// The root of 2^-k z for an even k near the exponent of z, and its squared modulus.
struct Root {
  c64 root;
  f32 square;
  i32 k;
};
inline Root scaled_root(c64 z) {
  i32 k = exponent_of(z) & -2;
  c64 w = scale(z, -k);
  f32 r = sqrt(norm(w));
  f32 t = sqrt(0.5f * (abs(w.re) + r));
  f32 u = select(t == 0.0f, w.im, 0.5f * w.im / t);
  b32 left = w.re < 0.0f;
  return Root{c64{select(left, abs(u), t), select(left, copysign(t, w.im), u)}, r, k};
}

inline b32 sqrt_rare(c64 z) { return !isfinite(z); }
inline c64 sqrt_usual(c64 z) {
  Root r = scaled_root(z);
  return scale(r.root, r.k >> 1);
}
RARE_1(sqrt, c64, sqrt_far)

inline b32 rsqrt_rare(c64 z) { return is_zero(z) | !isfinite(z); }
inline c64 rsqrt_usual(c64 z) {
  Root r = scaled_root(z);
  return scale(divide(conjugate(r.root), r.square), -(r.k >> 1));
}
RARE_1(rsqrt, c64, rsqrt_far)

// ---- exponentials ------------------------------------------------------------------------------

// (m + low) 2^k
struct Scaled {
  f32 m, low;
  i32 k;
};
inline Scaled select(b32 c, Scaled a, Scaled b) {
  return Scaled{select(c, a.m, b.m), select(c, a.low, b.low), select(c, a.k, b.k)};
}
// e^x, held where every float times it is 0 or infinite.
inline Scaled scaled_exp(f32 x) {
  f32 low = select(x > 200.0f, 200.0f, x);
  ExpArgument a = reduce_exp(select(low < -200.0f, -200.0f, low));
  f32 p = expm1_reduced(a.r), m = 1.0f + p;
  return Scaled{m, p - (m - 1.0f), a.k};
}
// x e for |k| <= 378, with the sign of x. The most of the power goes in first, for a subnormal x.
inline f32 times(f32 x, Scaled e) {
  i32 most = select(e.k > 126, 126, select(e.k < -126, -126, e.k));
  f32 power = pow2(most);
  return copysign(scale(fma(x * power, e.m, x * e.low * power), e.k - most), x);
}

// e^x (c + i s)
inline c64 exp_times(f32 x, f32 c, f32 s) {
  Scaled e = scaled_exp(x);
  return c64{times(c, e), times(s, e)};
}

// The sine and cosine of an angle y, which is `a`, and what its cosine lacks of 1 and of -1.
struct Circle {
  f32 sin, cos, below;
  Pair above;
};
inline Circle circle(f32 y, Angle a) {
  f32 s = select(y == 0.0f, y, sin_reduced(a)), c = cos_reduced(a);
  f32 r = a.r + a.low, low = (a.r - r) + a.low, u = r * r, rest = fma(2.0f * r, low, fma(r, r, -u));
  Pair v = pair_sum(0.5f * u, fma(0.5f, rest, -u * u * cos_tail(u)));  // 1 - cos r
  // A cosine that is the sine of r has a rest, too.
  b32 odd = (a.quadrant & 1) != 0, top = (a.quadrant & 3) == 0, bottom = (a.quadrant & 3) == 2;
  f32 tail = sin_tail(r, low, u), sine_rest = tail - ((r + tail) - r);
  Pair w = pair_sum(1.0f, c);
  f32 w_rest = w.lo + select(odd, select((a.quadrant & 2) != 0, sine_rest, -sine_rest), 0.0f);
  Pair above{select(bottom, v.hi, w.hi), select(bottom, v.lo, w_rest)};
  return Circle{s, c, select(top, v.hi, 1.0f - c), above};
}

inline b32 is_far(c64 z) { return is_far(z.im) | !(abs(z.re) < kInf); }
inline b32 is_far_turned(c64 z) { return is_far(times_i(z)); }

inline b32 exp_rare(c64 z) { return is_far(z); }
inline c64 exp_at(c64 z, Angle a) {
  Circle y = circle(z.im, a);
  return exp_times(z.re, y.cos, y.sin);
}
inline c64 exp_usual(c64 z) { return exp_at(z, reduce_near(z.im)); }
RARE_1(exp, c64, exp_far)

inline b32 expm1_rare(c64 z) { return is_far(z); }
inline c64 expm1_at(c64 z, Angle a) {
  Circle y = circle(z.im, a);
  c64 w = exp_times(z.re, y.cos, y.sin);
  b32 far = z.re > 60.0f;
  return c64{select(far, w.re, fma(expm1(select(far, 60.0f, z.re)), y.cos, -y.below)), w.im};
}
inline c64 expm1_usual(c64 z) { return expm1_at(z, reduce_near(z.im)); }
RARE_1(expm1, c64, expm1_far)

// e^-x for x >= 0, and less 1.
struct Decay {
  Scaled scaled;
  Pair e, minus_1;
};
inline Decay decay(f32 x) {
  Scaled a = scaled_exp(-x);
  i32 k = select(a.k < -252, -252, a.k);
  f32 e = scale(a.m, k), rest = scale(a.low, k);
  Pair h = pair_sum(-1.0f, e);
  return Decay{a, Pair{e, rest}, pair_sum(h.hi, h.lo + rest)};
}

// 1 / (1 + e^-z) as factor and scale. Near a pole from 1 - e^-x and 1 + cos y, where nothing
// cancels, as in |1 + e^-z|^2 = (1 - e^-x)^2 + 2 e^-x (1 + cos y).
struct Logistic {
  c64 factor;
  Scaled scale;
};
inline Logistic logistic(c64 z, Angle a) {
  Circle y = circle(z.im, a);
  Decay x = decay(abs(z.re));
  f32 e = x.e.hi, h = x.minus_1.hi, above = y.above.hi;
  f32 rest = fma(above, x.e.lo, fma(y.above.lo, e, h * x.minus_1.lo));
  Pair d = pair_sum(pair_product(h, h), Pair{2.0f * fma(above, e, rest), 0.0f});
  b32 left = z.re < 0.0f, near = above < 0.25f;
  f32 low = select(near, above + h, y.cos + e);
  f32 high = select(near, fma(e, above, -h), fma(e, y.cos, 1.0f));
  Scaled n = select(left, x.scaled, Scaled{1.0f, 0.0f, 0});
  f32 q = n.m / d.hi, q_rest = (fma(-q, d.hi, n.m) + fma(-q, d.lo, n.low)) / d.hi;
  return Logistic{c64{select(left, low, high), select(left, 1.0f, e) * y.sin},
                  Scaled{q, q_rest, n.k}};
}

inline c64 sigmoid_at(c64 z, Angle a) {
  Logistic s = logistic(z, a);
  return c64{times(s.factor.re, s.scale), times(s.factor.im, s.scale)};
}
inline b32 sigmoid_rare(c64 z) { return is_far(z); }
inline c64 sigmoid_usual(c64 z) { return sigmoid_at(z, reduce_near(z.im)); }
RARE_1(sigmoid, c64, sigmoid_far)

// z sigmoid(z), where w = 2^-k z.
inline c64 silu_at(c64 z, Angle a, c64 w, i32 k) {
  Logistic s = logistic(z, a);
  Scaled e{s.scale.m, s.scale.low, s.scale.k + k};
  return c64{times(sum_of_products(w.re, s.factor.re, -w.im, s.factor.im), e),
             times(sum_of_products(w.re, s.factor.im, w.im, s.factor.re), e)};
}
inline b32 silu_rare(c64 z) { return is_far(z); }
inline c64 silu_usual(c64 z) { return silu_at(z, reduce_near(z.im), z, 0); }
RARE_1(silu, c64, silu_far)

// ---- hyperbolic functions and tangents ---------------------------------------------------------

struct Hyperbola {
  Scaled sinh, cosh;  // of |x|
};
inline Hyperbola hyperbola(f32 x) {
  f32 a = abs(x);
  Scaled e = scaled_exp(a);
  i32 k = select(e.k > 31, 31, e.k);
  f32 inverse = pow2(-2 * k) / e.m;
  f32 sinh = select(a < 1.0f, sinh_near(a) * pow2(1 - k), e.m - inverse);
  return Hyperbola{Scaled{sinh, 0.0f, e.k - 1}, Scaled{e.m + inverse, 0.0f, e.k - 1}};
}

inline c64 sinh_at(c64 z, Angle a) {
  Circle y = circle(z.im, a);
  Hyperbola x = hyperbola(z.re);
  return c64{copysign(1.0f, z.re) * times(y.cos, x.sinh), times(y.sin, x.cosh)};
}
inline b32 sinh_rare(c64 z) { return is_far(z); }
inline c64 sinh_usual(c64 z) { return sinh_at(z, reduce_near(z.im)); }
RARE_1(sinh, c64, sinh_far)

inline c64 cosh_at(c64 z, Angle a) {
  Circle y = circle(z.im, a);
  Hyperbola x = hyperbola(z.re);
  return c64{times(y.cos, x.cosh), copysign(1.0f, z.re) * times(y.sin, x.sinh)};
}
inline b32 cosh_rare(c64 z) { return is_far(z); }
inline c64 cosh_usual(c64 z) { return cosh_at(z, reduce_near(z.im)); }
RARE_1(cosh, c64, cosh_far)

// (sinh 2x + i sin 2y) / (2 sinh^2 x + 2 cos^2 y) in terms of e^-2|x|.
inline c64 tanh_at(c64 z, Angle a) {
  Circle y = circle(z.im, a);
  Decay x = decay(2.0f * abs(z.re));
  f32 h = x.minus_1.hi, f = 4.0f * y.cos * x.e.hi, d = fma(f, y.cos, h * h);
  return c64{copysign(fma(h, x.e.hi, h) / d, z.re), f * y.sin / d};
}
inline b32 tanh_rare(c64 z) { return is_far(z); }
inline c64 tanh_usual(c64 z) { return tanh_at(z, reduce_near(z.im)); }
RARE_1(tanh, c64, tanh_far)

inline b32 sin_rare(c64 z) { return is_far_turned(z); }
inline c64 sin_usual(c64 z) { return over_i(sinh_usual(times_i(z))); }
RARE_1(sin, c64, sin_far)
inline b32 cos_rare(c64 z) { return is_far_turned(z); }
inline c64 cos_usual(c64 z) { return cosh_usual(times_i(z)); }
RARE_1(cos, c64, cos_far)
inline b32 tan_rare(c64 z) { return is_far_turned(z); }
inline c64 tan_usual(c64 z) { return over_i(tanh_usual(times_i(z))); }
RARE_1(tan, c64, tan_far)

// ---- logarithms --------------------------------------------------------------------------------

// |z|^2 for a z near 1, exactly enough to tell it from 1.
inline Pair norm_pair(c64 z) {
  return pair_sum(pair_product(z.re, z.re), pair_product(z.im, z.im));
}
// The logarithm of |z + low| for a low far below z.re is e ln2 + f + tail.
struct LogParts {
  f32 e, f, tail;
};
inline LogParts log_modulus(c64 z, f32 low) {
  i32 k = exponent_of(z);
  c64 w = scale(z, -k);
  Pair n = norm_pair(w);
  i32 j = log_exponent(n.hi);
  f32 rest = fma(2.0f * w.re, scale(low, -k), n.lo);
  f32 f = fma(rest, pow2(-j), log_fraction(n.hi, j));
  return LogParts{f32(k) + 0.5f * f32(j), 0.5f * f, 0.5f * log_tail(f)};
}
// With the real part that it has at 0 and infinity. Chosen one by one: of conditions combined here
// GCC would make branches.
inline c64 finish_log(c64 z, f32 re) {
  f32 y = select(abs(z.re) + abs(z.im) == 0.0f, -kInf, re);
  f32 modulus = select(abs(z.re) == kInf, kInf, select(abs(z.im) == kInf, kInf, y));
  return c64{modulus, arctan2(z.im, z.re)};
}

inline c64 log(c64 z) {
  LogParts a = log_modulus(z, 0.0f);
  return finish_log(z, log_sum(a.e, a.f, a.tail));
}
inline c64 log2(c64 z) {
  LogParts a = log_modulus(z, 0.0f);
  c64 w = finish_log(z, log2_sum(a.e, a.f, a.tail));
  return c64{w.re, w.im * kLog2e};
}
inline c64 log10(c64 z) {
  LogParts a = log_modulus(z, 0.0f);
  c64 w = finish_log(z, log10_sum(a.e, a.f, a.tail));
  return c64{w.re, w.im * kLog10e};
}
inline c64 log1p(c64 z) {
  f32 x = 1.0f + z.re, c = x - 1.0f;
  c64 w{x, z.im};
  LogParts a = log_modulus(w, (1.0f - (x - c)) + (z.re - c));
  Pair u = pair_sum(Pair{2.0f * z.re, 0.0f}, norm_pair(z));
  f32 f = u.hi + u.lo;
  b32 near = larger_part(z) < 0.11f;
  return finish_log(w, select(near, 0.5f * (f + log_tail(f)), log_sum(a.e, a.f, a.tail)));
}

// What rounding took from d = a - b.
inline f32 difference_rest(f32 a, f32 b, f32 d) {
  f32 c = d - a;
  return (a - (d - c)) - (b + c);
}
// From the operand with the greater real part, for w = low - high, its imaginary part as an angle:
// log(1 + e^w), where nothing cancels near e^w = -1.
inline c64 logaddexp_at(c64 low, c64 high, c64 w, Angle a) {
  Circle y = circle(w.im, a);
  f32 e = exp(w.re), h = fma(e, difference_rest(low.re, high.re, w.re), expm1(w.re));
  f32 n = fma(h, h, 2.0f * e * y.above.hi);
  i32 k = log_exponent(n);
  b32 small = e < 0.14f;
  f32 f = select(small, e * fma(2.0f, y.cos, e), log_fraction(n, k));
  f32 re = log_sum(select(small, 0.0f, 0.5f * f32(k)), 0.5f * f, 0.5f * log_tail(f));
  return add(high, c64{re, arctan2(e * y.sin, fma(e, y.above.hi, -h))});
}
inline b32 logaddexp_rare(c64 a, c64 b) { return is_far(subtract(a, b)); }
inline c64 logaddexp_usual(c64 a, c64 b) {
  c64 low = minimum(a, b), high = maximum(a, b), w = subtract(low, high);
  Angle y = reduce_near(w.im);
  f32 rest = difference_rest(low.im, high.im, w.im);
  return logaddexp_at(low, high, w, Angle{y.r, y.low + rest, y.quadrant});
}
RARE_2(logaddexp, c64, logaddexp_far)

// ---- inverse functions -------------------------------------------------------------------------

// T. Hull, T. Fairgrieve and P. Tang, "Implementing the complex arcsine and arccosine functions
// using exception handling" (1997): from the distances r and s of |z| from -1 and 1. For
// a = (r + s) / 2, `across` is sqrt(a^2 - x^2), and `im` is log(a + sqrt(a^2 - 1)).
struct Arc {
  f32 across, im;
};
inline Arc arc(c64 z) {
  f32 x = abs(z.re), y = abs(z.im), d = abs(x - 1.0f);
  b32 inside = x < 1.0f;
  f32 r = sqrt(fma(x + 1.0f, x + 1.0f, y * y));
  f32 s = select(d == 0.0f, y, sqrt(fma(d, d, y * y)));
  f32 a = 0.5f * (r + s), sum = s + d;
  // a - 1 and a - x are the less and the more, or the other way; a small y is squared as 2^90 y.
  b32 tiny = y < 0x1p-63f;
  f32 up = select(tiny, 0x1p90f, 1.0f), down = select(tiny, 0x1p-90f, 1.0f), v = y * up;
  f32 near = v / (r + (x + 1.0f));
  f32 less = v * (0.5f * (near + select(sum == 0.0f, 0.0f, v / sum)));
  f32 more = 0.5f * fma(y, near * down, sum);
  f32 less_root = down * sqrt(less * (a + select(inside, 1.0f, x)));
  f32 more_root = sqrt(more * (a + select(inside, x, 1.0f)));
  f32 below = fma(less * down, down, less_root);
  return Arc{select(inside, more_root, less_root), log1p(select(inside, below, more + more_root))};
}

// Beyond, 1 is nothing beside z^2, which may overflow.
CONSTANT float kHuge = 0x1p60f;

inline b32 arcsin_rare(c64 z) { return isnan(z) | !(larger_part(z) < kHuge); }
inline c64 arcsin_usual(c64 z) {
  Arc a = arc(z);
  return c64{arctan2(z.re, a.across), copysign(a.im, z.im)};
}
RARE_1(arcsin, c64, arcsin_far)

inline b32 arccos_rare(c64 z) { return arcsin_rare(z); }
inline c64 arccos_usual(c64 z) {
  Arc a = arc(z);
  return c64{arctan2(a.across, z.re), -copysign(a.im, z.im)};
}
RARE_1(arccos, c64, arccos_far)

inline b32 arctanh_rare(c64 z) {
  return arcsin_rare(z) | ((abs(z.re) == 1.0f) & (abs(z.im) < 0x1p-60f));
}
inline c64 arctanh_usual(c64 z) {
  f32 x = abs(z.re), y = z.im, d = 1.0f - x;
  f32 re = 0.25f * log1p(4.0f * x / fma(d, d, y * y));
  return c64{copysign(re, z.re), 0.5f * arctan2(2.0f * y, fma(-y, y, d * (1.0f + x)))};
}
RARE_1(arctanh, c64, arctanh_far)

// The real part is not negative.
inline c64 arccosh_of(c64 arccos, c64 z) {
  b32 below = is_negative(z.im);
  return c64{negative_where(!below, arccos.im), negative_where(below, arccos.re)};
}
inline b32 arccosh_rare(c64 z) { return arccos_rare(z); }
inline c64 arccosh_usual(c64 z) { return arccosh_of(arccos_usual(z), z); }
RARE_1(arccosh, c64, arccosh_far)
inline b32 arcsinh_rare(c64 z) { return arcsin_rare(times_i(z)); }
inline c64 arcsinh_usual(c64 z) { return over_i(arcsin_usual(times_i(z))); }
RARE_1(arcsinh, c64, arcsinh_far)
inline b32 arctan_rare(c64 z) { return arctanh_rare(times_i(z)); }
inline c64 arctan_usual(c64 z) { return over_i(arctanh_usual(times_i(z))); }
RARE_1(arctan, c64, arctan_far)

// ---- powers ------------------------------------------------------------------------------------

inline Pair negative(Pair a) { return Pair{-a.hi, -a.lo}; }
inline Pair select(b32 c, Pair a, Pair b) {
  return Pair{select(c, a.hi, b.hi), select(c, a.lo, b.lo)};
}
inline Pair pair_product(f32 a, Pair b) {
  Pair p = pair_product(a, b.hi);
  return pair_sum(p.hi, fma(a, b.lo, p.lo));
}

// arctan(k / 8)
TABLE(kArctanHi, 0.0f, 0.124354996f, 0.244978666f, 0.358770669f, 0.463647604f, 0.558599293f,
      0.643501103f, 0.718829989f, 0.785398185f);
TABLE(kArctanLo, 0.0f, -1.24038224e-09f, -3.17867777e-09f, 1.76394988e-09f, 5.01215869e-09f,
      2.21115979e-08f, 5.86893734e-09f, 1.01883355e-08f, -2.18556941e-08f);

// The angle of a z near 1, to some 45 bits: that from k / 8 to the tangent is short.
inline Pair angle_pair(c64 z) {
  f32 x = abs(z.re), y = abs(z.im);
  b32 steep = y > x;
  f32 low = select(steep, x, y), high = select(steep, y, x), t = low / high;
  f32 k = rint(8.0f * select(t <= 1.0f, t, 0.0f)), c = 0.125f * k;
  Pair d = pair_quotient(pair_sum(Pair{low, 0.0f}, pair_product(-c, high)),
                         pair_sum(Pair{high, 0.0f}, pair_product(c, low)));
  f32 u = d.hi * d.hi;
  Pair cubic = pair_product(u * poly(u, 0.200000003f, -0.142857149f), d);
  Pair third =
      pair_product(pair_product(pair_product(d, d), d), Pair{-0.333333343f, 9.93410776e-09f});
  Pair tail = pair_product(u, cubic);
  Pair p = pair_sum(Pair{kArctanHi[i32(k)], kArctanLo[i32(k)]}, pair_sum(d, pair_sum(third, tail)));
  Pair q = select(steep, pair_sum(Pair{0.5f * kPi, 0.5f * kPiLo}, negative(p)), p);
  Pair r = select(is_negative(z.re), pair_sum(Pair{kPi, kPiLo}, negative(q)), q);
  return select(is_negative(z.im), negative(r), r);
}

struct PairComplex {
  Pair re, im;
};
// The logarithm of a finite z other than 0 to some 40 bits: a power multiplies its error. That of
// 1 + f is 2 artanh(f / (2 + f)).
inline PairComplex log_pair(c64 z) {
  i32 k = exponent_of(z);
  c64 w = scale(z, -k);
  Pair n = norm_pair(w);
  i32 j = log_exponent(n.hi);
  Pair f = pair_sum(Pair{log_fraction(n.hi, j), 0.0f}, Pair{n.lo * pow2(-j), 0.0f});
  Pair s = pair_quotient(f, pair_sum(Pair{2.0f, 0.0f}, f));
  Pair u = pair_product(s, s);
  f32 tail = u.hi * poly(u.hi, 0.285714298f, 0.222222224f, 0.181818187f, 0.153846145f, 0.138f);
  Pair p = pair_product(u, pair_sum(Pair{0.400000006f, -5.96046457e-09f}, Pair{tail, 0.0f}));
  p = pair_product(u, pair_sum(Pair{0.666666687f, -1.98682155e-08f}, p));
  p = pair_product(s, pair_sum(Pair{1.0f, 0.0f}, pair_product(0.5f, p)));
  Pair e = pair_product(f32(k) + 0.5f * f32(j), Pair{kLn2, kLn2Rest});
  return PairComplex{pair_sum(e, p), angle_pair(w)};
}

inline PairComplex power_exponent(c64 a, c64 b) {
  PairComplex w = log_pair(a);
  return PairComplex{pair_sum(pair_product(b.re, w.re), pair_product(-b.im, w.im)),
                     pair_sum(pair_product(b.re, w.im), pair_product(b.im, w.re))};
}
// e^(x + i y), where `a` is y.hi as an angle.
inline c64 exp_pair(PairComplex z, Angle a) {
  Pair r = pair_sum(Pair{a.r, a.low}, Pair{z.im.lo, 0.0f});
  Angle turned{r.hi, r.lo, a.quadrant};
  f32 m = 1.0f + z.re.lo;
  return exp_times(z.re.hi, m * cos_reduced(turned), m * sin_reduced(turned));
}

// e^(b log a); 0^0 = 1, and 0^b = 0 where b has a positive real part. Below the limit of b its
// angle is near.
inline b32 power_rare(c64 a, c64 b) {
  return is_zero(a) | !isfinite(a) | is_zero(b) | !(larger_part(b) <= 512.0f);
}
inline c64 power_usual(c64 a, c64 b) {
  PairComplex w = power_exponent(a, b);
  return exp_pair(w, reduce_near(w.im.hi));
}
RARE_2(power, c64, power_far)
