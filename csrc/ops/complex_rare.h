// Complex functions of what is infinite, not a number, zero where that counts, or of huge angles:
// as C's Annex G has them. Free of the language's rules, one element at a time.

inline Angle reduce_angle(f32 y) { return is_far(y) ? reduce_far(y) : reduce_near(y); }

// Which sign a nan has is chance; where one decides a result's, it is positive.
inline f32 positive_nan(f32 x) { return x != x ? kNan : x; }
inline c64 positive_nan(c64 z) { return c64{positive_nan(z.re), positive_nan(z.im)}; }

inline c64 sign_far(c64 z) {
  if (isinf(z.re) == isinf(z.im)) return c64{kNan, kNan};
  return isinf(z.re) ? c64{copysign(1.0f, z.re), 0.0f} : c64{0.0f, copysign(1.0f, z.im)};
}

// A zero divisor divides by its parts; an infinite one gives 0.
inline c64 divide_far(c64 a, c64 b) {
  if (is_zero(b)) return divide(a, abs(b.re));
  if (isinf(b) && isfinite(a)) {
    b = positive_nan(b);
    c64 v = multiply(a, 0.25f);
    c64 w{copysign(isinf(b.re) ? 1.0f : 0.0f, b.re), copysign(isinf(b.im) ? 1.0f : 0.0f, b.im)};
    return multiply(multiply(v, conjugate(w)), 0.0f);
  }
  c64 w = scale(b, -exponent_of(b));
  return divide(multiply(a, conjugate(w)), norm(w));
}
inline c64 reciprocal_far(c64 z) { return divide_far(c64{1.0f, 0.0f}, z); }

inline c64 sqrt_far(c64 z) {
  z = positive_nan(z);
  if (isinf(z.im)) return c64{kInf, z.im};
  if (!isinf(z.re)) return c64{kNan, kNan};
  f32 other = z.im != z.im ? kNan : 0.0f;
  return z.re > 0.0f ? c64{kInf, copysign(other, z.im)} : c64{other, copysign(kInf, z.im)};
}
inline c64 rsqrt_far(c64 z) { return reciprocal_far(sqrt(z)); }

// ---- of an angle -------------------------------------------------------------------------------

inline c64 exp_far(c64 z) {
  z = positive_nan(z);
  if (z.im == 0.0f) return c64{exp(z.re), z.im};
  if (isinf(z.re) && !isfinite(z.im))
    return z.re < 0.0f ? c64{0.0f, copysign(0.0f, z.im)} : c64{kInf, kNan};
  return exp_at(z, reduce_angle(z.im));
}
inline c64 expm1_far(c64 z) {
  if (z.im == 0.0f) return c64{expm1(z.re), z.im};
  if (isinf(z.re)) return add(exp_far(z), c64{-1.0f, 0.0f});
  return expm1_at(z, reduce_angle(z.im));
}
inline c64 sigmoid_far(c64 z) {
  if (z.im == 0.0f) return c64{sigmoid(z.re), z.im};
  if (isinf(z.re)) return c64{z.re < 0.0f ? 0.0f : 1.0f, 0.0f};
  return sigmoid_at(z, reduce_angle(z.im));
}
inline c64 silu_far(c64 z) {
  if (isinf(z.re)) return z.re < 0.0f ? c64{0.0f, 0.0f} : z;
  // Lest a product overflows before it is divided.
  return multiply(silu_at(z, reduce_angle(z.im), scale(z, -32), 30), 4.0f);
}

// Zero times what is not a number here stays zero.
inline c64 sinh_far(c64 z) {
  if (isinf(z.re) && !isfinite(z.im)) return c64{z.re, kNan};
  c64 w = sinh_at(z, reduce_angle(z.im));
  return c64{z.re == 0.0f && isnan(w.re) ? z.re : w.re, z.im == 0.0f && isnan(w.im) ? z.im : w.im};
}
inline c64 cosh_far(c64 z) {
  z = positive_nan(z);
  if (isinf(z.re) && !isfinite(z.im)) return c64{kInf, kNan};
  c64 w = cosh_at(z, reduce_angle(z.im));
  bool flat = (z.re == 0.0f || z.im == 0.0f) && isnan(w.im);
  return c64{w.re, flat ? copysign(0.0f, z.re) * copysign(1.0f, z.im) : w.im};
}
inline c64 tanh_far(c64 z) {
  z = positive_nan(z);
  if (z.im == 0.0f) return c64{tanh(z.re), z.im};
  if (isinf(z.re))
    return c64{copysign(1.0f, z.re),
               isfinite(z.im) ? 0.0f * sin(z.im) * cos(z.im) : copysign(0.0f, z.im)};
  c64 w = tanh_at(z, reduce_angle(z.im));
  return c64{z.re == 0.0f ? z.re : w.re, w.im};
}
inline c64 sin_far(c64 z) { return over_i(sinh_far(times_i(z))); }
inline c64 cos_far(c64 z) { return cosh_far(times_i(z)); }
inline c64 tan_far(c64 z) { return over_i(tanh_far(times_i(z))); }

// ---- of a modulus ------------------------------------------------------------------------------

// The angle a - b of which the rounded difference may be turns away.
inline Angle angle_difference(f32 a, f32 b) {
  Angle x = reduce_angle(a), y = reduce_angle(b);
  Pair r = pair_sum(Pair{x.r, x.low}, Pair{-y.r, -y.low});
  f32 turn = rint(r.hi * (2.0f / kPi));
  r = pair_sum(r, pair_product(-turn, Pair{0.5f * kPi, 0.5f * kPiLo}));
  return Angle{r.hi, r.lo, x.quadrant - y.quadrant + i32(turn)};
}
inline c64 logaddexp_far(c64 a, c64 b) {
  c64 low = minimum(a, b), high = maximum(a, b), w = subtract(low, high);
  if (!isfinite(high) || exp(w.re) == 0.0f) return high;
  if (!isfinite(w)) return c64{kNan, kNan};
  return logaddexp_at(low, high, w, angle_difference(low.im, high.im));
}

inline c64 arcsin_far(c64 z) {
  z = positive_nan(z);
  f32 re = arctan2(z.re, abs(z.im));
  return c64{z.re == 0.0f ? z.re : re, copysign(log(z).re + kLn2, z.im)};
}
inline c64 arccos_far(c64 z) {
  z = positive_nan(z);
  f32 re = arctan2(abs(z.im), z.re);
  return c64{z.re == 0.0f ? 0.5f * kPi : re, -copysign(log(z).re + kLn2, z.im)};
}
inline c64 arccosh_far(c64 z) { return arccosh_of(arccos_far(z), positive_nan(z)); }
inline c64 arcsinh_far(c64 z) { return over_i(arcsin_far(times_i(z))); }

inline c64 arctanh_far(c64 z) {
  z = positive_nan(z);
  f32 y = abs(z.im);
  if (abs(z.re) == 1.0f && y < 1.0f) {
    c64 w{0.5f * (kLn2 - log(y)), z.im == 0.0f ? 0.0f : 0.25f * kPi};
    return c64{copysign(w.re, z.re), copysign(w.im, z.im)};
  }
  if (isinf(z) || isfinite(z)) {
    f32 re = isinf(z) ? 0.0f : abs(reciprocal(z).re);
    return c64{copysign(re, z.re), copysign(isnan(z) && isinf(z.re) ? kNan : 0.5f * kPi, z.im)};
  }
  return c64{z.re == 0.0f ? z.re : kNan, kNan};
}
inline c64 arctan_far(c64 z) {
  c64 w = over_i(arctanh_far(times_i(z)));
  return c64{w.re, z.im != z.im ? abs(w.im) : w.im};
}

inline c64 power_far(c64 a, c64 b) {
  if (is_zero(b)) return c64{1.0f, 0.0f};
  if (is_zero(a) && b.re > 0.0f) return c64{0.0f, 0.0f};
  if (is_zero(a) || !isfinite(a) || !(larger_part(b) < 0x1p60f)) return exp(multiply(b, log(a)));
  PairComplex w = power_exponent(a, b);
  if (abs(w.re.hi) > 1024.0f) w.re.lo = 0.0f;  // the result is 0 or infinite
  // What a large angle leaves is not small: it has turns of its own.
  Angle most = reduce_angle(w.im.hi), rest = reduce_angle(w.im.lo);
  Pair r = pair_sum(Pair{most.r, most.low}, Pair{rest.r, rest.low});
  Angle both = reduce_near(r.hi);
  both.quadrant += (most.quadrant & 3) + (rest.quadrant & 3);
  w.im.lo = r.lo;
  return exp_pair(w, both);
}
