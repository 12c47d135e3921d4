// Kernels with one bug each, on the line that names what the sanitizer must say of it, and correct
// twins (fixed_...) of which it must say nothing. All run as two threadgroups of 64 threads; x and y
// have 128 elements, z has 4.
#include <metal_stdlib>
using namespace metal;

// ---- Bounds -------------------------------------------------------------------------------------
kernel void read_past_end(device float* x [[buffer(0)]], device const float* y [[buffer(1)]],
                          uint g [[thread_position_in_grid]]) {
  x[g] = y[g + 1];  // expect: out-of-bounds read
}
kernel void read_before_start(device float* x [[buffer(0)]], device const float* y [[buffer(1)]],
                              uint g [[thread_position_in_grid]]) {
  x[g] = y[int(g) - 1];  // expect: out-of-bounds read
}
kernel void write_past_end(device float* x [[buffer(0)]], uint g [[thread_position_in_grid]]) {
  x[g + 100] = 1;  // expect: out-of-bounds write
}
kernel void write_far_away(device float* x [[buffer(0)]], uint g [[thread_position_in_grid]]) {
  x[ulong(g) << 40] = 1;  // expect: out-of-bounds write
}
kernel void vector_across_end(device float* x [[buffer(0)]], uint g [[thread_position_in_grid]]) {
  if (g == 31) {
    device packed_float4* v = (device packed_float4*)(x + 126);
    x[0] = float4(*v).x;  // expect: out-of-bounds read
  }
}
kernel void null_pointer(device float* x [[buffer(0)]], uint g [[thread_position_in_grid]]) {
  device const float* p = reinterpret_cast<device const float*>(ulong(x[g]));
  x[g] = *p;  // expect: out-of-bounds read
}
kernel void constant_past_end(device float* x [[buffer(0)]], constant float* z [[buffer(2)]],
                              uint g [[thread_position_in_grid]]) {
  x[g] = z[g % 8];  // expect: out-of-bounds read
}
kernel void threadgroup_read_past_end(device float* x [[buffer(0)]],
                                      uint i [[thread_index_in_threadgroup]],
                                      uint g [[thread_position_in_grid]]) {
  threadgroup float s[64];
  threadgroup float t[64];
  s[i] = i;
  t[i] = i;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  x[g] = s[i + 1] + t[i];  // expect: out-of-bounds read
}
kernel void threadgroup_write_past_end(device float* x [[buffer(0)]],
                                       uint i [[thread_index_in_threadgroup]],
                                       uint g [[thread_position_in_grid]]) {
  threadgroup float s[63];
  s[i] = i;  // expect: out-of-bounds write
  x[g] = s[i];
}
kernel void argument_past_end(device float* x [[buffer(0)]], threadgroup float* s [[threadgroup(0)]],
                              uint i [[thread_index_in_threadgroup]],
                              uint g [[thread_position_in_grid]]) {
  s[2 * i] = i;  // expect: out-of-bounds write
  x[g] = s[2 * i];
}
kernel void atomic_past_end(device atomic_uint* x [[buffer(0)]],
                            uint g [[thread_position_in_grid]]) {
  atomic_fetch_add_explicit(x + 64 + g, 1u, memory_order_relaxed);  // expect: out-of-bounds atomic
}

// ---- Alignment and read-only memory -------------------------------------------------------------
kernel void misaligned_word(device uchar* x [[buffer(0)]], uint g [[thread_position_in_grid]]) {
  if (g == 5) *(device uint*)(x + 2) = 1;  // expect: misaligned write
}
kernel void misaligned_vector(device float* x [[buffer(0)]], uint g [[thread_position_in_grid]]) {
  if (g == 5) x[0] = (*(device float4*)(x + 1)).x;  // expect: misaligned read
}
kernel void write_constant(constant float* z [[buffer(2)]], uint g [[thread_position_in_grid]]) {
  if (g == 3) *(device float*)(ulong)z = 1;  // expect: read-only
}
kernel void write_const_device(device const float* y [[buffer(1)]],
                               uint g [[thread_position_in_grid]]) {
  const_cast<device float*>(y)[g] = 1;  // expect: read-only
}

// ---- Uninitialised memory -----------------------------------------------------------------------
kernel void uninitialised_half(device float* x [[buffer(0)]],
                               uint i [[thread_index_in_threadgroup]],
                               uint g [[thread_position_in_grid]]) {
  threadgroup float s[64];
  if (i < 32) s[i] = i;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  x[g] = s[i];  // expect: uninitialised read
}
kernel void uninitialised_count(device uint* x [[buffer(0)]],
                                uint g [[thread_position_in_grid]]) {
  threadgroup atomic_uint n;
  x[g] = atomic_fetch_add_explicit(&n, 1u, memory_order_relaxed);  // expect: uninitialised atomic
}
// What the threadgroup before left is not there any more.
kernel void left_by_another_threadgroup(device float* x [[buffer(0)]],
                                        uint group [[threadgroup_position_in_grid]],
                                        uint i [[thread_index_in_threadgroup]],
                                        uint g [[thread_position_in_grid]]) {
  threadgroup float s[64];
  if (group == 0) s[i] = i;
  x[g] = s[i];  // expect: uninitialised read
}

// ---- Races --------------------------------------------------------------------------------------
kernel void no_barrier(device float* x [[buffer(0)]], uint i [[thread_index_in_threadgroup]],
                       uint g [[thread_position_in_grid]]) {
  threadgroup float s[64];
  s[i] = i;
  x[g] = s[i / 2];  // expect: data race
}
kernel void fixed_no_barrier(device float* x [[buffer(0)]], uint i [[thread_index_in_threadgroup]],
                             uint g [[thread_position_in_grid]]) {
  threadgroup float s[64];
  s[i] = i;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  x[g] = s[i / 2];
}
kernel void simdgroup_barrier_across_simdgroups(device float* x [[buffer(0)]],
                                                uint i [[thread_index_in_threadgroup]],
                                                uint g [[thread_position_in_grid]]) {
  threadgroup float s[64];
  s[i] = i;
  simdgroup_barrier(mem_flags::mem_threadgroup);
  x[g] = s[i / 2];  // expect: data race
}
kernel void fixed_simdgroup_barrier(device float* x [[buffer(0)]],
                                    uint i [[thread_index_in_threadgroup]],
                                    uint g [[thread_position_in_grid]]) {
  threadgroup float s[64];
  s[i] = i;
  simdgroup_barrier(mem_flags::mem_threadgroup);
  x[g] = s[i ^ 7];
}
kernel void barrier_without_flag(device float* x [[buffer(0)]],
                                 uint i [[thread_index_in_threadgroup]],
                                 uint g [[thread_position_in_grid]]) {
  threadgroup float s[64];
  s[i] = i;
  threadgroup_barrier(mem_flags::mem_none);
  x[g] = s[63 - i];  // expect: data race
}
kernel void barrier_of_other_memory(device float* x [[buffer(0)]],
                                    uint g [[thread_position_in_grid]]) {
  x[g] = g;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  const float v = x[g ^ 1];  // expect: data race
  threadgroup_barrier(mem_flags::mem_device);
  x[g] = v;
}
kernel void fixed_barrier_of_other_memory(device float* x [[buffer(0)]],
                                          uint g [[thread_position_in_grid]]) {
  x[g] = g;
  threadgroup_barrier(mem_flags::mem_device);
  const float v = x[g ^ 1];
  threadgroup_barrier(mem_flags::mem_device);
  x[g] = v;
}
kernel void write_after_read(device float* x [[buffer(0)]], uint i [[thread_index_in_threadgroup]],
                             uint g [[thread_position_in_grid]]) {
  threadgroup float s[64];
  s[i] = i;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  const float v = s[63 - i];
  s[i] = v;  // expect: data race
  x[g] = v;
}
kernel void same_value_written(device float* x [[buffer(0)]], uint g [[thread_position_in_grid]]) {
  x[g / 64] = 1;  // expect: data race
}
kernel void across_threadgroups(device float* x [[buffer(0)]],
                                uint i [[thread_index_in_threadgroup]]) {
  x[i] = 1;  // expect: data race
}
kernel void barrier_does_not_reach_other_threadgroups(device float* x [[buffer(0)]],
                                                      uint g [[thread_position_in_grid]]) {
  x[g] = g;
  threadgroup_barrier(mem_flags::mem_device);
  const float v = x[127 - g];  // expect: data race
  if (v < 0) x[g] = v;
}
kernel void neighbouring_bytes(device uchar* x [[buffer(0)]], uint g [[thread_position_in_grid]]) {
  x[g] = 1;
  ((device ushort*)x)[g] = 1;  // expect: data race
}
kernel void fixed_neighbouring_bytes(device uchar* x [[buffer(0)]],
                                     uint g [[thread_position_in_grid]]) {
  x[g] = 1;
}
kernel void plain_beside_atomic(device atomic_uint* x [[buffer(0)]],
                                uint g [[thread_position_in_grid]]) {
  atomic_fetch_add_explicit(x, 1u, memory_order_relaxed);
  if (g == 40) *(device uint*)x = 0;  // expect: data race
}
kernel void plain_read_of_atomic(device atomic_uint* x [[buffer(0)]],
                                 uint g [[thread_position_in_grid]]) {
  atomic_fetch_add_explicit(x, 1u, memory_order_relaxed);
  if (g == 40) ((device uint*)x)[1] = ((device uint*)x)[0];  // expect: data race
}
kernel void fixed_plain_beside_atomic(device atomic_uint* x [[buffer(0)]],
                                      uint g [[thread_position_in_grid]]) {
  atomic_fetch_add_explicit(x, 1u, memory_order_relaxed);
  if (g == 40) ((device uint*)x)[1] = atomic_load_explicit(x, memory_order_relaxed);
}
kernel void loop_without_second_barrier(device float* x [[buffer(0)]],
                                        uint i [[thread_index_in_threadgroup]],
                                        uint g [[thread_position_in_grid]]) {
  threadgroup float s[64];
  float sum = 0;
  for (uint k = 0; k < 2; ++k) {
    s[i] = k;  // expect: data race
    threadgroup_barrier(mem_flags::mem_threadgroup);
    sum += s[63 - i];
  }
  x[g] = sum;
}
kernel void fixed_loop(device float* x [[buffer(0)]], uint i [[thread_index_in_threadgroup]],
                       uint g [[thread_position_in_grid]]) {
  threadgroup float s[64];
  float sum = 0;
  for (uint k = 0; k < 2; ++k) {
    s[i] = k;
    threadgroup_barrier(mem_flags::mem_threadgroup);
    sum += s[63 - i];
    threadgroup_barrier(mem_flags::mem_threadgroup);
  }
  x[g] = sum;
}
kernel void shuffle_is_no_barrier(device float* x [[buffer(0)]],
                                  uint i [[thread_index_in_threadgroup]],
                                  uint g [[thread_position_in_grid]]) {
  threadgroup float s[64];
  s[i] = simd_sum(float(i));
  const float other = simd_shuffle_xor(1.0f, 1);
  x[g] = other + s[i ^ 1];  // expect: data race
}

// ---- Barriers -----------------------------------------------------------------------------------
kernel void barrier_in_branch(device float* x [[buffer(0)]], uint i [[thread_index_in_threadgroup]],
                              uint g [[thread_position_in_grid]]) {
  if (i < 40) threadgroup_barrier(mem_flags::mem_threadgroup);  // expect: divergent threadgroup_barrier
  x[g] = 1;
}
kernel void barrier_after_return(device float* x [[buffer(0)]],
                                 uint g [[thread_position_in_grid]]) {
  if (g >= 100) return;
  threadgroup_barrier(mem_flags::mem_threadgroup);  // expect: divergent threadgroup_barrier
  x[g] = 1;
}
kernel void two_barriers(device float* x [[buffer(0)]], uint i [[thread_index_in_threadgroup]],
                         uint g [[thread_position_in_grid]]) {
  if (i < 32) {
    x[g] = 1;
    threadgroup_barrier(mem_flags::mem_threadgroup);  // expect: divergent threadgroup_barrier
  } else {
    threadgroup_barrier(mem_flags::mem_device);
    x[g] = 2;
  }
}
kernel void simdgroup_barrier_in_branch(device float* x [[buffer(0)]],
                                        uint i [[thread_index_in_threadgroup]],
                                        uint g [[thread_position_in_grid]]) {
  if (i % 2 == 0) simdgroup_barrier(mem_flags::mem_device);  // expect: divergent simdgroup_barrier
  x[g] = 1;
}
// A simdgroup of a threadgroup may go its own way.
kernel void fixed_simdgroup_barrier_in_branch(device float* x [[buffer(0)]],
                                              uint i [[thread_index_in_threadgroup]],
                                              uint g [[thread_position_in_grid]]) {
  if (i < 32) simdgroup_barrier(mem_flags::mem_device);
  x[g] = 1;
}
