// The matrix unit of x86-64 (AMX): registers that are tiles of up to 16 rows of 64 bytes.
#pragma once

#include <cstdint>

#include "cpu/products/vector.h"

namespace cermet::cpu::CERMET_ISA {

// A tile has 16 rows of 16 units; a product of 32 x 32 takes four of sums and two of each operand.
inline constexpr std::int64_t kTileSide = 16, kBlockSide = 2 * kTileSide;
inline constexpr int kSums = 0, kLeft = 4, kRight = 6;
inline std::int64_t least(std::int64_t a, std::int64_t b) { return a < b ? a : b; }

// The compiler knows nothing of these registers, nor of what is read into them.
template <int kTile>
[[gnu::always_inline]] inline void load_tile(const void* from, std::int64_t step) {
  asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(from), "r"(step), "i"(kTile) : "memory");
}
template <int kTile>
[[gnu::always_inline]] inline void store_tile(void* to, std::int64_t step) {
  asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(to), "r"(step), "i"(kTile) : "memory");
}
template <int kTile>
[[gnu::always_inline]] inline void zero_tile() {
  asm volatile("tilezero %%tmm%c0" ::"i"(kTile));
}

// Calls f(tile, where its sums are) for R x C tiles.
template <int R, int C, class Sum, class F>
[[gnu::always_inline]] inline void each_sum(Sum* sums, std::int64_t step, F&& f) {
  const auto one = [&]<int i, int j>(std::integer_sequence<int, i, j>)
                       __attribute__((always_inline)) {
                         if constexpr (i < R && j < C)
                           f(std::integral_constant<int, kSums + 2 * i + j>{},
                             sums + i * kTileSide * step + j * kTileSide);
                       };
  one(std::integer_sequence<int, 0, 0>{}), one(std::integer_sequence<int, 0, 1>{});
  one(std::integer_sequence<int, 1, 0>{}), one(std::integer_sequence<int, 1, 1>{});
}
template <int R, int C>
[[gnu::always_inline]] inline void start_sums(const float* sums, std::int64_t step, bool add) {
  each_sum<R, C>(sums, step, [&](auto tile, const float* at) __attribute__((always_inline)) {
    if (add)
      load_tile<tile>(at, 4 * step);
    else
      zero_tile<tile>();
  });
}
template <int R, int C>
[[gnu::always_inline]] inline void store_sums(float* sums, std::int64_t step) {
  each_sum<R, C>(sums, step, [&](auto tile, float* at) __attribute__((always_inline)) {
    store_tile<tile>(at, 4 * step);
  });
}

template <int kSum, int kA, int kB>
[[gnu::always_inline]] inline void add_tiles_of_pairs() {
  asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(kSum), "i"(kA), "i"(kB));
}
// Adds 16 units of pairs of bfloat16 to R x C sums. Steps are between rows of a and depths of b.
template <int R, int C>
[[gnu::always_inline]] inline void add_pairs(const std::uint32_t* a, std::int64_t a_step,
                                             const std::uint32_t* b, std::int64_t b_step) {
  load_tile<kRight>(b, 4 * b_step);
  load_tile<kLeft>(a, 4 * a_step);
  add_tiles_of_pairs<kSums, kLeft, kRight>();
  if constexpr (C > 1) {
    load_tile<kRight + 1>(b + kTileSide, 4 * b_step);
    add_tiles_of_pairs<kSums + 1, kLeft, kRight + 1>();
  }
  if constexpr (R > 1) {
    load_tile<kLeft + 1>(a + kTileSide * a_step, 4 * a_step);
    add_tiles_of_pairs<kSums + 2, kLeft + 1, kRight>();
    if constexpr (C > 1) add_tiles_of_pairs<kSums + 3, kLeft + 1, kRight + 1>();
  }
}

// Calls f with R and C as constants, the tiles that so many rows and columns take.
template <class F>
[[gnu::always_inline]] inline void by_tiles(std::int64_t rows, std::int64_t columns, F&& f) {
  constexpr std::integral_constant<int, 1> one;
  constexpr std::integral_constant<int, 2> two;
  if (rows > kTileSide)
    columns > kTileSide ? f(two, two) : f(two, one);
  else
    columns > kTileSide ? f(one, two) : f(one, one);
}

// How many rows and columns the tiles of a product have. The registers are free again at the end.
class TileShapes {
 public:
  TileShapes() = default;
  TileShapes(const TileShapes&) = delete;
  TileShapes& operator=(const TileShapes&) = delete;
  ~TileShapes() {
    if (rows_) asm volatile("tilerelease");
  }

  // Of up to two tiles each way. It forgets what the registers have, if it changes them.
  void set(std::int64_t rows, std::int64_t columns) {
    if (!is_new(rows, columns)) return;
    Shapes shapes;
    for (int i = 0; i < 2; ++i) {
      shapes.put(kLeft + i, rows - i * kTileSide, kTileSide);
      shapes.put(kRight + i, kTileSide, columns - i * kTileSide);
      for (int j = 0; j < 2; ++j)
        shapes.put(kSums + 2 * i + j, rows - i * kTileSide, columns - j * kTileSide);
    }
    load(shapes);
  }
  // Of six tiles of sums, 16 columns wide, and one of each operand.
  void set_sums(std::int64_t rows, std::int64_t depth) {
    if (!is_new(rows, depth)) return;
    Shapes shapes;
    for (int i = 0; i < 6; ++i) shapes.put(i, rows, kTileSide);
    shapes.put(6, rows, depth), shapes.put(7, depth, kTileSide);
    load(shapes);
  }

 private:
  struct alignas(64) Shapes {
    void put(int tile, std::int64_t r, std::int64_t c) {
      if (r <= 0 || c <= 0) return;
      rows[tile] = static_cast<std::uint8_t>(least(r, kTileSide));
      bytes[tile] = static_cast<std::uint16_t>(4 * least(c, kTileSide));
    }
    std::uint8_t palette = 1, start = 0, reserved[14] = {};
    std::uint16_t bytes[16] = {};
    std::uint8_t rows[16] = {};
  };
  static void load(const Shapes& shapes) { asm volatile("ldtilecfg %0" ::"m"(shapes)); }
  bool is_new(std::int64_t rows, std::int64_t columns) {
    const bool is = rows != rows_ || columns != columns_;
    rows_ = rows, columns_ = columns;
    return is;
  }

  std::int64_t rows_ = 0, columns_ = 0;
};

}  // namespace cermet::cpu::CERMET_ISA
