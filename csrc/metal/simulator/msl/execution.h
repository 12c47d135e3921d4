// The running thread, threadgroup memory, barriers, and the exchange of values in a simdgroup: the
// kernel's side of runtime.h.
#pragma once

extern "C" {
MSL_EXPORT device cermet_runtime_table* device cermet_runtime;
MSL_EXPORT device cermet_thread* device cermet_current;
}

namespace msl {

// Stays the same while a thread runs.
MSL_OPERATION __attribute__((const)) uint lane() {
  return cermet_current->thread_index_in_simdgroup;
}

// Space in the memory of this threadgroup: what the translator makes of a threadgroup variable.
template <class T, int id>
MSL_OPERATION threadgroup T& threadgroup_variable() {
  return *(threadgroup T*)cermet_runtime->threadgroup_variable(id, sizeof(T), alignof(T),
                                                               __builtin_return_address(0));
}
// [[max_total_threads_per_threadgroup(limit)]].
MSL_OPERATION void max_threads(int limit) {
  cermet_runtime->max_threads(limit, __builtin_return_address(0));
}

// What every lane that takes part in a simdgroup operation brought.
template <class T>
struct Lanes {
  ulong base;
  uint active, lane;
  MSL_INLINE T operator[](uint i) const thread { return *(device const T*)(base + i * 64); }
  MSL_INLINE bool has(uint i) const thread { return active >> i & 1; }
  MSL_INLINE uint first() const thread { return __builtin_ctz(active); }
};
template <class T>
MSL_INLINE Lanes<T> exchange(T value, const void* site) {
  static_assert(sizeof(T) <= 64);
  device cermet_thread* current = cermet_current;
  const uint lane = current->thread_index_in_simdgroup;
  *(device T*)(current->exchange + lane * 64) = value;
  cermet_runtime->simd_sync(sizeof(T), site);
  return {current->published, current->active, lane};
}

}  // namespace msl

namespace metal {

enum class mem_flags {
  mem_none = 0,
  mem_device = 1,
  mem_threadgroup = 2,
  mem_texture = 4,
  mem_threadgroup_imageblock = 8
};
MSL_INLINE constexpr mem_flags operator|(mem_flags a, mem_flags b) {
  return (mem_flags)((int)a | (int)b);
}
MSL_INLINE constexpr mem_flags operator&(mem_flags a, mem_flags b) {
  return (mem_flags)((int)a & (int)b);
}

MSL_OPERATION void threadgroup_barrier(mem_flags flags) {
  cermet_runtime->threadgroup_barrier((int)flags, __builtin_return_address(0));
}
MSL_OPERATION void simdgroup_barrier(mem_flags flags) {
  cermet_runtime->simdgroup_barrier((int)flags, __builtin_return_address(0));
}

}  // namespace metal
