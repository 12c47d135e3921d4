// The loops of argmax and argmin: where in a row its extreme first is, and the first of each
// column.
#include "cpu/arg_reduce.h"
#include "cpu/convert.h"
#include "cpu/loop.h"

namespace cermet::cpu::CERMET_ISA {
namespace {

inline constexpr std::int64_t kRun = 64;  // elements of a row that are compared at once

template <class S>
inline constexpr bool kWidened = std::is_same_v<S, float16_t> || std::is_same_v<S, bfloat16_t>;
template <class S>
using Value = std::conditional_t<kWidened<S>, float, S>;
// Indices as wide as the values, so that a vector has as many.
template <class V>
using Index = std::conditional_t<
    sizeof(V) == 1, std::uint8_t,
    std::conditional_t<sizeof(V) == 2, std::uint16_t,
                       std::conditional_t<sizeof(V) == 4, std::uint32_t, std::uint64_t>>>;

template <class V>
bool is_no_number(V x) {
  if constexpr (std::is_same_v<V, c64>)
    return isnan(x);
  else
    return x != x;
}
template <class V>
bool is_same(V x, V y) {
  if constexpr (std::is_same_v<V, c64>)
    return equal(x, y);
  else
    return x == y;
}

// The first of n <= kRun elements for which `is` holds; it does for one.
template <class V, class Is>
std::int64_t first_of(const V* x, std::int64_t n, Is is) {
  Index<V> first = kRun;
  for (Index<V> i = 0; i < static_cast<Index<V>>(n); ++i) {
    const Index<V> at = is(x[i]) ? i : Index<V>{kRun};
    first = at < first ? at : first;
  }
  return first;
}

template <class S, class Is>
[[gnu::flatten]] std::int64_t first_in_row(const S* x, std::int64_t n, Is is) {
  alignas(64) Value<S> wide[kRun];
  const auto load = [&](const S* from, std::int64_t count) -> const Value<S>* {
    if constexpr (kWidened<S>) {
      widen(from, wide, count);
      return wide;
    } else {
      return from;
    }
  };
  std::int64_t i = 0;
  for (; i + kRun < n; i += kRun) {
    const Value<S>* v = load(x + i, kRun);
    Index<Value<S>> any = 0;
    for (std::int64_t k = 0; k < kRun; ++k) any |= Index<Value<S>>{is(v[k])};
    if (any) return i + first_of(v, kRun, is);
  }
  if (i + kRun == n) return i + first_of(load(x + i, kRun), kRun, is);
  return i + first_of(load(x + i, n - i), n - i, is);
}

template <class S>
void find_loop(std::uint32_t* out, const void* in, const void* extremes, std::int64_t rows,
               std::int64_t n) {
  using V = Value<S>;
  const auto* x = static_cast<const S*>(in);
  const auto* values = static_cast<const V*>(extremes);
  for (std::int64_t r = 0; r < rows; ++r, x += n) {
    const V value = values[r];
    out[r] = static_cast<std::uint32_t>(
        is_no_number(value) ? first_in_row(x, n, [](V y) { return is_no_number(y); })
                            : first_in_row(x, n, [value](V y) { return is_same(y, value); }));
  }
}

// Takes x, which comes later, and its index where it is more extreme. Bits choose, as in
// reductions_simd.cpp: a chain of conditions would not vectorize.
template <bool kMax, class V>
void follow(V& best, Index<V>& index, V x, Index<V> at) {
  using I = Index<V>;
  I take;
  if constexpr (std::is_same_v<V, c64>)
    take = I(-I((isnan(x) | (kMax ? less(best, x) : less(x, best))) & !isnan(best)));
  else if constexpr (std::is_floating_point_v<V>)
    take = -I(best == best) & -I(!(kMax ? x <= best : x >= best));
  else
    take = I(-I(kMax ? x > best : x < best));
  const auto choose = [take](I a, I b) { return I((a & take) | (b & I(~take))); };
  best = __builtin_bit_cast(V, choose(__builtin_bit_cast(I, x), __builtin_bit_cast(I, best)));
  index = choose(at, index);
}

// `count` rows of n columns, from row `at` on.
template <bool kMax, int count, class V>
void compare_rows(V* best, Index<V>* index, const V* x, std::int64_t stride, Index<V> at,
                  std::int64_t n) {
  CERMET_VECTORIZE
  for (std::int64_t i = 0; i < n; ++i) {
    V value = best[i];
    Index<V> where = index[i];
#pragma GCC unroll 8
    for (int r = 0; r < count; ++r)
      follow<kMax>(value, where, x[r * stride + i], static_cast<Index<V>>(at + r));
    best[i] = value;
    index[i] = where;
  }
}

// Strips of columns, a few rows in each pass. A byte has room for the rows of a segment.
template <bool kMax, class S>
void columns_loop(std::uint32_t* out, const void* in, std::int64_t stride, std::int64_t rows,
                  std::int64_t columns) {
  using V = Value<S>;
  constexpr int kFew = 8;
  constexpr std::int64_t kSegment = 128, kStrip = 4096 / sizeof(V);
  constexpr auto kNone = static_cast<Index<V>>(kSegment);
  alignas(64) V best[kStrip], wide[kWidened<S> ? kFew * kStrip : 1];
  alignas(64) Index<V> index[kStrip];
  const auto* x = static_cast<const S*>(in);
  for (; columns > 0; columns -= kStrip, x += kStrip, out += kStrip) {
    const std::int64_t n = columns < kStrip ? columns : kStrip;
    const auto compare = [&]<int count>(std::integral_constant<int, count>, std::int64_t row,
                                        Index<V> at) {
      const S* from = x + row * stride;
      if constexpr (kWidened<S>) {
        for (int r = 0; r < count; ++r) widen(from + r * stride, wide + r * kStrip, n);
        compare_rows<kMax, count>(best, index, wide, kStrip, at, n);
      } else {
        compare_rows<kMax, count>(best, index, from, stride, at, n);
      }
    };
    if constexpr (kWidened<S>)
      widen(x, best, n);
    else
      for (std::int64_t i = 0; i < n; ++i) best[i] = x[i];
    for (std::int64_t i = 0; i < n; ++i) out[i] = 0;
    for (std::int64_t row = 0; row < rows; row += kSegment) {
      const std::int64_t count = rows - row < kSegment ? rows - row : kSegment;
      for (std::int64_t i = 0; i < n; ++i) index[i] = kNone;
      std::int64_t r = 0;
      for (; r + kFew <= count; r += kFew)
        compare(std::integral_constant<int, kFew>{}, row + r, static_cast<Index<V>>(r));
      for (; r < count; ++r)
        compare(std::integral_constant<int, 1>{}, row + r, static_cast<Index<V>>(r));
      for (std::int64_t i = 0; i < n; ++i)
        out[i] = index[i] == kNone ? out[i] : static_cast<std::uint32_t>(row) + index[i];
    }
  }
}

template <class S>
ArgReduceLoops loops_of(bool max) {
  return {find_loop<S>, max ? columns_loop<true, S> : columns_loop<false, S>};
}

}  // namespace

ArgReduceLoops arg_reduce_loops(Dtype t, bool max) {
  switch (t) {
    case Dtype::bool_:
    case Dtype::uint8: return loops_of<std::uint8_t>(max);
    case Dtype::uint16: return loops_of<std::uint16_t>(max);
    case Dtype::uint32: return loops_of<std::uint32_t>(max);
    case Dtype::uint64: return loops_of<std::uint64_t>(max);
    case Dtype::int8: return loops_of<std::int8_t>(max);
    case Dtype::int16: return loops_of<std::int16_t>(max);
    case Dtype::int32: return loops_of<std::int32_t>(max);
    case Dtype::int64: return loops_of<std::int64_t>(max);
    case Dtype::float16: return loops_of<float16_t>(max);
    case Dtype::bfloat16: return loops_of<bfloat16_t>(max);
    case Dtype::float32: return loops_of<float>(max);
    case Dtype::float64: return loops_of<double>(max);
    case Dtype::complex64: return loops_of<complex64_t>(max);
  }
  return {};
}

}  // namespace cermet::cpu::CERMET_ISA
