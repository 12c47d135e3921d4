// Products of rows that are read in place, for the *_simd.cpp files of convolutions.
#pragma once

#include <type_traits>

#include "cpu/products/source.h"
#include "cpu/products/tile.h"
#include "cpu/products/windows.h"

namespace cermet::cpu::CERMET_ISA {

template <class K, class Out>
[[gnu::always_inline]] inline void keep(Vector<typename K::Sum> sums, Out* to, bool add) {
  if constexpr (std::is_same_v<Out, typename K::Sum>)
    store(to, add ? load(to) + sums : sums);
  else
    K::round(sums, to);
}

// The order of a sum is that of `tile`.
template <class K, class Out, int R, int V>
[[gnu::noinline]] void row_tile(const RowBlock& s, const void* const* rows, void* const* c,
                                std::int64_t columns) {
  using Unit = typename K::Unit;
  using Sum = typename K::Sum;
  constexpr int L = kVectorLanes<Sum>, panel = kTileVectors * L;
  Vector<Sum> sums[R][V] = {};
  Out* to[R];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
    to[r] = static_cast<Out*>(c[r]) + s.column;
    for (int v = 0; v < V; ++v) __builtin_prefetch(to[r] + v * L, 1);
  }
  const Unit* b = static_cast<const Unit*>(s.b);
  for (std::int64_t i = 0; i < s.segments; ++i, rows += s.segment_step) {
    const char* a[R];
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) a[r] = static_cast<const char*>(rows[r]);
    const std::int64_t bytes = s.lengths[i] * static_cast<std::int64_t>(sizeof(Unit));
    for (std::int64_t p = 0; p < bytes; p += sizeof(Unit), b += panel) {
      Vector<Unit> right[V];
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) right[v] = load(b + v * L);
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
        const Vector<Unit> left = splat_at(reinterpret_cast<const Unit*>(a[r] + p));
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) sums[r][v] = K::add(left, right[v], sums[r][v]);
      }
    }
  }
  const auto finish = [&](bool add) __attribute__((always_inline)) {
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) keep<K>(sums[r][v], to[r] + v * L, add);
  };
  if (columns == V * L) return s.add ? finish(true) : finish(false);
  Out edge[R][V * L];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) keep<K>(sums[r][v], edge[r] + v * L, false);
  for (int r = 0; r < R; ++r)
    for (std::int64_t l = 0; l < columns; ++l) {
      if constexpr (std::is_same_v<Out, Sum>)
        if (s.add) edge[r][l] += to[r][l];
      to[r][l] = edge[r][l];
    }
}

using RowTile = void (*)(const RowBlock&, const void* const*, void* const*, std::int64_t);

template <class K, class Out, int... i>
constexpr auto row_tiles(std::integer_sequence<int, i...>) {
  struct {
    RowTile at[sizeof...(i)];
  } table{{&row_tile<K, Out, i / kTileVectors + 1, i % kTileVectors + 1>...}};
  return table;
}

// Out: that of sums, or another which they are rounded to, if they are whole.
template <class K, class Out = typename K::Sum>
void multiply_rows(const RowBlock& s) {
  static constexpr auto table =
      row_tiles<K, Out>(std::make_integer_sequence<int, kTileRows * kTileVectors>());
  constexpr std::int64_t L = kVectorLanes<typename K::Sum>;
  const std::int64_t vectors = (s.columns - 1) / L + 1;
  for (std::int64_t i = 0; i < s.row_count; i += kTileRows) {
    const std::int64_t rows = s.row_count - i < kTileRows ? s.row_count - i : kTileRows;
    table.at[(rows - 1) * kTileVectors + vectors - 1](s, s.rows + i, s.c + i, s.columns);
  }
}

template <class T, int kApart = kVectorLanes<T> / 2>
T sum_of(Vector<T> v) {
  constexpr auto apart = [](int l) { return (l + kApart) % kVectorLanes<T>; };
  v += shuffle<apart>(v, v);
  if constexpr (kApart > 1)
    return sum_of<T, kApart / 2>(v);
  else
    return v[0];
}

// Sums of R rows and N columns: a vector's lanes are depths, which are added at the end.
template <class K, int R, int N>
void few_tile(const RowBlock& s, const void* const* rows, void* const* c) {
  using Unit = typename K::Unit;
  using Sum = typename K::Sum;
  constexpr std::int64_t L = kVectorLanes<Unit>;
  Vector<Sum> sums[R][N] = {};
  const auto* b = static_cast<const Unit*>(s.b);
  for (std::int64_t i = 0; i < s.segments; b += s.lengths[i++], rows += s.segment_step)
    for (std::int64_t p = 0; p < s.lengths[i]; p += L) {
      Vector<Unit> right[N];
#pragma GCC unroll 4
      for (int n = 0; n < N; ++n) right[n] = load(b + n * s.b_step + p);
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        Vector<Unit> left;
        std::memcpy(&left, static_cast<const char*>(rows[r]) + p * sizeof(Unit), sizeof left);
#pragma GCC unroll 4
        for (int n = 0; n < N; ++n) sums[r][n] = K::add(left, right[n], sums[r][n]);
      }
    }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int n = 0; n < N; ++n) {
      const Sum sum = sum_of<Sum>(sums[r][n]);
      Sum& to = static_cast<Sum*>(c[r])[n];
      to = s.add ? to + sum : sum;
    }
}

template <class K>
void multiply_few(const RowBlock& s) {
  constexpr int R = kTileRows / 2;
  const auto run = [&]<int N>(std::integral_constant<int, N>) {
    std::int64_t i = 0;
    for (; i + R <= s.row_count; i += R) few_tile<K, R, N>(s, s.rows + i, s.c + i);
    for (; i < s.row_count; ++i) few_tile<K, 1, N>(s, s.rows + i, s.c + i);
  };
  switch (s.columns) {
    case 1: return run(std::integral_constant<int, 1>{});
    case 2: return run(std::integral_constant<int, 2>{});
    case 3: return run(std::integral_constant<int, 3>{});
    default: return run(std::integral_constant<int, 4>{});
  }
}

// Calls f with the largest chunk, a constant, of which some that may overlap make up `count`, and
// then put(first) for each.
template <std::int64_t kMost, class F>
[[gnu::always_inline]] inline void by_chunks(std::int64_t count, F&& f) {
  if constexpr (kMost > 1)
    if (count < kMost) return by_chunks<kMost / 2>(count, f);
  f(std::integral_constant<std::int64_t, kMost>{});
}
template <std::int64_t kChunk, class Put>
[[gnu::always_inline]] inline void each_chunk(std::int64_t count, Put&& put) {
  for (std::int64_t n = 0; n + kChunk < count; n += kChunk) put(n);
  put(count - kChunk);
}

template <class R>
void copy_rows(const RowCopy& s) {
  using Unit = typename R::Unit;
  using Element = typename R::Element;
  constexpr std::int64_t L = kVectorLanes<Unit>, D = R::kDepth;
  by_chunks<L * D>(s.numbers, [&]<std::int64_t N>(std::integral_constant<std::int64_t, N>) {
    auto* to = static_cast<Unit*>(s.to);
    for (std::int64_t i = 0; i < s.row_count; ++i, to += s.to_step) {
      const auto* const from = static_cast<const Element*>(s.rows[i]);
      each_chunk<N>(s.numbers, [&](std::int64_t n) __attribute__((always_inline)) {
        if constexpr (sizeof(Unit) == D * sizeof(Element))
          std::memcpy(reinterpret_cast<char*>(to) + n * sizeof(Element), from + n,
                      N * sizeof(Element));
        else if constexpr (N == L)
          store(to + n, R::along(from + n));
        else
          for (std::int64_t l = n; l < n + N; ++l) to[l] = R::one(from + l, 0, true);
      });
      if (s.numbers % D) to[s.numbers / D] = R::one(from + s.numbers - 1, 0, false);
    }
  });
}

template <class R>
void copy_columns(const ColumnCopy& s) {
  using Unit = typename R::Unit;
  using Element = typename R::Element;
  constexpr std::int64_t L = kVectorLanes<Unit>, D = R::kDepth;
  by_chunks<2 * L>(s.columns, [&]<std::int64_t N>(std::integral_constant<std::int64_t, N>) {
    auto* to = static_cast<Unit*>(s.to);
    for (std::int64_t p = 0; p < s.depth; p += D, to += s.width) {
      const auto* const x = static_cast<const Element*>(s.rows[p]) + s.skipped;
      const std::int64_t step =
          D == 1 ? 0 : static_cast<const Element*>(s.rows[p + D - 1]) + s.skipped - x;
      each_chunk<N>(s.columns, [&](std::int64_t n) __attribute__((always_inline)) {
        if constexpr (N == 2 * L)
          R::across_twice(x + n, step, to + n);
        else if constexpr (N == L)
          store(to + n, R::across(x + n, step));
        else
          for (std::int64_t l = n; l < n + N; ++l) to[l] = R::one(x + l, step, true);
      });
    }
  });
}

}  // namespace cermet::cpu::CERMET_ISA
