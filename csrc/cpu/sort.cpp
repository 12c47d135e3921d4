// Sorting: values or indices, whole or partitioned.
//
// Elements become unsigned keys in their order (nan last; by parts for complex), which are sorted
// by radix; for indices the place is carried along with the key, which makes the sort stable. One
// huge row is sorted in parts that are then merged in parallel.
#include <bit>
#include <limits>

#include "cermet/eval.h"
#include "cpu/layout.h"
#include "cpu/primitives.h"
#include "cpu/scalar.h"
#include "cpu/sort_keys.h"
#include "ops/cpp.h"

namespace cermet::cpu {
namespace {

template <std::size_t kBytes>
using Unsigned = std::conditional_t<
    kBytes == 1, std::uint8_t,
    std::conditional_t<kBytes == 2, std::uint16_t,
                       std::conditional_t<kBytes == 4, std::uint32_t, std::uint64_t>>>;
template <class T>
using Key = Unsigned<sizeof(T)>;
template <class T>
inline constexpr bool kIsFloating = std::is_floating_point_v<T> || kIsHalf<T>;

template <class K>
constexpr K kSign = K(K(1) << (8 * sizeof(K) - 1));
template <class T>
constexpr std::uint32_t kInfinity = std::is_same_v<T, float16_t>    ? 0x7c00
                                    : std::is_same_v<T, bfloat16_t> ? 0x7f80
                                                                    : 0x7f800000;

// `tied`, for indices: zeros of both signs are equal.
template <class T>
Key<T> to_key(T x, bool tied = false) {
  using K = Key<T>;
  if constexpr (kIsComplex<T>) {
    return std::uint64_t{to_key(x.re, tied)} << 32 | to_key(x.im, tied);
  } else if constexpr (kIsFloating<T>) {
    constexpr K infinity =
        sizeof(K) == 8 ? K(std::bit_cast<std::uint64_t>(HUGE_VAL)) : K(kInfinity<T>);
    return plain::float_to_key(std::bit_cast<K>(x), kSign<K>, infinity, tied);
  } else if constexpr (std::is_signed_v<T>) {
    return static_cast<K>(x) ^ kSign<K>;
  } else {
    return x;
  }
}

template <class T>
T from_key(Key<T> key) {
  using K = Key<T>;
  if constexpr (kIsComplex<T>) {
    return {from_key<float>(static_cast<std::uint32_t>(key >> 32)),
            from_key<float>(static_cast<std::uint32_t>(key))};
  } else if constexpr (kIsFloating<T>) {
    return std::bit_cast<T>(plain::float_from_key(key, kSign<K>));
  } else if constexpr (std::is_signed_v<T>) {
    return static_cast<T>(key ^ kSign<K>);
  } else {
    return static_cast<T>(key);
  }
}

// Sorts or partitions rows of n elements: make(x, place) gives an item, store(item) its result.
template <class T, class Out, class Make, class Store>
void sort_rows(const T* a, Out* out, std::int64_t rows, std::int64_t n, std::int64_t kth, Make make,
               Store store) {
  using Item = decltype(make(*a, 0u));
  constexpr std::int64_t kHuge = 4 * kGrain;
  auto fill = [&](std::int64_t row, Item* items, std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i)
      items[i] = make(a[row * n + i], static_cast<std::uint32_t>(i));
  };
  auto empty = [&](std::int64_t row, const Item* items, std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) out[row * n + i] = store(items[i]);
  };
  if (kth < 0 && n >= kHuge && (rows < get_num_threads() || n > kLongestRun)) {
    const Workspace<Item> items(n), spare(n);
    for (std::int64_t row = 0; row < rows; ++row) {
      parallel_for(n, kGrain, [&](auto b, auto e) { fill(row, items.get(), b, e); });
      sort_in_parts(items.get(), spare.get(), n, parts_of(n, get_num_threads()));
      parallel_for(n, kGrain, [&](auto b, auto e) { empty(row, items.get(), b, e); });
    }
    return;
  }
  parallel_for(rows, grain_for(4 * n), [&](std::int64_t begin, std::int64_t end) {
    const Workspace<Item> items(n), spare(n);
    for (; begin < end; ++begin) {
      fill(begin, items.get(), 0, n);
      if (kth < 0)
        sort_items(items.get(), spare.get(), n);
      else
        std::nth_element(items.get(), items.get() + kth, items.get() + n);
      empty(begin, items.get(), 0, n);
    }
  });
}

}  // namespace

void sort(const Sort& p, const Tensor& a, const Tensor& out) {
  const Split split(a.shape, p.axis);
  std::optional<Scratch> in_holder, out_holder;
  const Tensor from = dense(with_axis_last(a, p.axis), in_holder);
  const Tensor target = with_axis_last(out, p.axis);
  const bool direct = is_row_major(target.shape, target.strides);
  if (!direct) out_holder.emplace(out.dtype, target.shape);
  const Tensor to = direct ? target : out_holder->tensor;
  const std::int64_t rows = split.outer * split.inner;
  visit(a.dtype, [&]<class T>(Type<T>) {
    using K = Key<T>;
    const T* x = data<const T>(from);
    if (!p.indices) {
      sort_rows(
          x, data<T>(to), rows, split.n, p.kth, [](T v, std::uint32_t) { return to_key(v); },
          from_key<T>);
    } else {
      sort_rows(
          x, data<std::uint32_t>(to), rows, split.n, p.kth,
          [](T v, std::uint32_t i) { return Placed<K>{to_key(v, true), i}; },
          [](const Placed<K>& item) { return item.place; });
    }
  });
  if (!direct) copy(to, target);
}

}  // namespace cermet::cpu
