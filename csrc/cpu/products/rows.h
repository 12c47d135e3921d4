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
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
    Sum* const to = static_cast<Sum*>(c[r]) + s.column;
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) {
      if ((v + 1) * L <= columns) {
        store(to + v * L, s.add ? load(to + v * L) + sums[r][v] : sums[r][v]);
        continue;
      }
      Sum edge[L];
      store(edge, sums[r][v]);
      for (std::int64_t l = 0; v * L + l < columns; ++l)
        to[v * L + l] = s.add ? to[v * L + l] + edge[l] : edge[l];
    }
  }
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

template <class R>
void copy_rows(const RowCopy& s) {
  using Unit = typename R::Unit;
  constexpr std::int64_t L = kVectorLanes<Unit>, D = R::kDepth;
  auto* to = static_cast<Unit*>(s.to);
  for (std::int64_t i = 0; i < s.row_count; ++i, to += s.to_step) {
    const auto* const from = static_cast<const typename R::Element*>(s.rows[i]);
    std::int64_t p = 0;
    for (; (p + L) * D <= s.numbers; p += L) store(to + p, R::along(from + p * D));
    for (; p * D < s.numbers; ++p) to[p] = R::one(from + p * D, 1, (p + 1) * D <= s.numbers);
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
      const auto* const y = static_cast<const typename R::Element*>(s.rows[p + D - 1]) + s.skipped;
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

}  // namespace cermet::cpu::CERMET_ISA
