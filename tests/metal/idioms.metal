// What published kernels write and OpenCL does not: each computes something that a test expects.
#include <simd/simd.h>
#include <metal_stdlib>

#define FIRST 2

constant float factor [[function_constant(FIRST * 4 - 1)]];

struct Curve {
  float4 weights;
  int shift[2];
};
constant Curve kCurve = {{1, 2, 3, 4}, {5, 6}};

// Vector types are global; the library is metal's.
kernel void casts(device const half4* in [[buffer(0)]], device float4* out [[buffer(FIRST - 1)]]) {
  const float4 wide = (float4)in[0];
  const half4 narrow = (half4)(wide * 3);
  out[0] = -(float4)narrow.wzyx;
  out[1] = float4(*in) + (float4)2;
  out[2] = (float4)(half4)wide * 2.0f;
}

kernel void lists(device float4* out [[buffer(0)]], constant float& x [[buffer(1)]]) {
  float4 a = {x}, b = {x, 2, 3};
  a = {b.y, b.z, x, 1};
  const float2 c{x, x + 1};
  out[0] = a;
  out[1] = b;
  out[2] = float4(c, c);
}

// A scalar of greater rank is converted to an element: the result is of halves.
kernel void ranks(device half4* out [[buffer(0)]], constant float* s [[buffer(1)]],
                  device const half4* in [[buffer(2)]], device const bool* yes [[buffer(3)]]) {
  half4 x = in[0] * s[0];
  x += s[1];
  out[0] = x;
  out[1] = s[2] - x / s[3];
  out[2] = *yes ? in[0] : s[0];
  out[3] = x * factor;
}

template <typename T, typename T4, void (*load)(device const T*, short, thread T4&)>
[[kernel]] void loaded(device const T* in [[buffer(0)]], device float4* out [[buffer(1)]]) {
  T4 x;
  load(in, 1, x);
  out[0] = (float4)x;
}
template <typename T, typename T4>
void load_reversed(device const T* in, short i, thread T4& x) {
  x = T4(in[4 * i + 3], in[4 * i + 2], in[4 * i + 1], in[4 * i]);
}
typedef decltype(loaded<half, half4, load_reversed>) loaded_half;
template [[host_name("loaded_half")]] kernel loaded_half loaded<half, half4, load_reversed>;
template [[host_name("loaded_short")]] [[kernel]] void loaded<short, short4, load_reversed>(
    device const short*, device float4*);

template <typename T>
void kernel filled(device T* out [[buffer(0)]]) {
  out[0] = T(3);
}
template <typename T>
[[kernel]] void filled(device T* out [[buffer(0)]], constant T& x [[buffer(1)]]) {
  out[0] = x;
}
template [[host_name("filled_three")]] void kernel filled<float>(device float*);
template [[host_name("filled_with")]] [[kernel]] void filled<float>(device float*, constant float&);

template <typename T>
T sum_of(T x[4], T start) {
  for (int i = 0; i < 4; ++i) start += x[i];
  return start;
}
float scaled(Curve c, float x) { return x * c.weights.z + c.shift[1]; }

kernel void copies(device float* out [[buffer(0)]], constant packed_float3& p [[buffer(1)]],
                   constant metal::float2x2& m [[buffer(2)]]) {
  float local[4] = {1, 2, 3, 4};
  Curve c;
  c = kCurve;
  const float3 q = float3(p);
  const simd_float2x2 twice = m * 2;
  out[0] = scaled(kCurve, 2);
  out[1] = c.weights.w + kCurve.shift[0];
  out[2] = q.x + q.y + q.z;
  out[3] = twice[1][0];
  out[4] = sum_of(local, 10.0f);
}

struct Flags {
  uint low : 4;
  uint high : 12;
};

template <typename T, int N>
metal::vec<T, N> positive(metal::vec<T, N> x) {
  const metal::vec<bool, N> is = x > T(0);
  return metal::select(metal::vec<T, N>(0), x, is);
}
struct Twice {
  float operator()(float x) const thread { return 2 * x; }
};

kernel void others(device float* out [[buffer(0)]], device const float3* in [[buffer(1)]]) {
  const float3 x = positive<float, 3>(in[0]);
  const metal::vec<bool, 2> both = metal::vec<bool, 2>(x.x > 0, x.y > 0);
  Flags flags;
  flags.low = 21;
  flags.high = 21;
  assert(x.x < 0);
  out[0] = x.x + x.y + x.z;
  out[1] = metal::any(both) && !metal::all(both);
  out[2] = flags.low + flags.high;
  out[3] = Twice()(4);
#pragma unroll(FIRST * 2)
  for (int i = 4; i < 6; ++i) out[i] = metal::max(0.0f, in[0]).x + i;
}

kernel void tile(device half* out [[buffer(0)]], device half* by_columns [[buffer(1)]]) {
  metal::simdgroup_half8x8 m = metal::make_filled_simdgroup_matrix<half, 8>(1.5h);
  simdgroup_store(m, out, 8);
  metal::simdgroup_store(m, by_columns, 8);
}
