// Where threads are, threadgroup memory and barriers, and function constants.
#include <metal_stdlib>
using namespace metal;

static uint flat(uint3 p, uint3 extent) { return p.x + extent.x * (p.y + extent.y * p.z); }

kernel void places(device uint* out [[buffer(0)]], uint3 in_grid [[thread_position_in_grid]],
                   uint3 in_threadgroup [[thread_position_in_threadgroup]],
                   uint3 threadgroup_at [[threadgroup_position_in_grid]],
                   uint3 threads [[threads_per_grid]], uint3 size [[threads_per_threadgroup]],
                   uint3 threadgroups [[threadgroups_per_grid]],
                   uint3 dispatched [[dispatch_threads_per_threadgroup]],
                   uint index [[thread_index_in_threadgroup]],
                   uint lane [[thread_index_in_simdgroup]],
                   uint simdgroup [[simdgroup_index_in_threadgroup]],
                   uint simdgroups [[simdgroups_per_threadgroup]],
                   uint width [[threads_per_simdgroup]]) {
  device uint* row = out + 8 * flat(in_grid, threads);
  row[0] = flat(in_threadgroup, dispatched);
  row[1] = flat(threadgroup_at, threadgroups);
  row[2] = flat(size, uint3(100));
  row[3] = index;
  row[4] = lane;
  row[5] = simdgroup;
  row[6] = simdgroups;
  row[7] = width;
}

kernel void two_axes(device uint* out [[buffer(0)]], ushort2 p [[thread_position_in_grid]],
                     ushort2 n [[threads_per_grid]]) {
  out[p.y * n.x + p.x] = p.x * 10 + p.y;
}

// Each threadgroup reverses its part, through an argument and a variable.
kernel void reverse(device float* x [[buffer(0)]], threadgroup float* given [[threadgroup(0)]],
                    uint i [[thread_index_in_threadgroup]], uint g [[thread_position_in_grid]],
                    uint n [[threads_per_threadgroup]]) {
  threadgroup float own[256];
  given[i] = x[g];
  threadgroup_barrier(mem_flags::mem_threadgroup);
  own[i] = given[n - 1 - i];
  threadgroup_barrier(mem_flags::mem_threadgroup);
  x[g] = own[i];
}

// A sum by halves, with the barriers it needs.
kernel void tree_sum(device const float* x [[buffer(0)]], device float* sums [[buffer(1)]],
                     uint i [[thread_index_in_threadgroup]], uint g [[thread_position_in_grid]],
                     uint group [[threadgroup_position_in_grid]]) {
  threadgroup float values[128];
  values[i] = x[g];
  for (uint half_way = 64; half_way > 0; half_way /= 2) {
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (i < half_way) values[i] += values[i + half_way];
  }
  if (i == 0) sums[group] = values[0];
}

constant bool flag [[function_constant(0)]];
constant int whole [[function_constant(1)]];
constant uint natural [[function_constant(2)]];
constant float real [[function_constant(3)]];
constant bool has_real = is_function_constant_defined(real);

kernel void constants(device float* out [[buffer(0)]]) {
  out[0] = flag ? 1 : 0;
  out[1] = whole;
  out[2] = natural;
  out[3] = has_real ? real : -1;
}

constant float kTable[4] = {1, 2, 4, 8};
struct Settings {
  float scale;
  int offset;
};
kernel void constant_memory(device float* out [[buffer(0)]], constant Settings& s [[buffer(1)]],
                            constant float* bias [[buffer(2)]],
                            uint i [[thread_position_in_grid]]) {
  out[i] = kTable[(i + s.offset) % 4] * s.scale + bias[i];
}
