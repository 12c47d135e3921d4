// <metal_simdgroup_matrix>: 8x8 matrices, two elements a lane. With q = lane / 4, a lane holds row
// (q & 4) + lane / 2 % 4, columns (q & 2) * 2 + lane % 2 * 2 and the next.
#pragma once

namespace msl {

MSL_INLINE constexpr uint matrix_row(uint lane) { return (lane / 4 & 4) + lane / 2 % 4; }
MSL_INLINE constexpr uint matrix_column(uint lane) { return (lane / 4 & 2) * 2 + lane % 2 * 2; }
MSL_INLINE constexpr uint matrix_lane(uint row, uint column) {
  return ((row & 4) | (column >> 1 & 2)) * 4 + (row & 3) * 2 + (column >> 1 & 1);
}

// Products are summed in float, in order of the inner index.
template <class D, class A, class B, class C>
MSL_OPERATION metal::vec<D, 2> multiply_accumulate(metal::vec<A, 2> a, metal::vec<B, 2> b,
                                                   metal::vec<C, 2> c) {
  struct Elements {
    float a[2], b[2];
  };
  auto lanes = exchange(Elements{{(float)a[0], (float)a[1]}, {(float)b[0], (float)b[1]}}, MSL_SITE);
  const uint row = matrix_row(lanes.lane), column = matrix_column(lanes.lane);
  float sum[2] = {(float)c[0], (float)c[1]};
  for (uint k = 0; k < 8; ++k) {
    const float x = lanes[matrix_lane(row, k)].a[k & 1];
    const Elements y = lanes[matrix_lane(k, column)];
    sum[0] = __builtin_fmaf(x, y.b[0], sum[0]);
    sum[1] = __builtin_fmaf(x, y.b[1], sum[1]);
  }
  if (lanes.lane == lanes.first()) cermet_runtime->count_macs(8 * 8 * 8);
  metal::vec<D, 2> r;
  r[0] = (D)sum[0];
  r[1] = (D)sum[1];
  return r;
}

}  // namespace msl

namespace metal {

template <class T, int Columns, int Rows>
struct simdgroup_matrix {
  static_assert(Columns == 8 && Rows == 8, "a simdgroup_matrix is 8x8");
  static_assert(is_floating_point_v<T>, "a simdgroup_matrix is of float, half or bfloat");
  using storage_type = vec<T, 2>;
  storage_type elements;
  simdgroup_matrix() = default;
  MSL_INLINE explicit simdgroup_matrix(T diagonal) {
    const uint row = msl::matrix_row(msl::lane()), column = msl::matrix_column(msl::lane());
    elements[0] = row == column ? diagonal : (T)0.0f;
    elements[1] = row == column + 1 ? diagonal : (T)0.0f;
  }
  MSL_INLINE thread storage_type& thread_elements() thread { return elements; }
};
using simdgroup_float8x8 = simdgroup_matrix<float, 8, 8>;
using simdgroup_half8x8 = simdgroup_matrix<half, 8, 8>;
using simdgroup_bfloat8x8 = simdgroup_matrix<bfloat, 8, 8>;

template <class T, int Columns, int Rows = Columns>
MSL_INLINE simdgroup_matrix<T, Columns, Rows> make_filled_simdgroup_matrix(T value) {
  simdgroup_matrix<T, Columns, Rows> m;
  m.elements[0] = m.elements[1] = value;
  return m;
}

#define MSL_LOAD_STORE(SPACE)                                                                 \
  template <class T>                                                                          \
  MSL_INLINE void simdgroup_load(thread simdgroup_matrix<T, 8, 8>& m, const SPACE T* source,  \
                                 ulong elements_per_row = 8, ulong2 origin = (ulong2)0,       \
                                 bool transposed = false) {                                   \
    const ulong row = msl::matrix_row(msl::lane()), column = msl::matrix_column(msl::lane()); \
    const SPACE T* p = source + origin.y * elements_per_row + origin.x;                       \
    const ulong next = transposed ? elements_per_row : 1;                                     \
    p += transposed ? column * elements_per_row + row : row * elements_per_row + column;      \
    m.elements[0] = p[0];                                                                     \
    m.elements[1] = p[next];                                                                  \
  }                                                                                           \
  template <class T>                                                                          \
  MSL_INLINE void simdgroup_store(simdgroup_matrix<T, 8, 8> m, SPACE T* destination,          \
                                  ulong elements_per_row = 8, ulong2 origin = (ulong2)0,      \
                                  bool transposed = false) {                                  \
    const ulong row = msl::matrix_row(msl::lane()), column = msl::matrix_column(msl::lane()); \
    SPACE T* p = destination + origin.y * elements_per_row + origin.x;                        \
    const ulong next = transposed ? elements_per_row : 1;                                     \
    p += transposed ? column * elements_per_row + row : row * elements_per_row + column;      \
    p[0] = m.elements[0];                                                                     \
    p[next] = m.elements[1];                                                                  \
  }
MSL_LOAD_STORE(device)
MSL_LOAD_STORE(threadgroup)
#undef MSL_LOAD_STORE

template <class D, class A, class B, class C>
MSL_INLINE void simdgroup_multiply_accumulate(thread simdgroup_matrix<D, 8, 8>& d,
                                              simdgroup_matrix<A, 8, 8> a,
                                              simdgroup_matrix<B, 8, 8> b,
                                              simdgroup_matrix<C, 8, 8> c) {
  d.elements = msl::multiply_accumulate<D, A, B, C>(a.elements, b.elements, c.elements);
}
template <class D, class A, class B>
MSL_INLINE void simdgroup_multiply(thread simdgroup_matrix<D, 8, 8>& d, simdgroup_matrix<A, 8, 8> a,
                                   simdgroup_matrix<B, 8, 8> b) {
  d.elements = msl::multiply_accumulate<D, A, B, float>(a.elements, b.elements, (float2)0.0f);
}
template <class T>
MSL_INLINE simdgroup_matrix<T, 8, 8> operator*(simdgroup_matrix<T, 8, 8> a,
                                               simdgroup_matrix<T, 8, 8> b) {
  simdgroup_matrix<T, 8, 8> d;
  simdgroup_multiply(d, a, b);
  return d;
}

}  // namespace metal
