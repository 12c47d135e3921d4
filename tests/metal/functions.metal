// Integer and mathematical functions: a row of `out` for each.
#include <metal_stdlib>
using namespace metal;

template <typename T>
[[kernel]] void integers(device const T* x [[buffer(0)]], device const T* y [[buffer(1)]],
                         device T* out [[buffer(2)]], uint i [[thread_position_in_grid]],
                         uint n [[threads_per_grid]]) {
  const T a = x[i], b = y[i];
  out[0 * n + i] = popcount(a);
  out[1 * n + i] = clz(a);
  out[2 * n + i] = ctz(a);
  out[3 * n + i] = reverse_bits(a);
  out[4 * n + i] = addsat(a, b);
  out[5 * n + i] = subsat(a, b);
  out[6 * n + i] = hadd(a, b);
  out[7 * n + i] = rhadd(a, b);
  out[8 * n + i] = mulhi(a, b);
  out[9 * n + i] = min(a, b);
  out[10 * n + i] = max(a, b);
  out[11 * n + i] = clamp(a, T(3), T(90));
  out[12 * n + i] = extract_bits(a, 3, 4);
  out[13 * n + i] = rotate(a, T(3));
  out[14 * n + i] = T(absdiff(a, b));
}
template [[host_name("integers_uint")]] [[kernel]] decltype(integers<uint>) integers<uint>;
template [[host_name("integers_int")]] [[kernel]] decltype(integers<int>) integers<int>;
template [[host_name("integers_uchar")]] [[kernel]] decltype(integers<uchar>) integers<uchar>;
template [[host_name("integers_short")]] [[kernel]] decltype(integers<short>) integers<short>;

template <typename T>
[[kernel]] void math(device const T* x [[buffer(0)]], device T* out [[buffer(1)]],
                     uint i [[thread_position_in_grid]], uint n [[threads_per_grid]]) {
  const T v = x[i];  // in (0, 1)
  out[0 * n + i] = exp(v);
  out[1 * n + i] = log(v);
  out[2 * n + i] = exp2(v);
  out[3 * n + i] = log2(v);
  out[4 * n + i] = sin(v);
  out[5 * n + i] = cos(v);
  out[6 * n + i] = tan(v);
  out[7 * n + i] = asin(v);
  out[8 * n + i] = acos(v);
  out[9 * n + i] = atan(v);
  out[10 * n + i] = sinh(v);
  out[11 * n + i] = cosh(v);
  out[12 * n + i] = tanh(v);
  out[13 * n + i] = asinh(v);
  out[14 * n + i] = acosh(v + T(1));
  out[15 * n + i] = atanh(v);
  out[16 * n + i] = sqrt(v);
  out[17 * n + i] = rsqrt(v);
  out[18 * n + i] = pow(v, T(2.5));
  out[19 * n + i] = atan2(v, T(0.5));
  out[20 * n + i] = fmod(T(9) * v, T(2));
  out[21 * n + i] = floor(T(9) * v);
  out[22 * n + i] = ceil(T(9) * v);
  out[23 * n + i] = trunc(T(-9) * v);
  out[24 * n + i] = rint(T(9) * v);
  out[25 * n + i] = fma(v, v, T(1));
  out[26 * n + i] = clamp(v, T(0.25), T(0.75));
  out[27 * n + i] = mix(T(2), T(6), v);
  out[28 * n + i] = smoothstep(T(0), T(1), v);
  out[29 * n + i] = step(T(0.5), v);
  out[30 * n + i] = sign(v - T(0.5));
  out[31 * n + i] = copysign(v, T(-1));
}
template [[host_name("math_float")]] [[kernel]] decltype(math<float>) math<float>;
template [[host_name("math_half")]] [[kernel]] decltype(math<half>) math<half>;

// min and max leave out NaN; round takes halves away from zero, rint to even.
kernel void special(device float* out [[buffer(0)]]) {
  out[0] = fmin(NAN, 1.0f), out[1] = fmax(2.0f, NAN);
  out[2] = round(2.5f), out[3] = rint(2.5f), out[4] = round(-0.5f);
  int e;
  out[5] = frexp(10.0f, e), out[6] = e;
  out[7] = ldexp(0.75f, 3);
  float whole;
  out[8] = modf(-2.25f, whole), out[9] = whole;
  out[10] = isnan(NAN), out[11] = isinf(INFINITY), out[12] = isfinite(INFINITY);
  float c;
  out[13] = sincos(0.0f, c), out[14] = c;
  out[15] = fract(-0.25f);
}
