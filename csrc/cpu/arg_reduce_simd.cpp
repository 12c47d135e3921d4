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
// As wide as the values, so that a vector has as many: keys, and indices.
template <class V>
using Key = std::conditional_t<
    sizeof(V) == 1, std::int8_t,
    std::conditional_t<sizeof(V) == 2, std::int16_t,
                       std::conditional_t<sizeof(V) == 4, std::int32_t, std::int64_t>>>;
template <class V>
using Index = std::make_unsigned_t<Key<V>>;

// The greater, the more extreme; equal for what is equal and for all nans, which have the greatest.
template <bool kMax, class V>
Key<V> key_of(V x) {
  using K = Key<V>;
  if constexpr (std::is_same_v<V, c64>) {
    const K high = key_of<kMax>(x.re), low = std::int64_t{key_of<kMax>(x.im)} + (K{1} << 31);
    return isnan(x) ? highest_of<K>() : K((high << 32) + low);
  } else if constexpr (std::is_floating_point_v<V>) {
    const K bits = __builtin_bit_cast(K, x + V(0));  // -0 becomes 0
    const K key = bits ^ ((bits >> (width<K> - 1)) & highest_of<K>());
    const K nan = -K(x != x);  // bits choose: a condition would not vectorize
    return ((kMax ? key : ~key) & ~nan) | (highest_of<K>() & nan);
  } else {
    const K key = K(std::is_signed_v<V> ? x : x ^ V(V(1) << (width<V> - 1)));
    return kMax ? key : K(~key);
  }
}

// Calls f(values, count, place) for the elements, widened some at a time, until it gives true.
template <std::int64_t kCount, class S, class F>
void in_values(const S* x, std::int64_t n, F f) {
  alignas(64) Value<S> wide[kWidened<S> ? kCount : 1];
  for (std::int64_t i = 0; i < n; i += kCount) {
    const std::int64_t count = n - i < kCount ? n - i : kCount;
    if constexpr (kWidened<S>) widen(x + i, wide, count);
    const Value<S>* from;
    if constexpr (kWidened<S>)
      from = wide;
    else
      from = x + i;
    if (f(from, count, i)) return;
  }
}

template <bool kMax, class S>
[[gnu::flatten]] Key<Value<S>> greatest(const S* x, std::int64_t n) {
  auto key = lowest_of<Key<Value<S>>>();
  in_values<1024>(x, n, [&key](const Value<S>* v, std::int64_t count, std::int64_t) {
    auto best = key;
    for (std::int64_t i = 0; i < count; ++i) {
      const auto next = key_of<kMax>(v[i]);
      best = next > best ? next : best;
    }
    key = best;
    return false;
  });
  return key;
}

// The first element with a key, which there is.
template <bool kMax, class S>
[[gnu::flatten]] std::int64_t first_of(const S* x, std::int64_t n, Key<Value<S>> key) {
  using I = Index<Value<S>>;
  std::int64_t place = 0;
  in_values<kRun>(x, n, [&](const Value<S>* v, std::int64_t count, std::int64_t at) {
    I first = kRun;
    const auto search = [&](std::int64_t length) {
      for (I i = 0; i < static_cast<I>(length); ++i) {
        const I here = key_of<kMax>(v[i]) == key ? i : I{kRun};
        first = here < first ? here : first;
      }
    };
    count == kRun ? search(kRun) : search(count);
    place = at + first;
    return first < kRun;
  });
  return place;
}

template <bool kMax, class S>
void rows_loop(std::uint32_t* out, std::int64_t* keys, const void* in, std::int64_t rows,
               std::int64_t n) {
  constexpr std::int64_t kAhead = 8192, kLine = 64;  // bytes
  const auto* x = static_cast<const S*>(in);
  for (std::int64_t r = 0; r < rows; ++r, x += n) {
    Key<Value<S>> best{};
    std::int64_t at = 0;
    for (std::int64_t i = 0; i < n; i += kBlock) {
      const std::int64_t count = n - i < kBlock ? n - i : kBlock;
      const char* next = reinterpret_cast<const char*>(x + i) + kAhead;
      for (std::int64_t k = 0; k < count * std::int64_t{sizeof(S)}; k += kLine)
        __builtin_prefetch(next + k);
      const auto key = greatest<kMax>(x + i, count);
      if (i == 0 || key > best) best = key, at = i;
    }
    at += first_of<kMax>(x + at, n - at < kBlock ? n - at : kBlock, best);
    out[r] = static_cast<std::uint32_t>(at);
    if (keys) keys[r] = best;
  }
}

// `count` rows of n columns, from row `at` on.
template <bool kMax, int count, class V>
void compare_rows(Key<V>* best, Index<V>* index, const V* x, std::int64_t stride, Index<V> at,
                  std::int64_t n) {
  CERMET_VECTORIZE
  for (std::int64_t i = 0; i < n; ++i) {
    Key<V> key = best[i];
    Index<V> where = index[i];
#pragma GCC unroll 8
    for (int r = 0; r < count; ++r) {
      const Key<V> next = key_of<kMax>(x[r * stride + i]);
      where = next > key ? static_cast<Index<V>>(at + r) : where;
      key = next > key ? next : key;
    }
    best[i] = key;
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
  alignas(64) V wide[kWidened<S> ? kFew * kStrip : 1];
  alignas(64) Key<V> best[kStrip];
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
    for (std::int64_t i = 0; i < n; ++i) best[i] = lowest_of<Key<V>>(), out[i] = 0;
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
  return {max ? rows_loop<true, S> : rows_loop<false, S>,
          max ? columns_loop<true, S> : columns_loop<false, S>};
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
