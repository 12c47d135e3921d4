// Products of rows that are read in place, for the *_simd.cpp files of convolutions.
#pragma once

#include "cpu/products/source.h"
#include "cpu/products/tile.h"
#include "cpu/products/windows.h"

namespace cermet::cpu::CERMET_ISA {

// The order of a sum is that of `tile`.
template <class K, int R, int V>
[[gnu::noinline]] void row_tile(const RowBlock& s, const void* const* rows, void* const* c,
                                std::int64_t columns) {
  using Unit = typename K::Unit;
  using Sum = typename K::Sum;
  constexpr int L = kVectorLanes<Sum>, panel = kTileVectors * L;
  Vector<Sum> sums[R][V] = {};
  Sum* to[R];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
    to[r] = static_cast<Sum*>(c[r]) + s.column;
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
        Unit x;
        std::memcpy(&x, a[r] + p, sizeof x);
        const Vector<Unit> left = splat(x);
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) sums[r][v] = K::add(left, right[v], sums[r][v]);
      }
    }
  }
  const auto finish = [&](auto adds) __attribute__((always_inline)) {
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v)
        store(to[r] + v * L, adds() ? load(to[r] + v * L) + sums[r][v] : sums[r][v]);
  };
  if (columns == V * L) return s.add ? finish([] { return true; }) : finish([] { return false; });
  Sum edge[R][V * L];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) store(edge[r] + v * L, sums[r][v]);
  for (int r = 0; r < R; ++r)
    for (std::int64_t l = 0; l < columns; ++l)
      to[r][l] = s.add ? to[r][l] + edge[r][l] : edge[r][l];
}

using RowTile = void (*)(const RowBlock&, const void* const*, void* const*, std::int64_t);

template <class K, int... i>
constexpr auto row_tiles(std::integer_sequence<int, i...>) {
  struct {
    RowTile at[sizeof...(i)];
  } table{{&row_tile<K, i / kTileVectors + 1, i % kTileVectors + 1>...}};
  return table;
}

template <class K>
void multiply_rows(const RowBlock& s) {
  static constexpr auto table =
      row_tiles<K>(std::make_integer_sequence<int, kTileRows * kTileVectors>());
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

template <class R>
void copy_rows(const RowCopy& s) {
  using Unit = typename R::Unit;
  using Element = typename R::Element;
  constexpr std::int64_t L = kVectorLanes<Unit>, D = R::kDepth;
  // Chunks of which the last may overlap what is before, then what a unit lacks.
  const auto copy = [&](auto chunk, auto&& put) {
    const std::int64_t last = s.numbers - chunk, behind = s.numbers % D;
    auto* to = static_cast<Unit*>(s.to);
    for (std::int64_t i = 0; i < s.row_count; ++i, to += s.to_step) {
      const auto* const from = static_cast<const Element*>(s.rows[i]);
      for (std::int64_t n = 0; n < last; n += chunk) put(n, from + n, to);
      put(last, from + last, to);
      if (behind) to[s.numbers / D] = R::one(from + s.numbers - 1, 0, false);
    }
  };
  if constexpr (sizeof(Unit) == D * sizeof(Element)) {
    const auto bytes = [&]<std::int64_t kChunk>(
                           std::integral_constant<std::int64_t, kChunk> chunk) {
      if (s.numbers < kChunk) return false;
      copy(chunk, [](std::int64_t n, const Element* x, Unit* to) {
        std::memcpy(reinterpret_cast<char*>(to) + n * sizeof(Element), x, kChunk * sizeof(Element));
      });
      return true;
    };
    bytes(std::integral_constant<std::int64_t, L * D>{}) ||
        bytes(std::integral_constant<std::int64_t, L * D / 2>{}) ||
        bytes(std::integral_constant<std::int64_t, 4>{}) ||
        bytes(std::integral_constant<std::int64_t, 2>{}) ||
        bytes(std::integral_constant<std::int64_t, 1>{});
  } else if (s.numbers >= L) {
    copy(std::integral_constant<std::int64_t, L>{},
         [](std::int64_t n, const Element* x, Unit* to) { store(to + n, R::along(x)); });
  } else {
    copy(std::integral_constant<std::int64_t, 1>{},
         [](std::int64_t n, const Element* x, Unit* to) { to[n] = R::one(x, 0, true); });
  }
}

template <class R>
void copy_columns(const ColumnCopy& s) {
  using Unit = typename R::Unit;
  constexpr std::int64_t L = kVectorLanes<Unit>, D = R::kDepth;
  auto* to = static_cast<Unit*>(s.to);
  // vectors, and what is left: a vector that overlaps, or units.
  const auto copy = [&](auto vectors, std::int64_t overlap, std::int64_t first) {
    for (std::int64_t p = 0; p < s.depth; p += D, to += s.width) {
      const auto* const x = static_cast<const typename R::Element*>(s.rows[p]) + s.skipped;
      const auto* const y =
          D == 1 ? x : static_cast<const typename R::Element*>(s.rows[p + D - 1]) + s.skipped;
      for (std::int64_t v = 0; v < vectors(); ++v) store(to + v * L, R::across(x + v * L, y - x));
      if (overlap) store(to + overlap, R::across(x + overlap, y - x));
      for (std::int64_t c = first; c < s.columns; ++c) to[c] = R::one(x + c, y - x, true);
    }
  };
  if (s.columns == 2 * L) return copy([] { return 2; }, 0, s.columns);
  if (s.columns >= L)
    return copy([n = s.columns / L] { return n; }, s.columns % L ? s.columns - L : 0, s.columns);
  copy([] { return 0; }, 0, 0);
}

// A vector may reach into the next depth's units, which come later; panels have room for that.
template <class R>
void copy_strips(const StripCopy& s) {
  using Unit = typename R::Unit;
  constexpr std::int64_t L = kVectorLanes<Unit>, D = R::kDepth;
  auto* panel = static_cast<Unit*>(s.to);
  for (std::int64_t first = 0; first < s.columns; first += s.width, panel += s.panel_step) {
    const auto* x = static_cast<const typename R::Element*>(s.rows) + first;
    const std::int64_t width = s.columns - first < s.width ? s.columns - first : s.width;
    const bool whole = first + (s.width + L - 1) / L * L <= s.columns;
    Unit* to = panel;
    for (std::int64_t p = 0; p < s.depth; p += D, x += D * s.row_step, to += s.width) {
      if (whole && p + D <= s.depth) {
        for (std::int64_t w = 0; w < s.width; w += L) store(to + w, R::across(x + w, s.row_step));
        continue;
      }
      for (std::int64_t w = 0; w < s.width; ++w)
        to[w] = w < width ? R::one(x + w, s.row_step, p + D <= s.depth) : Unit{};
    }
  }
}

}  // namespace cermet::cpu::CERMET_ISA
