// Trigonometric functions and their inverses.

// ---- inverse functions -------------------------------------------------------------------------

// asin(s) for 0 <= s <= 1/2, s^2 = z.
inline f32 arcsin_reduced(f32 s, f32 z) {
  return fma(s * z,
             poly(z, 0.166667521f, 0.0749530941f, 0.0454691499f, 0.0241847839f, 0.0421582796f), s);
}

// Beyond 1/2: asin(a) = pi/2 - 2 asin(sqrt((1 - a) / 2)).
inline f32 arcsin(f32 x) {
  f32 a = abs(x);
  b32 big = a > 0.5f;
  f32 z = select(big, 0.5f * (1.0f - a), a * a);
  f32 p = arcsin_reduced(select(big, sqrt(z), a), z);
  return copysign(select(big, (0.5f * kPi - 2.0f * p) + 0.5f * kPiLo, p), x);
}

inline f32 arccos(f32 x) {
  f32 a = abs(x);
  b32 big = a > 0.5f;
  f32 z = select(big, 0.5f * (1.0f - a), a * a);
  f32 p = arcsin_reduced(select(big, sqrt(z), a), z);
  // The result in half turns, when p is 0.
  f32 turn = select(big, select(x < 0.0f, 1.0f, 0.0f), 0.5f);
  f32 q = negative_where(big & (x > 0.0f), select(big, p + p, copysign(p, x)));
  return (turn * kPi - q) + turn * kPiLo;
}

// atan(t) for 0 <= t <= 1.
inline f32 arctan_reduced(f32 t) {
  f32 u = t * t;
  f32 p = poly(u, -0.333332986f, 0.199985296f, -0.142640173f, 0.109508894f, -0.0839931667f,
               0.0578810424f, -0.0310959164f, 0.0108676357f, -0.00178246363f);
  return fma(t * u, p, t);
}

inline f32 arctan(f32 x) {
  f32 a = abs(x);
  b32 big = a > 1.0f;
  f32 p = arctan_reduced(select(big, 1.0f, a) / select(big, a, 1.0f));
  return copysign(select(big, (0.5f * kPi - p) + 0.5f * kPiLo, p), x);
}

inline f32 arctan2(f32 y, f32 x) {
  f32 a = abs(x), b = abs(y);
  b32 steep = b > a;
  f32 low = select(steep, a, b), high = select(steep, b, a);
  f32 t = select(low == high, 1.0f, low / high);  // equal: both infinite, too
  f32 p = arctan_reduced(select(high == 0.0f, 0.0f, t));
  f32 q = select(steep, (0.5f * kPi - p) + 0.5f * kPiLo, p);
  f32 r = select(is_negative(x), (kPi - q) + kPiLo, q);
  return copysign(select((x != x) | (y != y), kNan, r), y);
}

// ---- sine, cosine, tangent ---------------------------------------------------------------------

// An angle is r + low + quadrant pi/2, modulo a full turn, with |r| <= pi/4. Of the quadrant the
// lowest two bits count.
struct Angle {
  f32 r, low;
  i32 quadrant;
};

// Up to this magnitude `reduce_near` is accurate; beyond, `reduce_far` in rare.h.
CONSTANT float kNear = 131072.0f;
inline b32 is_far(f32 x) { return !(abs(x) <= kNear); }

inline Angle reduce_near(f32 x) {
  f32 z = fma(x, 0.636619772f, kRound), q = z - kRound;
  f32 a = fma(q, -0.5f * kPi, x), p = q * (0.5f * kPiLo);  // a is exact
  f32 rest = fma(q, -1.71512451e-15f, fma(q, 0.5f * kPiLo, -p));
  f32 r = a - p;
  return Angle{r, ((a - r) - p) - rest, bits(z)};
}

// sin(r + low) - r and (cos r - 1 + u / 2) / u^2 for |r| <= pi/4, r^2 = u.
inline f32 sin_tail(f32 r, f32 low, f32 u) {
  return fma(r * u, poly(u, -0.166666552f, 0.0083321603f, -0.000195152184f), low);
}
inline f32 cos_tail(f32 u) { return poly(u, 0.0416666456f, -0.00138873153f, 2.4433084e-05f); }

inline f32 sin_reduced(Angle angle) {
  f32 r = angle.r, u = r * r;
  f32 s = sin_tail(r, angle.low, u) + r;
  f32 c = fma(u, fma(u, cos_tail(u), -0.5f), 1.0f);
  f32 y = select((angle.quadrant & 1) != 0, c, s);
  return from_bits(bits(y) ^ ((angle.quadrant & 2) << 30));
}
inline f32 cos_reduced(Angle angle) {
  return sin_reduced(Angle{angle.r, angle.low, angle.quadrant + 1});
}
inline f32 tan_reduced(Angle angle) {
  f32 r = angle.r, low = angle.low, u = r * r;
  f32 p = poly(u, 0.333333492f, 0.13332662f, 0.0540600307f, 0.0212815814f, 0.0108374339f,
               8.74236648e-05f, 0.00437734416f);
  f32 t = fma(r * u, p, fma(low, u, low)) + r;
  b32 odd = (angle.quadrant & 1) != 0;
  return select(odd, -1.0f, t) / select(odd, t, 1.0f);
}

inline b32 sin_rare(f32 x) { return is_far(x); }
inline f32 sin_usual(f32 x) { return select(x == 0.0f, x, sin_reduced(reduce_near(x))); }
RARE_1(sin, f32, sin_far)

inline b32 cos_rare(f32 x) { return is_far(x); }
inline f32 cos_usual(f32 x) { return cos_reduced(reduce_near(x)); }
RARE_1(cos, f32, cos_far)

inline b32 tan_rare(f32 x) { return is_far(x); }
inline f32 tan_usual(f32 x) { return select(x == 0.0f, x, tan_reduced(reduce_near(x))); }
RARE_1(tan, f32, tan_far)
