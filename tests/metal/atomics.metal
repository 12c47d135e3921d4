// Atomic operations on device and threadgroup memory.
#include <metal_stdlib>
using namespace metal;

kernel void all_operations(device atomic_int* a [[buffer(0)]], device atomic_uint* b [[buffer(1)]],
                           device atomic_float* c [[buffer(2)]], device int* old [[buffer(3)]],
                           uint i [[thread_position_in_grid]]) {
  const int v = int(i) - 10;
  old[i] = atomic_fetch_add_explicit(&a[0], 2, memory_order_relaxed);
  atomic_fetch_sub_explicit(&a[1], v, memory_order_relaxed);
  atomic_fetch_min_explicit(&a[2], v, memory_order_relaxed);
  atomic_fetch_max_explicit(&a[3], v, memory_order_relaxed);
  atomic_fetch_and_explicit(&b[0], ~(1u << (i % 32)), memory_order_relaxed);
  atomic_fetch_or_explicit(&b[1], 1u << (i % 32), memory_order_relaxed);
  atomic_fetch_xor_explicit(&b[2], i, memory_order_relaxed);
  atomic_fetch_max_explicit(&b[3], i, memory_order_relaxed);
  atomic_fetch_add_explicit(c, 0.5f, memory_order_relaxed);
  if (i == 7) atomic_store_explicit(&a[4], 42, memory_order_relaxed);
  if (i == 7) atomic_exchange_explicit(&a[5], atomic_load_explicit(&a[4], memory_order_relaxed),
                                       memory_order_relaxed);
}

// A product by compare and exchange.
kernel void compare_exchange(device atomic_uint* product [[buffer(0)]],
                             uint i [[thread_position_in_grid]]) {
  uint expected = atomic_load_explicit(product, memory_order_relaxed);
  while (!atomic_compare_exchange_weak_explicit(product, &expected, expected * (2 * i + 1),
                                                memory_order_relaxed, memory_order_relaxed)) {
  }
}

kernel void histogram(device const uint* x [[buffer(0)]], device uint* counts [[buffer(1)]],
                      uint i [[thread_index_in_threadgroup]], uint g [[thread_position_in_grid]],
                      uint group [[threadgroup_position_in_grid]]) {
  threadgroup atomic_uint bins[8];
  if (i < 8) atomic_store_explicit(&bins[i], 0u, memory_order_relaxed);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  atomic_fetch_add_explicit(&bins[x[g]], 1u, memory_order_relaxed);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  if (i < 8) counts[group * 8 + i] = atomic_load_explicit(&bins[i], memory_order_relaxed);
}
