// Vectors, and what the translator makes of their constructors, which OpenCL lacks:
// float4(a, b, c, d) becomes msl::make<float4>(a, b, c, d).
#pragma once

namespace metal {

template <class T, int N>
using vec = T __attribute__((ext_vector_type(N)));

template <class V>
struct vector_traits {
  using element = V;
  static constexpr constant int size = 0;  // a scalar
};
template <class T, int N>
struct vector_traits<T __attribute__((ext_vector_type(N)))> {
  using element = T;
  static constexpr constant int size = N;
};
template <class V>
using element_t = typename vector_traits<V>::element;
template <class V>
inline constexpr constant int size_v = vector_traits<V>::size;

// Apple's own name for it.
template <class V>
struct vec_elements : integral_constant<int, size_v<V> ? size_v<V> : 1> {};

// bool2, bool3, bool4: OpenCL compares vectors to vectors of -1 and 0, which convert to these.
template <int N>
struct bool_vector;
#define MSL_BOOL_VECTOR(N, ...)                                          \
  template <>                                                            \
  struct bool_vector<N> {                                                \
    bool __VA_ARGS__;                                                    \
    bool_vector() = default;                                             \
    template <class B, class = enable_if_t<is_same_v<B, bool>>>          \
    MSL_INLINE bool_vector(B b) {                                        \
      for (int i = 0; i < N; ++i) (&x)[i] = b;                           \
    }                                                                    \
    template <class T>                                                   \
    MSL_INLINE bool_vector(vec<T, N> v) {                                \
      for (int i = 0; i < N; ++i) (&x)[i] = v[i] != (T)0;                \
    }                                                                    \
    MSL_INLINE thread bool& operator[](int i) thread { return (&x)[i]; } \
    MSL_INLINE bool operator[](int i) const thread { return (&x)[i]; }   \
    MSL_INLINE bool operator[](int i) const { return (&x)[i]; }          \
  };                                                                     \
  template <>                                                            \
  struct vector_traits<bool_vector<N>> {                                 \
    using element = bool;                                                \
    static constexpr constant int size = N;                              \
  };                                                                     \
  using bool##N = bool_vector<N>;
MSL_BOOL_VECTOR(2, x, y)
MSL_BOOL_VECTOR(3, x, y, z)
MSL_BOOL_VECTOR(4, x, y, z, w)
#undef MSL_BOOL_VECTOR

#define MSL_BOOL_OPERATOR(OP)                                                                  \
  template <int N>                                                                             \
  MSL_INLINE bool_vector<N> operator OP(bool_vector<N> a, type_identity_t<bool_vector<N>> b) { \
    bool_vector<N> r;                                                                          \
    for (int i = 0; i < N; ++i) r[i] = bool(a[i] OP b[i]);                                     \
    return r;                                                                                  \
  }
MSL_BOOL_OPERATOR(&&)
MSL_BOOL_OPERATOR(||)
MSL_BOOL_OPERATOR(&)
MSL_BOOL_OPERATOR(|)
MSL_BOOL_OPERATOR(^)
MSL_BOOL_OPERATOR(==)
MSL_BOOL_OPERATOR(!=)
#undef MSL_BOOL_OPERATOR
template <int N>
MSL_INLINE bool_vector<N> operator!(bool_vector<N> a) {
  for (int i = 0; i < N; ++i) a[i] = !a[i];
  return a;
}

// A packed vector of three is as long as its elements; of two and four it is a vector aligned less.
template <class T>
struct packed3 {
  T x, y, z;
  packed3() = default;
  template <class A>
  MSL_INLINE packed3(vec<A, 3> v) : x(v.x), y(v.y), z(v.z) {}
  template <class A, class = enable_if_t<is_arithmetic_v<A>>>
  MSL_INLINE explicit packed3(A a) : x(a), y(a), z(a) {}
  MSL_INLINE packed3(T a, T b, T c) : x(a), y(b), z(c) {}
  packed3(const packed3&) = default;
  // Out of constant memory; a template, so that it stays trivially copyable.
  template <class P, class = enable_if_t<is_same_v<P, packed3>>>
  MSL_INLINE packed3(const __constant P& v) : x(v.x), y(v.y), z(v.z) {}
  packed3& operator=(const packed3&) = default;
  MSL_INLINE operator vec<T, 3>() const { return {x, y, z}; }
  MSL_INLINE operator vec<T, 3>() const __constant { return {x, y, z}; }
#define MSL_INDEX(SPACE)                                          \
  MSL_INLINE SPACE T& operator[](int i) SPACE { return (&x)[i]; } \
  MSL_INLINE const SPACE T& operator[](int i) const SPACE { return (&x)[i]; }
  MSL_INDEX(__private)
  MSL_INDEX(__global)
  MSL_INDEX(__local)
#undef MSL_INDEX
  MSL_INLINE const __constant T& operator[](int i) const __constant { return (&x)[i]; }
};
template <class T>
struct vector_traits<packed3<T>> {
  using element = T;
  static constexpr constant int size = 3;
};

#define MSL_PACKED_OPERATOR(OP)                                  \
  template <class T, class B>                                    \
  MSL_INLINE vec<T, 3> operator OP(packed3<T> a, B b) {          \
    return (vec<T, 3>)a OP b;                                    \
  }                                                              \
  template <class T, class A>                                    \
  MSL_INLINE vec<T, 3> operator OP(A a, packed3<T> b) {          \
    return a OP(vec<T, 3>) b;                                    \
  }                                                              \
  template <class T>                                             \
  MSL_INLINE vec<T, 3> operator OP(packed3<T> a, packed3<T> b) { \
    return (vec<T, 3>)a OP(vec<T, 3>) b;                         \
  }
MSL_PACKED_OPERATOR(+)
MSL_PACKED_OPERATOR(-)
MSL_PACKED_OPERATOR(*)
MSL_PACKED_OPERATOR(/)
#undef MSL_PACKED_OPERATOR

#define MSL_VECTORS(T)                                                             \
  using T##2 = vec<T, 2>;                                                          \
  using T##3 = vec<T, 3>;                                                          \
  using T##4 = vec<T, 4>;                                                          \
  typedef T packed_##T##2 __attribute__((ext_vector_type(2), aligned(sizeof(T)))); \
  typedef packed3<T> packed_##T##3;                                                \
  typedef T packed_##T##4 __attribute__((ext_vector_type(4), aligned(sizeof(T))));
#define MSL_FOR_ELEMENTS(M) \
  M(char)                   \
  M(uchar) M(short) M(ushort) M(int) M(uint) M(long) M(ulong) M(half) M(float) M(bfloat)
MSL_FOR_ELEMENTS(MSL_VECTORS)
#undef MSL_VECTORS

template <class T, size_t N>
struct array {
  T elements[N ? N : 1];
#define MSL_INDEX(SPACE)                                                           \
  MSL_INLINE constexpr SPACE T& operator[](size_t i) SPACE { return elements[i]; } \
  MSL_INLINE constexpr const SPACE T& operator[](size_t i) const SPACE { return elements[i]; }
  MSL_INDEX(__private)
  MSL_INDEX(__global)
  MSL_INDEX(__local)
#undef MSL_INDEX
  MSL_INLINE constexpr const __constant T& operator[](size_t i) const __constant {
    return elements[i];
  }
  MSL_INLINE constexpr size_t size() const { return N; }
  MSL_INLINE constexpr size_t size() const __constant { return N; }
};

template <class T>
using uniform = T;
template <class T>
MSL_INLINE constexpr T make_uniform(T x) {
  return x;
}

// A function of scalars on vectors, element by element.
#define MSL_LIFT1(F)                            \
  template <class T, int N>                     \
  MSL_INLINE auto F(vec<T, N> a) {              \
    vec<decltype(F(a[0])), N> r;                \
    for (int i = 0; i < N; ++i) r[i] = F(a[i]); \
    return r;                                   \
  }
#define MSL_LIFT2(F)                                                          \
  template <class T, int N>                                                   \
  MSL_INLINE vec<T, N> F(vec<T, N> a, type_identity_t<vec<T, N>> b) {         \
    vec<T, N> r;                                                              \
    for (int i = 0; i < N; ++i) r[i] = F(a[i], b[i]);                         \
    return r;                                                                 \
  }                                                                           \
  template <class S, class T, int N>                                          \
  MSL_INLINE enable_if_t<is_arithmetic_v<S>, vec<T, N>> F(S a, vec<T, N> b) { \
    return F((vec<T, N>)(T)a, b);                                             \
  }
#define MSL_LIFT3(F)                                                \
  template <class T, int N>                                         \
  MSL_INLINE vec<T, N> F(vec<T, N> a, type_identity_t<vec<T, N>> b, \
                         type_identity_t<vec<T, N>> c) {            \
    vec<T, N> r;                                                    \
    for (int i = 0; i < N; ++i) r[i] = F(a[i], b[i], c[i]);         \
    return r;                                                       \
  }

}  // namespace metal

template <class To, class From>
MSL_INLINE constexpr To as_type(From x) {
  static_assert(sizeof(To) == sizeof(From), "as_type needs types of the same size");
  return __builtin_bit_cast(To, x);
}

namespace metal {
using ::as_type;
}

// Names of vectors are global, with and without `using namespace metal`.
#define MSL_GLOBAL(T)         \
  using metal::T##2;          \
  using metal::T##3;          \
  using metal::T##4;          \
  using metal::packed_##T##2; \
  using metal::packed_##T##3; \
  using metal::packed_##T##4;
MSL_FOR_ELEMENTS(MSL_GLOBAL)
#undef MSL_GLOBAL
#undef MSL_FOR_ELEMENTS
using metal::bool2;
using metal::bool3;
using metal::bool4;

namespace msl {

template <class To, class From>
MSL_INLINE constexpr To cast(From x) {
  using metal::is_same_v;
  if constexpr (metal::size_v<To> > 0 && metal::size_v<From> == metal::size_v<To> &&
                !is_same_v<To, From>) {
    To r;
    for (int i = 0; i < metal::size_v<To>; ++i) r[i] = cast<metal::element_t<To>>(x[i]);
    return r;
  } else if constexpr ((is_same_v<To, half> && is_same_v<From, bfloat>) ||
                       (is_same_v<To, bfloat> && is_same_v<From, half>)) {
    return static_cast<To>(static_cast<float>(x));
  } else {
    return (To)x;
  }
}

template <class V, class A>
MSL_INLINE constexpr void append(thread V& v, thread int& n, A a) {
  using E = metal::element_t<V>;
  if constexpr (metal::size_v<A> == 0)
    v[n++] = cast<E>(a);
  else
    for (int i = 0; i < metal::size_v<A>; ++i) v[n++] = cast<E>(a[i]);
}

template <class A>
inline constexpr constant int elements_v = metal::size_v<A> ? metal::size_v<A> : 1;

// V(a, b, ...): one scalar is for every element.
template <class V, class... A>
MSL_INLINE constexpr V make(A... a) {
  constexpr int given = (elements_v<A> + ... + 0), size = metal::size_v<V>;
  V v{};
  int n = 0;
  (append(v, n, a), ...);
  if constexpr (given == 1)
    for (; n < size; ++n) v[n] = v[0];
  else
    static_assert(given == 0 || given == size, "wrong number of elements for a vector");
  return v;
}
// V{a, b, ...}: elements that are not given are zero. V may turn out to be no vector.
template <class V, class... A>
MSL_INLINE constexpr V make_list(A... a) {
  if constexpr (metal::size_v<V> == 0) {
    return V{a...};
  } else {
    static_assert((elements_v<A> + ... + 0) <= metal::size_v<V>, "too many elements for a vector");
    V v{};
    int n = 0;
    (append(v, n, a), ...);
    return v;
  }
}
// T(a, b, ...) of a type that may be a vector.
template <class T, class... A>
MSL_INLINE constexpr T construct(A... a) {
  if constexpr (metal::size_v<T> > 0)
    return make<T>(a...);
  else if constexpr (sizeof...(A) == 1)
    return cast<T>(a...);
  else
    return T(a...);
}

// vector * scalar, where the scalar's type has the greater rank: it is converted to an element,
// which OpenCL refuses to do. The translator writes vector * msl::narrow() * scalar.
struct narrow {
  template <class B>
  struct assigned {
    B value;
  };
  template <class B>
  MSL_INLINE assigned<B> operator=(B b) const {
    return {b};
  }
};
template <class A>
struct narrowed {
  A value;
};
template <class To, class From>
MSL_INLINE auto as_element(From x) {
  if constexpr (metal::size_v<To> > 0 && metal::size_v<From> == 0)
    return cast<metal::element_t<To>>(x);
  else
    return x;
}
// An operand of ?: beside another of type T.
template <class T, class A>
MSL_INLINE auto alike(A x) {
  using V = metal::decay_t<T>;
  if constexpr (metal::size_v<V> > 0 && metal::size_v<A> == 0)
    return make<V>(x);
  else
    return x;
}
#define MSL_NARROW(OP)                                 \
  template <class A>                                   \
  MSL_INLINE narrowed<A> operator OP(A a, narrow) {    \
    return {a};                                        \
  }                                                    \
  template <class A, class B>                          \
  MSL_INLINE auto operator OP(narrowed<A> a, B b) {    \
    return as_element<B>(a.value) OP as_element<A>(b); \
  }
#define MSL_NARROW_ASSIGNED(SPACE, OP)                             \
  template <class A, class B>                                      \
  MSL_INLINE void operator OP(SPACE A& a, narrow::assigned<B> b) { \
    a OP as_element<A>(b.value);                                   \
  }
#define MSL_NARROW_BOTH(OP)           \
  MSL_NARROW(OP)                      \
  MSL_NARROW_ASSIGNED(thread, OP## =) \
  MSL_NARROW_ASSIGNED(device, OP## =) \
  MSL_NARROW_ASSIGNED(threadgroup, OP## =)
// clang-format off
MSL_NARROW_BOTH(+) MSL_NARROW_BOTH(-) MSL_NARROW_BOTH(*) MSL_NARROW_BOTH(/) MSL_NARROW_BOTH(%)
MSL_NARROW_BOTH(&) MSL_NARROW_BOTH(|) MSL_NARROW_BOTH(^) MSL_NARROW_BOTH(<<) MSL_NARROW_BOTH(>>)
MSL_NARROW(<) MSL_NARROW(>) MSL_NARROW(<=) MSL_NARROW(>=) MSL_NARROW(==) MSL_NARROW(!=)
// clang-format on
#undef MSL_NARROW_BOTH
#undef MSL_NARROW_ASSIGNED
#undef MSL_NARROW

    // A braced list as an argument: becomes the vector or class that the parameter asks for.
    template <class A, class B, class C = void, class D = void>
    struct list;
#define MSL_LIST(N, ...)                                                                 \
  template <class T, class = metal::enable_if_t<metal::size_v<T> == N || __is_class(T)>> \
  MSL_INLINE operator T() const {                                                        \
    if constexpr (metal::size_v<T> == N)                                                 \
      return make_list<T>(__VA_ARGS__);                                                  \
    else                                                                                 \
      return T{__VA_ARGS__};                                                             \
  }
template <class A, class B>
struct list<A, B> {
  A a;
  B b;
  MSL_LIST(2, a, b)
};
template <class A, class B, class C>
struct list<A, B, C> {
  A a;
  B b;
  C c;
  MSL_LIST(3, a, b, c)
};
template <class A, class B, class C, class D>
struct list {
  A a;
  B b;
  C c;
  D d;
  MSL_LIST(4, a, b, c, d)
};
#undef MSL_LIST
template <class A, class B>
list(A, B) -> list<A, B>;
template <class A, class B, class C>
list(A, B, C) -> list<A, B, C>;
template <class A, class B, class C, class D>
list(A, B, C, D) -> list<A, B, C, D>;

// `S copy = original;` of a struct: OpenCL has no copy out of the constant address space.
template <class S>
MSL_INLINE constexpr S copy(const __constant S& s) {
  return __builtin_bit_cast(S, s);
}
template <class S>
MSL_INLINE constexpr S copy(const S& s) {
  return s;
}

}  // namespace msl
