// simdgroup_matrix: which lane holds what, loads and stores, products.
#include <metal_simdgroup_matrix>
#include <metal_stdlib>
using namespace metal;

kernel void layout(device const float* a [[buffer(0)]], device float2* out [[buffer(1)]],
                   uint lane [[thread_index_in_simdgroup]]) {
  simdgroup_float8x8 m;
  simdgroup_load(m, a, 8);
  const auto elements = m.thread_elements();
  out[lane] = float2(elements[0], elements[1]);
}

// out = a b + c, and the same of a's transpose, with rows 24 elements apart.
template <typename T>
[[kernel]] void multiply(device const T* a [[buffer(0)]], device const T* b [[buffer(1)]],
                         device const float* c [[buffer(2)]], device float* out [[buffer(3)]]) {
  simdgroup_matrix<T, 8, 8> left, transposed, right;
  simdgroup_matrix<float, 8, 8> sum, product;
  simdgroup_load(left, a, 24, ulong2(8, 8));
  simdgroup_load(transposed, a, 24, ulong2(8, 8), true);
  simdgroup_load(right, b, 24, ulong2(0, 16));
  simdgroup_load(sum, c, 8);
  simdgroup_multiply_accumulate(product, left, right, sum);
  simdgroup_store(product, out, 8);
  simdgroup_multiply_accumulate(sum, transposed, right, sum);
  simdgroup_store(sum, out, 16, ulong2(8, 8), true);
}
template [[host_name("multiply_float")]] [[kernel]] decltype(multiply<float>) multiply<float>;
template [[host_name("multiply_half")]] [[kernel]] decltype(multiply<half>) multiply<half>;
template [[host_name("multiply_bfloat")]] [[kernel]] decltype(multiply<bfloat>) multiply<bfloat>;

kernel void through_threadgroup(device float* out [[buffer(0)]]) {
  threadgroup float tile[64];
  simdgroup_float8x8 m(3.0f);
  simdgroup_float8x8 ones = make_filled_simdgroup_matrix<float, 8, 8>(1.0f);
  simdgroup_multiply_accumulate(m, m, m, ones);
  simdgroup_store(m, tile, 8);
  simdgroup_barrier(mem_flags::mem_threadgroup);
  simdgroup_load(m, tile, 8, ulong2(0, 0), true);
  simdgroup_store(m, out, 8);
}
