// <metal_relational>.
#pragma once

namespace metal {

// A question about each element of a vector is answered by a vector of bools.
#define MSL_ASK(NAME, F)                           \
  MSL_INLINE bool NAME(float x) { return F; }      \
  MSL_INLINE bool NAME(half h) {                   \
    const float x = h;                             \
    return F;                                      \
  }                                                \
  template <class T, int N>                        \
  MSL_INLINE bool_vector<N> NAME(vec<T, N> v) {    \
    bool_vector<N> r;                              \
    for (int i = 0; i < N; ++i) r[i] = NAME(v[i]); \
    return r;                                      \
  }
MSL_ASK(isnan, __builtin_isnan(x))
MSL_ASK(isinf, __builtin_isinf(x))
MSL_ASK(isfinite, __builtin_isfinite(x))
MSL_ASK(isnormal, __builtin_isnormal(x))
MSL_ASK(signbit, (as_type<uint>(x) >> 31) != 0)
#undef MSL_ASK
#define MSL_ASK(NAME, F)                                     \
  MSL_INLINE bool NAME(float x, float y) { return F; }       \
  MSL_INLINE bool NAME(half x, half y) { return F; }         \
  template <class T, int N>                                  \
  MSL_INLINE bool_vector<N> NAME(vec<T, N> v, vec<T, N> w) { \
    bool_vector<N> r;                                        \
    for (int i = 0; i < N; ++i) r[i] = NAME(v[i], w[i]);     \
    return r;                                                \
  }
MSL_ASK(isordered, x == x && y == y)
MSL_ASK(isunordered, !(x == x && y == y))
#undef MSL_ASK

MSL_INLINE bool all(bool x) { return x; }
MSL_INLINE bool any(bool x) { return x; }
template <class V>
MSL_INLINE enable_if_t<(size_v<V> > 0), bool> all(V v) {
  bool r = true;
  for (int i = 0; i < size_v<V>; ++i) r = r && v[i];
  return r;
}
template <class V>
MSL_INLINE enable_if_t<(size_v<V> > 0), bool> any(V v) {
  bool r = false;
  for (int i = 0; i < size_v<V>; ++i) r = r || v[i];
  return r;
}

// Of each element: if_true where the condition holds.
template <class T>
MSL_INLINE T select(T if_false, type_identity_t<T> if_true, bool condition) {
  return condition ? if_true : if_false;
}
template <class T, int N>
MSL_INLINE vec<T, N> select(vec<T, N> if_false, type_identity_t<vec<T, N>> if_true,
                            bool_vector<N> condition) {
  for (int i = 0; i < N; ++i) if_false[i] = condition[i] ? if_true[i] : if_false[i];
  return if_false;
}
template <class T, class C, int N>
MSL_INLINE vec<T, N> select(vec<T, N> if_false, type_identity_t<vec<T, N>> if_true,
                            vec<C, N> condition) {
  return select(if_false, if_true, bool_vector<N>(condition));
}

}  // namespace metal
