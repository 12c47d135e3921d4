// <metal_simdgroup> and <metal_quadgroup>. Lanes that do not take part in an operation contribute
// its neutral value to a reduction; what a shuffle reads from them is undefined.
#pragma once

namespace msl {

template <class T>
struct neutral {
  static MSL_INLINE T lowest() {
    using E = metal::element_t<T>;
    using L = metal::numeric_limits<E>;
    return (T)(L::has_infinity ? (E)-L::infinity() : L::lowest());
  }
  static MSL_INLINE T highest() {
    using E = metal::element_t<T>;
    using L = metal::numeric_limits<E>;
    return (T)(L::has_infinity ? L::infinity() : L::max());
  }
};

// 32-bit registers are what the hardware exchanges.
template <class T>
MSL_INLINE constexpr void check_exchangeable() {
  using E = metal::element_t<T>;
  static_assert(metal::is_arithmetic_v<E> && sizeof(E) <= 4 && !metal::is_same_v<E, bool> &&
                    !metal::is_same_v<E, bfloat>,
                "simdgroup functions take half, float and integers of 8, 16 and 32 bits, and "
                "vectors of these");
}
template <class T>
MSL_INLINE Lanes<T> exchange_checked(T value, const void* site) {
  check_exchangeable<T>();
  return exchange(value, site);
}

// The lanes that exchange: all 32, or the 4 of a quad.
template <int width>
struct Group {
  template <class T>
  static MSL_INLINE uint first(Lanes<T> lanes) {
    return lanes.lane & ~(width - 1u);
  }
  template <class T>
  static MSL_INLINE ulong active(Lanes<T> lanes) {
    return (ulong)lanes.active >> first(lanes) & (~0ul >> (64 - width));
  }
  // In the order of a tree of exchanges between lanes whose numbers differ in one bit.
  template <class T, class F>
  static MSL_INLINE T reduce(Lanes<T> lanes, T neutral, F f) {
    T values[width];
    for (uint i = 0; i < width; ++i)
      values[i] = lanes.has(first(lanes) + i) ? lanes[first(lanes) + i] : neutral;
    for (uint half_width = width / 2; half_width; half_width /= 2)
      for (uint i = 0; i < half_width; ++i) values[i] = f(values[i], values[i + half_width]);
    return values[0];
  }
  template <class T, class F>
  static MSL_INLINE T scan(Lanes<T> lanes, T start, uint count, F f) {
    for (uint i = first(lanes); i < first(lanes) + count; ++i)
      if (lanes.has(i)) start = f(start, lanes[i]);
    return start;
  }
};

// The extreme of two values, or of each pair of elements; a nan gives way to a number.
#define MSL_EXTREME(NAME, BEFORE)                                               \
  template <class T>                                                            \
  MSL_INLINE T NAME(T x, T y) {                                                 \
    if constexpr (metal::size_v<T> == 0) {                                      \
      return y BEFORE x || x != x ? y : x;                                      \
    } else {                                                                    \
      using E = metal::element_t<T>;                                            \
      for (int i = 0; i < metal::size_v<T>; ++i) x[i] = NAME((E)x[i], (E)y[i]); \
      return x;                                                                 \
    }                                                                           \
  }
MSL_EXTREME(smaller, <)
MSL_EXTREME(larger, >)
#undef MSL_EXTREME

}  // namespace msl

namespace metal {

#define MSL_SITE __builtin_return_address(0)

#define MSL_REDUCTION(GROUP, WIDTH, NAME, NEUTRAL, COMBINE)                                \
  template <class T>                                                                       \
  MSL_OPERATION T GROUP##_##NAME(T value) {                                                \
    return msl::Group<WIDTH>::reduce(msl::exchange_checked(value, MSL_SITE), (T)(NEUTRAL), \
                                     [](T x, T y) { return (T)(COMBINE); });               \
  }
#define MSL_SCAN(GROUP, WIDTH, NAME, NEUTRAL, COMBINE)                          \
  template <class T>                                                            \
  MSL_OPERATION T GROUP##_prefix_inclusive_##NAME(T value) {                    \
    auto lanes = msl::exchange_checked(value, MSL_SITE);                        \
    return msl::Group<WIDTH>::scan(lanes, (T)(NEUTRAL), lanes.lane % WIDTH + 1, \
                                   [](T x, T y) { return (T)(COMBINE); });      \
  }                                                                             \
  template <class T>                                                            \
  MSL_OPERATION T GROUP##_prefix_exclusive_##NAME(T value) {                    \
    auto lanes = msl::exchange_checked(value, MSL_SITE);                        \
    return msl::Group<WIDTH>::scan(lanes, (T)(NEUTRAL), lanes.lane % WIDTH,     \
                                   [](T x, T y) { return (T)(COMBINE); });      \
  }
// A shuffle is the number of the lane to read, computed from one's own in the group (`lane`).
#define MSL_SHUFFLE(GROUP, WIDTH, NAME, FROM)            \
  template <class T>                                     \
  MSL_OPERATION T GROUP##_##NAME(T value, ushort n) {    \
    auto lanes = msl::exchange_checked(value, MSL_SITE); \
    const uint lane = lanes.lane % WIDTH;                \
    return lanes[lanes.lane - lane + (FROM) % WIDTH];    \
  }
#define MSL_SHUFFLE_AND_FILL(GROUP, WIDTH, NAME, INSIDE, FROM, FILL)                        \
  template <class T>                                                                        \
  MSL_OPERATION T GROUP##_##NAME(T value, T filling, ushort n, ushort modulo = WIDTH) {     \
    struct Pair {                                                                           \
      T value, filling;                                                                     \
    };                                                                                      \
    msl::check_exchangeable<T>();                                                           \
    auto lanes = msl::exchange(Pair{value, filling}, MSL_SITE);                             \
    const uint lane = lanes.lane % modulo, first = lanes.lane - lane;                       \
    return (INSIDE) ? lanes[first + (FROM)].value : lanes[first + (FILL) % modulo].filling; \
  }
#define MSL_GROUP(GROUP, WIDTH)                                                                   \
  MSL_REDUCTION(GROUP, WIDTH, sum, 0, x + y)                                                      \
  MSL_REDUCTION(GROUP, WIDTH, product, 1, x* y)                                                   \
  MSL_REDUCTION(GROUP, WIDTH, min, msl::neutral<T>::highest(), msl::smaller(x, y))                \
  MSL_REDUCTION(GROUP, WIDTH, max, msl::neutral<T>::lowest(), msl::larger(x, y))                  \
  MSL_REDUCTION(GROUP, WIDTH, and, ~(T)0, x& y)                                                   \
  MSL_REDUCTION(GROUP, WIDTH, or, 0, x | y)                                                       \
  MSL_REDUCTION(GROUP, WIDTH, xor, 0, x ^ y)                                                      \
  MSL_SCAN(GROUP, WIDTH, sum, 0, x + y)                                                           \
  MSL_SCAN(GROUP, WIDTH, product, 1, x* y)                                                        \
  MSL_SHUFFLE(GROUP, WIDTH, broadcast, n)                                                         \
  MSL_SHUFFLE(GROUP, WIDTH, shuffle, n)                                                           \
  MSL_SHUFFLE(GROUP, WIDTH, shuffle_xor, lane ^ n)                                                \
  MSL_SHUFFLE(GROUP, WIDTH, shuffle_down, lane + n < WIDTH ? lane + n : lane)                     \
  MSL_SHUFFLE(GROUP, WIDTH, shuffle_up, lane >= n ? lane - n : lane)                              \
  MSL_SHUFFLE(GROUP, WIDTH, shuffle_rotate_down, lane + n)                                        \
  MSL_SHUFFLE(GROUP, WIDTH, shuffle_rotate_up, lane + WIDTH - n % WIDTH)                          \
  MSL_SHUFFLE_AND_FILL(GROUP, WIDTH, shuffle_and_fill_down, lane + n < modulo, lane + n,          \
                       lane + n - modulo)                                                         \
  MSL_SHUFFLE_AND_FILL(GROUP, WIDTH, shuffle_and_fill_up, lane >= n, lane - n, lane + modulo - n) \
  template <class T>                                                                              \
  MSL_OPERATION T GROUP##_broadcast_first(T value) {                                              \
    auto lanes = msl::exchange_checked(value, MSL_SITE);                                          \
    using G = msl::Group<WIDTH>;                                                                  \
    return lanes[G::first(lanes) + __builtin_ctzl(G::active(lanes))];                             \
  }                                                                                               \
  /* A bit for each lane of the group that takes part and says true. */                           \
  class GROUP##_vote {                                                                            \
    ulong votes;                                                                                  \
                                                                                                  \
   public:                                                                                        \
    using vote_t = ulong;                                                                         \
    MSL_INLINE explicit constexpr GROUP##_vote(vote_t v = 0) : votes(v) {}                        \
    MSL_INLINE explicit constexpr operator vote_t() const { return votes; }                       \
    MSL_INLINE constexpr bool all() const { return votes == ~0ul >> (64 - WIDTH); }               \
    MSL_INLINE constexpr bool any() const { return votes != 0; }                                  \
  };                                                                                              \
  MSL_OPERATION GROUP##_vote GROUP##_ballot(bool vote) {                                          \
    auto lanes = msl::exchange(vote, MSL_SITE);                                                   \
    const uint first = msl::Group<WIDTH>::first(lanes);                                           \
    ulong votes = 0;                                                                              \
    for (uint i = 0; i < WIDTH; ++i)                                                              \
      if (lanes.has(first + i) && lanes[first + i]) votes |= 1ul << i;                            \
    return GROUP##_vote(votes);                                                                   \
  }                                                                                               \
  MSL_OPERATION bool GROUP##_any(bool vote) {                                                     \
    return msl::Group<WIDTH>::reduce(msl::exchange(vote, MSL_SITE), false,                        \
                                     [](bool x, bool y) { return x || y; });                      \
  }                                                                                               \
  MSL_OPERATION bool GROUP##_all(bool vote) {                                                     \
    return msl::Group<WIDTH>::reduce(msl::exchange(vote, MSL_SITE), true,                         \
                                     [](bool x, bool y) { return x && y; });                      \
  }                                                                                               \
  MSL_OPERATION GROUP##_vote GROUP##_active_threads_mask() {                                      \
    return GROUP##_vote(msl::Group<WIDTH>::active(msl::exchange(true, MSL_SITE)));                \
  }                                                                                               \
  MSL_OPERATION bool GROUP##_is_first() {                                                         \
    auto lanes = msl::exchange(true, MSL_SITE);                                                   \
    return lanes.lane % WIDTH == (uint)__builtin_ctzl(msl::Group<WIDTH>::active(lanes));          \
  }
MSL_GROUP(simd, 32)
MSL_GROUP(quad, 4)
MSL_OPERATION bool simd_is_helper_thread() { return false; }
#undef MSL_GROUP
#undef MSL_SHUFFLE_AND_FILL
#undef MSL_SHUFFLE
#undef MSL_SCAN
#undef MSL_REDUCTION

}  // namespace metal
