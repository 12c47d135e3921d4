// <metal_atomic>. The simulator runs one thread at a time and switches only at barriers and
// simdgroup functions, so plain accesses are atomic; the engine is told of them for its checks.
#pragma once

// OpenCL declares these names at global scope.
#define atomic_int msl_atomic_int
#define atomic_uint msl_atomic_uint
#define atomic_bool msl_atomic_bool
#define atomic_float msl_atomic_float
#define atomic_ulong msl_atomic_ulong
#define memory_order msl_memory_order
#define memory_order_relaxed msl_memory_order_relaxed

namespace metal {

// Metal 3.1 has no other order.
enum memory_order { memory_order_relaxed };

template <class T>
struct atomic {
  static_assert(is_same_v<T, int> || is_same_v<T, uint> || is_same_v<T, bool> ||
                    is_same_v<T, float> || is_same_v<T, ulong>,
                "atomic types are of int, uint, bool, float and ulong");
  T value;
};
using atomic_int = atomic<int>;
using atomic_uint = atomic<uint>;
using atomic_bool = atomic<bool>;
using atomic_float = atomic<float>;
using atomic_ulong = atomic<ulong>;

#define MSL_NOTE(WRITES) \
  cermet_runtime->atomic((ulong) & object->value, sizeof(T), WRITES, MSL_SITE)
#define MSL_CHECK(FLOATS)                                                                 \
  static_assert(!is_same_v<T, ulong>, "atomic_ulong has only atomic_min and atomic_max"); \
  static_assert(FLOATS || !is_same_v<T, float>, "atomic_float is for device memory only")
#define MSL_FETCH(SPACE, NAME, TYPES, RESULT)                                            \
  template <class T>                                                                     \
  MSL_OPERATION T atomic_fetch_##NAME##_explicit(volatile SPACE atomic<T>* object,       \
                                                 type_identity_t<T> y, memory_order) {   \
    static_assert(TYPES, "atomic_fetch_" #NAME "_explicit has no variant of this type"); \
    MSL_NOTE(2);                                                                         \
    const T x = object->value;                                                           \
    object->value = (T)(RESULT);                                                         \
    return x;                                                                            \
  }
#define MSL_WORD (is_same_v<T, int> || is_same_v<T, uint>)
#define MSL_ATOMICS(SPACE, FLOATS)                                                                \
  template <class T>                                                                              \
  MSL_OPERATION T atomic_load_explicit(const volatile SPACE atomic<T>* object, memory_order) {    \
    MSL_CHECK(FLOATS);                                                                            \
    MSL_NOTE(0);                                                                                  \
    return object->value;                                                                         \
  }                                                                                               \
  template <class T>                                                                              \
  MSL_OPERATION void atomic_store_explicit(volatile SPACE atomic<T>* object,                      \
                                           type_identity_t<T> desired, memory_order) {            \
    MSL_CHECK(FLOATS);                                                                            \
    MSL_NOTE(1);                                                                                  \
    object->value = desired;                                                                      \
  }                                                                                               \
  template <class T>                                                                              \
  MSL_OPERATION T atomic_exchange_explicit(volatile SPACE atomic<T>* object,                      \
                                           type_identity_t<T> desired, memory_order) {            \
    MSL_CHECK(FLOATS);                                                                            \
    MSL_NOTE(2);                                                                                  \
    const T old = object->value;                                                                  \
    object->value = desired;                                                                      \
    return old;                                                                                   \
  }                                                                                               \
  template <class T>                                                                              \
  MSL_OPERATION bool atomic_compare_exchange_weak_explicit(                                       \
      volatile SPACE atomic<T>* object, thread type_identity_t<T>* expected,                      \
      type_identity_t<T> desired, memory_order, memory_order) {                                   \
    MSL_CHECK(FLOATS);                                                                            \
    MSL_NOTE(2);                                                                                  \
    const T old = object->value;                                                                  \
    const bool same = as_type<make_unsigned_t<T>>(old) == as_type<make_unsigned_t<T>>(*expected); \
    if (same) object->value = desired;                                                            \
    *expected = old;                                                                              \
    return same;                                                                                  \
  }                                                                                               \
  MSL_FETCH(SPACE, add, MSL_WORD || (FLOATS && is_same_v<T, float>), x + y)                       \
  MSL_FETCH(SPACE, sub, MSL_WORD || (FLOATS && is_same_v<T, float>), x - y)                       \
  MSL_FETCH(SPACE, min, MSL_WORD, y < x ? y : x)                                                  \
  MSL_FETCH(SPACE, max, MSL_WORD, y > x ? y : x)                                                  \
  MSL_FETCH(SPACE, and, MSL_WORD, x& y)                                                           \
  MSL_FETCH(SPACE, or, MSL_WORD, x | y)                                                           \
  MSL_FETCH(SPACE, xor, MSL_WORD, x ^ y)
MSL_ATOMICS(device, true)
MSL_ATOMICS(threadgroup, false)
#undef MSL_ATOMICS
#undef MSL_FETCH
#undef MSL_CHECK

// 64 bits have no other operations.
#define MSL_64(NAME, OPERATOR)                                                               \
  MSL_OPERATION void atomic_##NAME##_explicit(volatile device atomic_ulong* object, ulong y, \
                                              memory_order) {                                \
    using T = ulong;                                                                         \
    MSL_NOTE(2);                                                                             \
    if (y OPERATOR object->value) object->value = y;                                         \
  }
MSL_64(min, <)
MSL_64(max, >)
#undef MSL_64
#undef MSL_NOTE
#undef MSL_WORD

}  // namespace metal
