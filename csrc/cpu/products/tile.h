// A tile of a product in registers, and the block kernel that is made of tiles.
#pragma once

#include "cpu/products/kernels.h"
#include "cpu/products/vector.h"

namespace cermet::cpu::CERMET_ISA {

// The registers hold the accumulators, one vector for each of the tile's columns, and a factor.
#if defined(__AVX512F__) || defined(__aarch64__)
inline constexpr int kTileRows = 12;
#else
inline constexpr int kTileRows = 6;
#endif
inline constexpr int kTileVectors = 2;

// Units that are numbers, and what they add up to.
template <class T>
struct Fma {
  using Unit = T;
  using Sum = T;
  static constexpr int kNumbers = 1;
  static Vector<Sum> add(Vector<T> a, Vector<T> b, Vector<Sum> c) { return multiply_add(a, b, c); }
};

// Each element of the tile adds its products by ascending depth. Unit (r, p) of a is at
// r * a_row + p * a_depth, unit (p, w) of b at p * b_row + w.
template <class K, int R, int V>
[[gnu::noinline]] void tile(const typename K::Unit* a, std::int64_t a_row, std::int64_t a_depth,
                            const typename K::Unit* b, std::int64_t b_row, std::int64_t depth,
                            typename K::Sum* c, std::int64_t c_step, bool add) {
  using Unit = typename K::Unit;
  using Sum = typename K::Sum;
  constexpr int L = kVectorLanes<Sum>;
  Vector<Sum> sums[R][V] = {};
  for (int r = 0; r < R; ++r)
    for (int v = 0; v < V; ++v) __builtin_prefetch(c + r * c_step + v * L, 1);
  // Three rows to a pointer: machines lack the registers for more.
  constexpr int kGroups = (R + 2) / 3;
  const Unit* rows[kGroups];
  for (int g = 0; g < kGroups; ++g) rows[g] = a + 3 * g * a_row;
  for (; depth > 0; --depth, b += b_row) {
    Vector<Unit> right[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) right[v] = load(b + v * L);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const Vector<Unit> left = splat_at(rows[r / 3] + r % 3 * a_row);
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) sums[r][v] = K::add(left, right[v], sums[r][v]);
    }
#pragma GCC unroll 4
    for (int g = 0; g < kGroups; ++g) rows[g] += a_depth;
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) {
      Sum* const to = c + r * c_step + v * L;
      store(to, add ? load(to) + sums[r][v] : sums[r][v]);
    }
}

template <class K>
using Tile = void (*)(const typename K::Unit*, std::int64_t, std::int64_t, const typename K::Unit*,
                      std::int64_t, std::int64_t, typename K::Sum*, std::int64_t, bool);

// A policy may have a tile of its own, of the same order.
template <class K, int R, int V>
struct TileOf {
  static constexpr Tile<K> run = &tile<K, R, V>;
};

// Tiles by rows and vectors, each one less.
template <class K, int... i>
constexpr auto tiles(std::integer_sequence<int, i...>) {
  struct {
    Tile<K> at[sizeof...(i)];
  } table{{TileOf<K, i / kTileVectors + 1, i % kTileVectors + 1>::run...}};
  return table;
}

// Of `count` units, the share of parts [first, last) of so many.
template <class T>
void prefetch(const T* x, std::int64_t count, std::int64_t first, std::int64_t last,
              std::int64_t parts) {
  constexpr std::int64_t line = 64 / sizeof(T);
  const std::int64_t lines = (count + line - 1) / line;
  const std::int64_t end = last < parts ? lines * last / parts : lines;
  for (std::int64_t l = lines * first / parts; l < end; ++l) __builtin_prefetch(x + l * line, 0, 2);
}

// Calls run(i, rows, vectors, b, to, step) for tiles of `most` rows, from row i on, whose sums
// (which `block.add` tells to add to) are at `to`; panel by panel, of `panel_units`.
template <class Unit, class Sum, int kRows, class Run>
inline void for_tiles(const Block& block, std::int64_t most, std::int64_t panel_units, Run&& run) {
  constexpr std::int64_t L = kVectorLanes<Sum>, panel = kTileVectors * L;
  const auto* b = static_cast<const Unit*>(block.b);
  auto* const c = static_cast<Sum*>(block.c);
  for (std::int64_t j = 0; j < block.columns; j += panel, b += block.b_step) {
    const std::int64_t columns = block.columns - j < panel ? block.columns - j : panel;
    const std::int64_t vectors = (columns - 1) / L + 1;
    for (std::int64_t i = 0; i < block.rows; i += most) {
      const std::int64_t rows = block.rows - i < most ? block.rows - i : most;
      Sum* const to = c + i * block.c_step + j;
      // What comes next is on its way to the cache: a share of the next block's rows, and of the
      // next panel.
      if (block.next)
        for (std::int64_t r = i; r < i + rows; ++r)
          prefetch(static_cast<const Unit*>(block.next) + r * block.a_step, block.depth, j,
                   j + panel, block.columns);
      if (block.kept) prefetch(b + block.b_step, panel_units, i, i + rows, block.rows);
      if (columns == vectors * L) {
        run(i, rows, vectors, b, to, block.c_step);
        continue;
      }
      Sum edge[kRows * panel];
      for (std::int64_t r = 0; block.add && r < rows; ++r)
        for (std::int64_t l = 0; l < columns; ++l) edge[r * panel + l] = to[r * block.c_step + l];
      run(i, rows, vectors, b, edge, panel);
      for (std::int64_t r = 0; r < rows; ++r)
        for (std::int64_t l = 0; l < columns; ++l) to[r * block.c_step + l] = edge[r * panel + l];
    }
  }
}

template <class K>
void multiply_block(const Block& block) {
  using Unit = typename K::Unit;
  using Sum = typename K::Sum;
  static constexpr auto table =
      tiles<K>(std::make_integer_sequence<int, kTileRows * kTileVectors>());
  constexpr std::int64_t panel = kTileVectors * kVectorLanes<Sum>;
  const auto* const a = static_cast<const Unit*>(block.a);
  const bool in_panels = block.a_width > 0;
  const std::int64_t most = in_panels ? block.a_width : even_part(block.rows, kTileRows);
  const std::int64_t a_row = in_panels ? 1 : block.a_step;
  const std::int64_t a_depth = in_panels ? block.a_width : block.a_depth;
  const std::int64_t b_row = block.b_row ? block.b_row : panel;
  for_tiles<Unit, Sum, kTileRows>(block, most, panel * block.depth,
                                  [&](std::int64_t i, std::int64_t rows, std::int64_t vectors,
                                      const Unit* b, Sum* to, std::int64_t step) {
                                    table.at[(rows - 1) * kTileVectors + vectors - 1](
                                        a + (in_panels ? i / most : i) * block.a_step, a_row,
                                        a_depth, b, b_row, block.depth, to, step, block.add);
                                  });
}

template <class K>
BlockKernel block_kernel() {
  return {kTileRows, kTileVectors * kVectorLanes<typename K::Sum>, K::kNumbers, &multiply_block<K>};
}

}  // namespace cermet::cpu::CERMET_ISA
