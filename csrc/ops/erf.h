// The error function and its inverse.

// Below 1 an odd polynomial; beyond, the eighth root of 1 - erf is one.
inline f32 erf(f32 x) {
  f32 a = abs(x), u = x * x;
  f32 near = fma(x,
                 poly(u, 0.128379166f, -0.37612626f, 0.112835787f, -0.0268533472f, 0.0051871622f,
                      -0.00079978531f, 7.80690389e-05f),
                 x);
  f32 p = poly(select(a > 3.92f, 3.92f, a), 1.0008347f, -0.145060569f, -0.0614263564f,
               -0.0113735739f, 0.012925881f, -0.00246973801f, 0.00014985021f);
  f32 p2 = p * p, p4 = p2 * p2;
  return select(a < 1.0f, near, copysign(1.0f - p4 * p4, x));
}

// M. Giles, "Approximating the erfinv function" (2012): polynomials in w = -log(1 - x^2), and in
// its root where it is large.
inline f32 erfinv(f32 x) {
  f32 w = -log((1.0f - x) * (1.0f + x));
  f32 near =
      poly(w - 2.5f, 1.50140941f, 0.24664028f, -0.00417738687f, -0.0012527419f, 0.00021834443f,
           -4.96334633e-06f, -3.46270349e-06f, 4.66170178e-07f, 2.32325412e-08f, -8.79101858e-09f);
  f32 far = poly(sqrt(w) - 3.0f, 2.83297682f, 1.00167501f, 0.00944528636f, -0.00763728889f,
                 0.00568697182f, -0.00359740574f, 0.00148509524f, -5.67771494e-05f,
                 -0.000309574767f, 0.000115704788f);
  f32 y = x * select(w < 5.0f, near, far);
  return select(abs(x) == 1.0f, copysign(kInf, x), y);
}
