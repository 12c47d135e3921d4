// <metal_integer>.
#pragma once

namespace msl {

template <class T>
inline constexpr constant int bits_v = (int)sizeof(T) * 8;
template <class T>
using unsigned_t = metal::make_unsigned_t<T>;
// A type that holds any sum or product of two T.
template <class T>
using wide_t =
    metal::conditional_t<sizeof(T) == 8,
                         metal::conditional_t<metal::is_signed_v<T>, __int128, unsigned __int128>,
                         metal::conditional_t<metal::is_signed_v<T>, long, ulong>>;

template <class T>
MSL_INLINE T saturated(wide_t<T> x) {
  using L = metal::numeric_limits<T>;
  return x<(wide_t<T>)L::min() ? L::min() : x>(wide_t<T>) L::max() ? L::max() : (T)x;
}

}  // namespace msl

namespace metal {

#define MSL_INTEGER(T)                                                                            \
  MSL_INLINE constexpr T min(T x, T y) { return y < x ? y : x; }                                  \
  MSL_INLINE constexpr T max(T x, T y) { return x < y ? y : x; }                                  \
  MSL_INLINE constexpr T clamp(T x, T low, T high) { return min(max(x, low), high); }             \
  MSL_INLINE constexpr T min3(T x, T y, T z) { return min(x, min(y, z)); }                        \
  MSL_INLINE constexpr T max3(T x, T y, T z) { return max(x, max(y, z)); }                        \
  MSL_INLINE constexpr T median3(T x, T y, T z) { return max(min(x, y), min(max(x, y), z)); }     \
  MSL_INLINE constexpr T abs(T x) {                                                               \
    return is_signed_v<T> && x < (T)0 ? (T)((msl::unsigned_t<T>)0 - (msl::unsigned_t<T>)x) : x;   \
  }                                                                                               \
  MSL_INLINE msl::unsigned_t<T> absdiff(T x, T y) {                                               \
    using U = msl::unsigned_t<T>;                                                                 \
    return x > y ? (U)((U)x - (U)y) : (U)((U)y - (U)x);                                           \
  }                                                                                               \
  MSL_INLINE T addsat(T x, T y) { return msl::saturated<T>((msl::wide_t<T>)x + y); }              \
  MSL_INLINE T subsat(T x, T y) {                                                                 \
    return is_signed_v<T> ? msl::saturated<T>((msl::wide_t<T>)x - y) : x < y ? (T)0 : (T)(x - y); \
  }                                                                                               \
  MSL_INLINE T hadd(T x, T y) { return (T)(((msl::wide_t<T>)x + y) >> 1); }                       \
  MSL_INLINE T rhadd(T x, T y) { return (T)(((msl::wide_t<T>)x + y + 1) >> 1); }                  \
  MSL_INLINE T mulhi(T x, T y) { return (T)(((msl::wide_t<T>)x * y) >> msl::bits_v<T>); }         \
  MSL_INLINE T madhi(T x, T y, T z) {                                                             \
    using U = msl::unsigned_t<T>;                                                                 \
    return (T)((U)mulhi(x, y) + (U)z);                                                            \
  }                                                                                               \
  MSL_INLINE T madsat(T x, T y, T z) { return msl::saturated<T>((msl::wide_t<T>)x * y + z); }     \
  MSL_INLINE T popcount(T x) { return (T)__builtin_popcountl((msl::unsigned_t<T>)x); }            \
  MSL_INLINE T clz(T x) {                                                                         \
    return x ? (T)(__builtin_clzl((msl::unsigned_t<T>)x) - (64 - msl::bits_v<T>))                 \
             : (T)msl::bits_v<T>;                                                                 \
  }                                                                                               \
  MSL_INLINE T ctz(T x) {                                                                         \
    return x ? (T)__builtin_ctzl((msl::unsigned_t<T>)x) : (T)msl::bits_v<T>;                      \
  }                                                                                               \
  MSL_INLINE T reverse_bits(T x) {                                                                \
    return (T)(__builtin_bitreverse64((msl::unsigned_t<T>)x) >> (64 - msl::bits_v<T>));           \
  }                                                                                               \
  MSL_INLINE T rotate(T x, T by) {                                                                \
    const auto u = (msl::unsigned_t<T>)x;                                                         \
    const uint n = (uint)by & (msl::bits_v<T> - 1);                                               \
    return n ? (T)(u << n | u >> (msl::bits_v<T> - n)) : x;                                       \
  }                                                                                               \
  MSL_INLINE T extract_bits(T x, uint offset, uint bits) {                                        \
    if (bits == 0) return (T)0;                                                                   \
    const T top = (T)((msl::unsigned_t<T>)x << (msl::bits_v<T> - offset - bits));                 \
    return (T)(top >> (msl::bits_v<T> - bits));                                                   \
  }                                                                                               \
  MSL_INLINE T insert_bits(T base, T insert, uint offset, uint bits) {                            \
    using U = msl::unsigned_t<T>;                                                                 \
    if (bits == 0) return base;                                                                   \
    const U mask = (U)((U) ~(U)0 >> (msl::bits_v<T> - bits) << offset);                           \
    return (T)(((U)base & (U)~mask) | ((U)((U)insert << offset) & mask));                         \
  }
MSL_FOR_INTEGERS(MSL_INTEGER)
#undef MSL_INTEGER

MSL_INLINE int mul24(int x, int y) { return x * y; }
MSL_INLINE uint mul24(uint x, uint y) { return x * y; }
MSL_INLINE int mad24(int x, int y, int z) { return x * y + z; }
MSL_INLINE uint mad24(uint x, uint y, uint z) { return x * y + z; }

// clang-format off
MSL_LIFT1(popcount) MSL_LIFT1(clz) MSL_LIFT1(ctz) MSL_LIFT1(reverse_bits) MSL_LIFT2(addsat)
MSL_LIFT2(subsat) MSL_LIFT2(hadd) MSL_LIFT2(rhadd) MSL_LIFT2(mulhi) MSL_LIFT2(rotate)
MSL_LIFT2(mul24) MSL_LIFT3(madhi) MSL_LIFT3(madsat) MSL_LIFT3(mad24)
    // clang-format on

    template <class T, int N>
    MSL_INLINE vec<msl::unsigned_t<T>, N> absdiff(vec<T, N> x, vec<T, N> y) {
  vec<msl::unsigned_t<T>, N> r;
  for (int i = 0; i < N; ++i) r[i] = absdiff(x[i], y[i]);
  return r;
}
template <class T, int N>
MSL_INLINE vec<T, N> extract_bits(vec<T, N> x, uint offset, uint bits) {
  for (int i = 0; i < N; ++i) x[i] = extract_bits(x[i], offset, bits);
  return x;
}
template <class T, int N>
MSL_INLINE vec<T, N> insert_bits(vec<T, N> x, vec<T, N> insert, uint offset, uint bits) {
  for (int i = 0; i < N; ++i) x[i] = insert_bits(x[i], insert[i], offset, bits);
  return x;
}

}  // namespace metal
