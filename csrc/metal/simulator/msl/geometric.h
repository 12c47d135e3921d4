// <metal_geometric> and <metal_matrix>.
#pragma once

namespace metal {

template <class T, int N>
MSL_INLINE T dot(vec<T, N> x, vec<T, N> y) {
  T sum = x[0] * y[0];
  for (int i = 1; i < N; ++i) sum += x[i] * y[i];
  return sum;
}
template <class T>
MSL_INLINE vec<T, 3> cross(vec<T, 3> x, vec<T, 3> y) {
  return x.yzx * y.zxy - x.zxy * y.yzx;
}
template <class T, int N>
MSL_INLINE T length_squared(vec<T, N> x) {
  return dot(x, x);
}
template <class T, int N>
MSL_INLINE T length(vec<T, N> x) {
  return sqrt(dot(x, x));
}
template <class T, int N>
MSL_INLINE T distance_squared(vec<T, N> x, vec<T, N> y) {
  return length_squared(x - y);
}
template <class T, int N>
MSL_INLINE T distance(vec<T, N> x, vec<T, N> y) {
  return length(x - y);
}
template <class T, int N>
MSL_INLINE vec<T, N> normalize(vec<T, N> x) {
  return x * rsqrt(dot(x, x));
}
template <class T, int N>
MSL_INLINE vec<T, N> faceforward(vec<T, N> normal, vec<T, N> incident, vec<T, N> reference) {
  return dot(reference, incident) < (T)0 ? normal : -normal;
}
template <class T, int N>
MSL_INLINE vec<T, N> reflect(vec<T, N> incident, vec<T, N> normal) {
  return incident - (T)2 * dot(normal, incident) * normal;
}
template <class T, int N>
MSL_INLINE vec<T, N> refract(vec<T, N> incident, vec<T, N> normal, T eta) {
  const T d = dot(normal, incident), k = (T)1 - eta * eta * ((T)1 - d * d);
  return k < (T)0 ? (vec<T, N>)(T)0 : eta * incident - (eta * d + sqrt(k)) * normal;
}

// A matrix is an array of columns.
template <class T, int C, int R>
struct matrix {
  vec<T, R> columns[C];
  matrix() = default;
  MSL_INLINE explicit matrix(T diagonal) {
    for (int c = 0; c < C; ++c)
      for (int r = 0; r < R; ++r) columns[c][r] = c == r ? diagonal : (T)0;
  }
  matrix(const matrix&) = default;
  matrix& operator=(const matrix&) = default;
  // Out of constant memory; a template, so that it stays trivially copyable.
  template <class M, class = enable_if_t<is_same_v<M, matrix>>>
  MSL_INLINE matrix(const __constant M& m) {
    for (int c = 0; c < C; ++c) columns[c] = m.columns[c];
  }
  template <class U, class = enable_if_t<!is_same_v<U, T>>>
  MSL_INLINE explicit matrix(matrix<U, C, R> m) {
    for (int c = 0; c < C; ++c)
      for (int r = 0; r < R; ++r) columns[c][r] = (T)m.columns[c][r];
  }
  template <class... V, class = enable_if_t<sizeof...(V) == C && C != 1>>
  MSL_INLINE matrix(V... v) : columns{v...} {}
#define MSL_INDEX(SPACE)                                                     \
  MSL_INLINE SPACE vec<T, R>& operator[](int c) SPACE { return columns[c]; } \
  MSL_INLINE const SPACE vec<T, R>& operator[](int c) const SPACE { return columns[c]; }
  MSL_INDEX(__private)
  MSL_INDEX(__global)
  MSL_INDEX(__local)
#undef MSL_INDEX
  MSL_INLINE const __constant vec<T, R>& operator[](int c) const __constant { return columns[c]; }
};
#define MSL_MATRICES(T)           \
  using T##2x2 = matrix<T, 2, 2>; \
  using T##2x3 = matrix<T, 2, 3>; \
  using T##2x4 = matrix<T, 2, 4>; \
  using T##3x2 = matrix<T, 3, 2>; \
  using T##3x3 = matrix<T, 3, 3>; \
  using T##3x4 = matrix<T, 3, 4>; \
  using T##4x2 = matrix<T, 4, 2>; \
  using T##4x3 = matrix<T, 4, 3>; \
  using T##4x4 = matrix<T, 4, 4>;
MSL_MATRICES(float)
MSL_MATRICES(half)
#undef MSL_MATRICES

template <class T, int C, int R>
MSL_INLINE vec<T, R> operator*(matrix<T, C, R> m, type_identity_t<vec<T, C>> v) {
  vec<T, R> sum = m.columns[0] * (T)v[0];
  for (int c = 1; c < C; ++c) sum += m.columns[c] * (T)v[c];
  return sum;
}
template <class T, int C, int R>
MSL_INLINE vec<T, C> operator*(type_identity_t<vec<T, R>> v, matrix<T, C, R> m) {
  vec<T, C> r;
  for (int c = 0; c < C; ++c) r[c] = dot(v, m.columns[c]);
  return r;
}
template <class T, int K, int C, int R>
MSL_INLINE matrix<T, C, R> operator*(matrix<T, K, R> a, matrix<T, C, K> b) {
  matrix<T, C, R> r;
  for (int c = 0; c < C; ++c) r.columns[c] = a * b.columns[c];
  return r;
}
template <class T, int C, int R>
MSL_INLINE matrix<T, C, R> operator*(matrix<T, C, R> m, type_identity_t<T> s) {
  for (int c = 0; c < C; ++c) m.columns[c] *= s;
  return m;
}
template <class T, int C, int R>
MSL_INLINE matrix<T, C, R> operator*(type_identity_t<T> s, matrix<T, C, R> m) {
  return m * s;
}
template <class T, int C, int R>
MSL_INLINE matrix<T, C, R> operator+(matrix<T, C, R> a, matrix<T, C, R> b) {
  for (int c = 0; c < C; ++c) a.columns[c] += b.columns[c];
  return a;
}
template <class T, int C, int R>
MSL_INLINE matrix<T, C, R> operator-(matrix<T, C, R> a, matrix<T, C, R> b) {
  for (int c = 0; c < C; ++c) a.columns[c] -= b.columns[c];
  return a;
}
template <class T, int C, int R>
MSL_INLINE matrix<T, R, C> transpose(matrix<T, C, R> m) {
  matrix<T, R, C> t;
  for (int c = 0; c < C; ++c)
    for (int r = 0; r < R; ++r) t.columns[r][c] = m.columns[c][r];
  return t;
}
template <class T>
MSL_INLINE T determinant(matrix<T, 2, 2> m) {
  return m.columns[0].x * m.columns[1].y - m.columns[1].x * m.columns[0].y;
}
template <class T>
MSL_INLINE T determinant(matrix<T, 3, 3> m) {
  return dot(m.columns[0], cross(m.columns[1], m.columns[2]));
}
template <class T>
MSL_INLINE T determinant(matrix<T, 4, 4> m) {
  T sum = 0;
  for (int c = 0; c < 4; ++c) {  // along the first row
    matrix<T, 3, 3> minor;
    for (int i = 0; i < 3; ++i) minor.columns[i] = m.columns[i < c ? i : i + 1].yzw;
    sum += (c % 2 ? -m.columns[c].x : m.columns[c].x) * determinant(minor);
  }
  return sum;
}

}  // namespace metal

// <simd/simd.h>, and names that are global with and without `using namespace metal`.
#define MSL_MATRIX(T, SIZE) \
  using metal::T##SIZE;     \
  namespace simd {          \
  using ::metal::T##SIZE;   \
  }                         \
  typedef metal::T##SIZE matrix_##T##SIZE, simd_##T##SIZE;
#define MSL_MATRICES(T) \
  MSL_MATRIX(T, 2x2)    \
  MSL_MATRIX(T, 2x3)    \
  MSL_MATRIX(T, 2x4)    \
  MSL_MATRIX(T, 3x2)    \
  MSL_MATRIX(T, 3x3)    \
  MSL_MATRIX(T, 3x4) MSL_MATRIX(T, 4x2) MSL_MATRIX(T, 4x3) MSL_MATRIX(T, 4x4)
MSL_MATRICES(float)
MSL_MATRICES(half)
#undef MSL_MATRICES
#undef MSL_MATRIX
#define MSL_SIMD_VECTOR(T, N) \
  namespace simd {            \
  using ::metal::T##N;        \
  }                           \
  typedef metal::T##N simd_##T##N, vector_##T##N;
#define MSL_SIMD(T) MSL_SIMD_VECTOR(T, 2) MSL_SIMD_VECTOR(T, 3) MSL_SIMD_VECTOR(T, 4)
// clang-format off
MSL_SIMD(char) MSL_SIMD(uchar) MSL_SIMD(short) MSL_SIMD(ushort) MSL_SIMD(int) MSL_SIMD(uint)
MSL_SIMD(long) MSL_SIMD(ulong) MSL_SIMD(half) MSL_SIMD(float)
// clang-format on
#undef MSL_SIMD
#undef MSL_SIMD_VECTOR
