// Functions of simdgroups and quads. Each kernel writes one row of `out` for each function.
#include <metal_stdlib>
using namespace metal;

template <typename T>
[[kernel]] void reductions(device const T* x [[buffer(0)]], device T* out [[buffer(1)]],
                           uint i [[thread_position_in_grid]], uint n [[threads_per_grid]]) {
  const T v = x[i];
  out[0 * n + i] = simd_sum(v);
  out[1 * n + i] = simd_product(v);
  out[2 * n + i] = simd_min(v);
  out[3 * n + i] = simd_max(v);
  out[4 * n + i] = simd_prefix_inclusive_sum(v);
  out[5 * n + i] = simd_prefix_exclusive_sum(v);
  out[6 * n + i] = simd_prefix_inclusive_product(v);
  out[7 * n + i] = simd_prefix_exclusive_product(v);
  out[8 * n + i] = quad_sum(v);
  out[9 * n + i] = quad_product(v);
  out[10 * n + i] = quad_min(v);
  out[11 * n + i] = quad_max(v);
  out[12 * n + i] = quad_prefix_inclusive_sum(v);
  out[13 * n + i] = quad_prefix_exclusive_sum(v);
}
template [[host_name("reductions_float")]] [[kernel]] decltype(reductions<float>) reductions<float>;
template [[host_name("reductions_int")]] [[kernel]] decltype(reductions<int>) reductions<int>;
template [[host_name("reductions_uchar")]] [[kernel]] decltype(reductions<uchar>) reductions<uchar>;

kernel void bits(device const uint* x [[buffer(0)]], device uint* out [[buffer(1)]],
                 uint i [[thread_position_in_grid]], uint n [[threads_per_grid]]) {
  const uint v = x[i];
  out[0 * n + i] = simd_and(v);
  out[1 * n + i] = simd_or(v);
  out[2 * n + i] = simd_xor(v);
  out[3 * n + i] = quad_and(v);
  out[4 * n + i] = quad_or(v);
  out[5 * n + i] = quad_xor(v);
}

kernel void shuffles(device const half* x [[buffer(0)]], device half* out [[buffer(1)]],
                     uint i [[thread_position_in_grid]], uint n [[threads_per_grid]],
                     ushort lane [[thread_index_in_simdgroup]]) {
  const half v = x[i], filling = -v;
  out[0 * n + i] = simd_shuffle(v, ushort((lane * 7 + 3) % 32));
  out[1 * n + i] = simd_shuffle_xor(v, 5);
  out[2 * n + i] = simd_shuffle_down(v, 3);
  out[3 * n + i] = simd_shuffle_up(v, 3);
  out[4 * n + i] = simd_shuffle_rotate_down(v, 3);
  out[5 * n + i] = simd_shuffle_rotate_up(v, 3);
  out[6 * n + i] = simd_shuffle_and_fill_down(v, filling, 3);
  out[7 * n + i] = simd_shuffle_and_fill_up(v, filling, 3);
  out[8 * n + i] = simd_broadcast(v, 9);
  out[9 * n + i] = simd_broadcast_first(v);
  out[10 * n + i] = quad_shuffle_xor(v, 1);
  out[11 * n + i] = quad_shuffle_down(v, 1);
  out[12 * n + i] = quad_shuffle_up(v, 1);
  out[13 * n + i] = quad_broadcast(v, 2);
  const half4 w = simd_shuffle_xor(half4(v, 2 * v, 3 * v, 4 * v), 1);
  out[14 * n + i] = w.x + w.y + w.z + w.w;
}

kernel void votes(device const int* x [[buffer(0)]], device uint* out [[buffer(1)]],
                  uint i [[thread_position_in_grid]], uint n [[threads_per_grid]]) {
  const bool vote = x[i] != 0;
  out[0 * n + i] = uint(simd_vote::vote_t(simd_ballot(vote)));
  out[1 * n + i] = simd_all(vote);
  out[2 * n + i] = simd_any(vote);
  out[3 * n + i] = uint(simd_vote::vote_t(simd_active_threads_mask()));
  out[4 * n + i] = simd_is_first();
  out[5 * n + i] = quad_all(vote);
  out[6 * n + i] = quad_any(vote);
}

// Lanes that took another branch, left a loop or returned do not take part.
kernel void divergence(device uint* out [[buffer(0)]], uint lane [[thread_index_in_simdgroup]],
                       uint n [[threads_per_grid]]) {
  uint branch = 0;
  if (lane % 2 == 1) branch = simd_sum(lane);
  out[0 * n + lane] = branch;
  out[1 * n + lane] = simd_sum(1u);
  uint rounds = 0;
  for (uint k = 0; k < lane; ++k) rounds += simd_sum(1u);
  out[2 * n + lane] = rounds;
  out[3 * n + lane] = simd_max(branch);
  if (lane >= 20) return;
  out[4 * n + lane] = simd_sum(1u);
}
