// Vectors, conversions, packing, and arithmetic in half and bfloat: one thread, or one an element.
#include <metal_pack>
#include <metal_stdlib>
using namespace metal;

kernel void vectors(device float* out [[buffer(0)]]) {
  float4 v = float4(1, 2, 3, 4);
  const float3 w = float3(v.xy, 9);
  v.zw = v.xy;
  v.x *= 10;
  out[0] = v.x, out[1] = v.y, out[2] = v.z, out[3] = v.w;
  const float3 u = w.zyx + 1;
  out[4] = u.x, out[5] = u.y, out[6] = u.z;
  out[7] = dot(w, u);
  const float3 c = cross(w, u);
  out[8] = c.x, out[9] = c.y, out[10] = c.z;
  out[11] = length(float2(3, 4));
  out[12] = distance(float2(1, 1), float2(4, 5));
  const float2 n = normalize(float2(0, -2));
  out[13] = n.x, out[14] = n.y;
  const float2 s = select(float2(1, 2), float2(3, 4), float2(5, 0) > float2(0, 5));
  out[15] = s.x, out[16] = s.y;
  out[17] = any(float2(1, 2) == float2(0, 2)), out[18] = all(float2(1, 2) == float2(0, 2));
  out[19] = float4(5)[3];
}

kernel void packed(device const packed_float3* x [[buffer(0)]], device packed_float3* y [[buffer(1)]],
                   device const float3* aligned [[buffer(2)]],
                   uint i [[thread_position_in_grid]]) {
  y[i] = packed_float3(float3(x[i]) * 2 + aligned[i]);
}

kernel void conversions(device const float* x [[buffer(0)]], device int* ints [[buffer(1)]],
                        device half* halves [[buffer(2)]], device bfloat* bfloats [[buffer(3)]],
                        device uint* patterns [[buffer(4)]], uint i [[thread_position_in_grid]]) {
  ints[i] = int(x[i]);
  halves[i] = half(x[i]);
  bfloats[i] = bfloat(x[i]);
  patterns[i] = as_type<uint>(x[i]);
}

template <typename T>
[[kernel]] void rounding(device const T* x [[buffer(0)]], device const T* y [[buffer(1)]],
                         device T* out [[buffer(2)]], uint i [[thread_position_in_grid]],
                         uint n [[threads_per_grid]]) {
  const T a = x[i], b = y[i];
  out[0 * n + i] = a + b;
  out[1 * n + i] = a - b;
  out[2 * n + i] = a * b;
  out[3 * n + i] = a / b;
  out[4 * n + i] = a * b + a;
}
template [[host_name("rounding_half")]] [[kernel]] decltype(rounding<half>) rounding<half>;
template [[host_name("rounding_bfloat")]] [[kernel]] decltype(rounding<bfloat>) rounding<bfloat>;

kernel void packing(device const float4* x [[buffer(0)]], device uint* words [[buffer(1)]],
                    device float4* back [[buffer(2)]], uint i [[thread_position_in_grid]],
                    uint n [[threads_per_grid]]) {
  words[0 * n + i] = pack_float_to_unorm4x8(x[i]);
  words[1 * n + i] = pack_float_to_snorm4x8(x[i]);
  words[2 * n + i] = pack_float_to_unorm2x16(x[i].xy);
  words[3 * n + i] = pack_float_to_snorm2x16(x[i].xy);
  back[0 * n + i] = unpack_unorm4x8_to_float(words[0 * n + i]);
  back[1 * n + i] = unpack_snorm4x8_to_float(words[1 * n + i]);
}
