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
// r * a_row + p * a_depth.
template <class K, int R, int V>
[[gnu::noinline]] void tile(const typename K::Unit* a, std::int64_t a_row, std::int64_t a_depth,
                            const typename K::Unit* b, std::int64_t depth, typename K::Sum* c,
                            std::int64_t c_step, bool add) {
  using Unit = typename K::Unit;
  using Sum = typename K::Sum;
  constexpr int L = kVectorLanes<Sum>, panel = kTileVectors * L;
  Vector<Sum> sums[R][V] = {};
  const Unit* rows[R];
  for (int r = 0; r < R; ++r) {
    rows[r] = a + r * a_row;
    for (int v = 0; v < V; ++v) __builtin_prefetch(c + r * c_step + v * L, 1);
  }
  for (std::int64_t p = 0; depth > 0; --depth, p += a_depth, b += panel) {
    Vector<Unit> right[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) right[v] = load(b + v * L);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const Vector<Unit> left = splat(rows[r][p]);
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) sums[r][v] = K::add(left, right[v], sums[r][v]);
    }
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
                      std::int64_t, typename K::Sum*, std::int64_t, bool);

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

template <class K>
void multiply_block(const Block& block) {
  using Unit = typename K::Unit;
  using Sum = typename K::Sum;
  static constexpr auto table =
      tiles<K>(std::make_integer_sequence<int, kTileRows * kTileVectors>());
  constexpr std::int64_t L = kVectorLanes<Sum>, panel = kTileVectors * L;
  const auto *a = static_cast<const Unit*>(block.a), *b = static_cast<const Unit*>(block.b);
  auto* const c = static_cast<Sum*>(block.c);
  const bool in_panels = block.a_width > 0;
  const std::int64_t most = in_panels ? block.a_width : even_part(block.rows, kTileRows);
  const std::int64_t a_row = in_panels ? 1 : block.a_step;
  const std::int64_t a_depth = in_panels ? block.a_width : 1;
  for (std::int64_t j = 0; j < block.columns; j += panel, b += block.b_step) {
    const std::int64_t columns = block.columns - j < panel ? block.columns - j : panel;
    const std::int64_t vectors = (columns - 1) / L + 1;
    for (std::int64_t i = 0; i < block.rows; i += most) {
      const std::int64_t rows = block.rows - i < most ? block.rows - i : most;
      const Tile<K> run = table.at[(rows - 1) * kTileVectors + vectors - 1];
      const Unit* const left = a + (in_panels ? i / most : i) * block.a_step;
      Sum* const to = c + i * block.c_step + j;
      if (j == 0 && !in_panels)  // the next rows, when they are read for the first time
        for (std::int64_t r = 0; r < rows; ++r)
          for (std::int64_t p = 0; p < block.depth; p += 64 / static_cast<int>(sizeof(Unit)))
            __builtin_prefetch(left + (most + r) * block.a_step + p);
      if (columns == vectors * L) {
        run(left, a_row, a_depth, b, block.depth, to, block.c_step, block.add);
        continue;
      }
      Sum edge[kTileRows * panel];
      run(left, a_row, a_depth, b, block.depth, edge, panel, false);
      for (std::int64_t r = 0; r < rows; ++r)
        for (std::int64_t l = 0; l < columns; ++l) {
          Sum& sum = to[r * block.c_step + l];
          sum = block.add ? sum + edge[r * panel + l] : edge[r * panel + l];
        }
    }
  }
}

template <class K>
BlockKernel block_kernel() {
  return {kTileRows, kTileVectors * kVectorLanes<typename K::Sum>, K::kNumbers, &multiply_block<K>};
}

}  // namespace cermet::cpu::CERMET_ISA
