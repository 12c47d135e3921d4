// How a kernel's arguments come from the engine: used by the entry points that the translator
// appends, one for each kernel.
#pragma once

namespace msl {

template <class F>
struct signature;
template <class R, class... P>
struct signature<R(P...)> {
  template <int i>
  using parameter = __type_pack_element<i, P...>;
};

template <class P>
struct bound;
template <class T>
struct bound<T*> {
  static MSL_INLINE T* at(ulong address) { return (T*)address; }
};
template <class T>
struct bound<T&> {
  static MSL_INLINE T& at(ulong address) { return *(T*)address; }
};
template <class P>
MSL_INLINE P buffer(ulong address) {
  return bound<P>::at(address);
}

// Positions and sizes come in one, two or three dimensions.
template <class V>
MSL_INLINE V coordinates(device const uint* xyz) {
  if constexpr (metal::size_v<V> == 0)
    return (V)xyz[0];
  else if constexpr (metal::size_v<V> == 2)
    return make<V>(xyz[0], xyz[1]);
  else
    return make<V>(xyz[0], xyz[1], xyz[2]);
}

#define MSL_COORDINATES(NAME, FIELD)              \
  template <class V>                              \
  MSL_INLINE V NAME() {                           \
    return coordinates<V>(cermet_current->FIELD); \
  }
MSL_COORDINATES(thread_position_in_grid, thread_position_in_grid)
MSL_COORDINATES(thread_position_in_threadgroup, thread_position_in_threadgroup)
MSL_COORDINATES(threadgroup_position_in_grid, threadgroup_position_in_grid)
MSL_COORDINATES(threads_per_grid, threads_per_grid)
MSL_COORDINATES(grid_size, threads_per_grid)
MSL_COORDINATES(threads_per_threadgroup, threads_per_threadgroup)
MSL_COORDINATES(threadgroups_per_grid, threadgroups_per_grid)
MSL_COORDINATES(dispatch_threads_per_threadgroup, dispatch_threads_per_threadgroup)
#undef MSL_COORDINATES
#define MSL_NUMBER(NAME, VALUE) \
  template <class V>            \
  MSL_INLINE V NAME() {         \
    return (V)(VALUE);          \
  }
MSL_NUMBER(thread_index_in_threadgroup, cermet_current->thread_index_in_threadgroup)
MSL_NUMBER(thread_index_in_simdgroup, cermet_current->thread_index_in_simdgroup)
MSL_NUMBER(simdgroup_index_in_threadgroup, cermet_current->simdgroup_index_in_threadgroup)
MSL_NUMBER(simdgroups_per_threadgroup, cermet_current->simdgroups_per_threadgroup)
MSL_NUMBER(dispatch_simdgroups_per_threadgroup,
           (cermet_current->dispatch_threads_per_threadgroup[0] *
                cermet_current->dispatch_threads_per_threadgroup[1] *
                cermet_current->dispatch_threads_per_threadgroup[2] +
            31) /
               32)
MSL_NUMBER(threads_per_simdgroup, 32)
MSL_NUMBER(thread_execution_width, 32)
MSL_NUMBER(thread_index_in_quadgroup, cermet_current->thread_index_in_threadgroup % 4)
MSL_NUMBER(quadgroup_index_in_threadgroup, cermet_current->thread_index_in_threadgroup / 4)
MSL_NUMBER(quadgroups_per_threadgroup, (cermet_current->threads_per_threadgroup[0] *
                                            cermet_current->threads_per_threadgroup[1] *
                                            cermet_current->threads_per_threadgroup[2] +
                                        3) /
                                           4)
#undef MSL_NUMBER

}  // namespace msl
