// bfloat16 by the instruction that multiplies tiles of pairs. It flushes what is subnormal, adds
// the products of even and of odd depths of 32 numbers apart, and both to the sum.
#include "cpu/products/amx.h"
#include "cpu/products/pack.h"
#include "cpu/products/tile.h"

namespace cermet::cpu::CERMET_ISA {
namespace {

using Unit = std::uint32_t;

// A pair in place lies at any number.
Unit unit_at(const Unit* from) {
  Unit unit;
  std::memcpy(&unit, from, sizeof unit);
  return unit;
}

// Units of rows or of depths that lie `step` apart.
struct Side {
  const Unit* at;
  std::int64_t step;
};

// sums (+)= a b of R x C tiles, over `depth` units, the last of which may lack to whole tiles.
template <int R, int C>
void multiply_tiles(Side a, Side b, std::int64_t rows, std::int64_t columns, std::int64_t depth,
                    float* sums, std::int64_t sum_step, bool add) {
  start_sums<R, C>(sums, sum_step, add);
  std::int64_t p = 0;
  for (; p + kTileSide <= depth; p += kTileSide)
    add_pairs<R, C>(a.at + p, a.step, b.at + p * b.step, b.step);
  if (p < depth) {
    alignas(64) Unit left[R * kTileSide * kTileSide] = {}, right[kTileSide * C * kTileSide] = {};
    for (std::int64_t r = 0; r < rows; ++r)
      for (std::int64_t q = p; q < depth; ++q)
        left[r * kTileSide + q - p] = unit_at(a.at + r * a.step + q);
    for (std::int64_t q = p; q < depth; ++q)
      for (std::int64_t c = 0; c < columns; ++c)
        right[(q - p) * C * kTileSide + c] = b.at[q * b.step + c];
    add_pairs<R, C>(left, kTileSide, right, C * kTileSide);
  }
  store_sums<R, C>(sums, sum_step);
}

void multiply_tiles(TileShapes& shapes, Side a, Side b, std::int64_t rows, std::int64_t columns,
                    std::int64_t depth, float* sums, std::int64_t sum_step, bool add) {
  shapes.set(rows, columns);
  by_tiles(rows, columns, [&](auto R, auto C) {
    multiply_tiles<R, C>(a, b, rows, columns, depth, sums, sum_step, add);
  });
}

void multiply_block(const Block& block) {
  TileShapes shapes;
  constexpr std::int64_t kLine = kTileSide;
  const auto *const a = static_cast<const Unit*>(block.a), *b = static_cast<const Unit*>(block.b);
  for (std::int64_t j = 0; j < block.columns; j += kBlockSide, b += block.b_step) {
    const std::int64_t columns = least(block.columns - j, kBlockSide);
    // Of each of the rows that come next, a share is on its way to the cache.
    const std::int64_t lines = ceil_div(block.depth, kLine);
    const std::int64_t from = lines * j / block.columns * kLine;
    const std::int64_t end = lines * least(j + kBlockSide, block.columns) / block.columns * kLine;
    for (std::int64_t i = 0; i < block.rows; i += kBlockSide) {
      const std::int64_t rows = least(block.rows - i, kBlockSide);
      if (const auto* next = static_cast<const Unit*>(block.next))
        for (std::int64_t r = i; r < i + rows && from < end; ++r)
          for (std::int64_t p = from; p < end; p += kLine)
            __builtin_prefetch(next + r * block.a_step + p, 0, 2);
      if (block.kept) prefetch(b + block.b_step, kBlockSide * block.depth, i, i + rows, block.rows);
      multiply_tiles(shapes, {a + i * block.a_step, block.a_step}, {b, kBlockSide}, rows, columns,
                     block.depth, static_cast<float*>(block.c) + i * block.c_step + j, block.c_step,
                     block.add);
    }
  }
}

// Rows that lie along the depth are the left operand, where they are: their sums stand transposed.
void stream_along(const Stream& s, const Source<Pairs>& source) {
  constexpr std::int64_t kMostUnits = kSpan / 2;
  const std::int64_t depth = source.depth, R = s.rows;
  alignas(64) Unit x[kMostUnits * kStreamRows];
  for (std::int64_t p = 0; p < depth; ++p)
    for (std::int64_t r = 0; r < R; ++r)
      x[p * R + r] = unit_at(static_cast<const Unit*>(s.a) + r * s.a_step + p);
  alignas(64) float sums[kBlockSide * kStreamRows];
  TileShapes shapes;
  const auto* const b = static_cast<const bfloat16_t*>(s.b.data);
  auto* const c = static_cast<float*>(s.c);
  for (std::int64_t j = 0; j < s.b.width; j += kBlockSide) {
    const std::int64_t columns = least(s.b.width - j, kBlockSide);
    for (std::int64_t l = 0; s.add && l < columns; ++l)
      for (std::int64_t r = 0; r < R; ++r) sums[l * R + r] = c[r * s.c_step + j + l];
    multiply_tiles(shapes,
                   {reinterpret_cast<const Unit*>(b + j * s.b.width_step), s.b.width_step / 2},
                   {x, R}, columns, R, depth, sums, R, s.add);
    for (std::int64_t l = 0; l < columns; ++l)
      for (std::int64_t r = 0; r < R; ++r) c[r * s.c_step + j + l] = sums[l * R + r];
  }
}

// While it lives the calling thread treats what is subnormal as the instruction does.
class Flushing {
 public:
  Flushing() { _mm_setcsr(before_ | 0x8040); }
  Flushing(const Flushing&) = delete;
  Flushing& operator=(const Flushing&) = delete;
  ~Flushing() { _mm_setcsr(before_); }

 private:
  const unsigned before_ = _mm_getcsr();
};

// Depths that lie side by side, by few rows: in its order without the instruction, for which they
// would have to be paired first.
template <int R>
void stream_across(const Stream& s) {
  constexpr std::int64_t L = 16, kStep = 2 * kTileSide, kColumns = 1024;
  const std::int64_t columns = s.b.width, depth = s.b.depth;
  alignas(64) float x[R * kSpan], kept[R * kColumns];
  for (int r = 0; r < R; ++r)
    widen(static_cast<const bfloat16_t*>(s.a) + 2 * r * s.a_step, x + r * kSpan, depth);
  const auto* const b = static_cast<const bfloat16_t*>(s.b.data);
  for (std::int64_t first = 0; first < columns; first += kColumns)
    for (std::int64_t p = 0; p < depth; p += kStep)
      for (std::int64_t j = first; j < least(first + kColumns, columns); j += L) {
        const auto mask = static_cast<__mmask16>(0xffff >> (L - least(L, columns - j)));
        float* const to = static_cast<float*>(s.c) + j;
        const auto numbers = [&](std::int64_t q) __attribute__((always_inline)) {
          const auto* const from = b + q * s.b.depth_step + j;
          __builtin_prefetch(from + kStep * s.b.depth_step);
          return (__m512)_mm512_slli_epi32(
              _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, from)), 16);
        };
        __m512 sums[2][R] = {};
        const auto add = [&](int odd, std::int64_t q) __attribute__((always_inline)) {
          const __m512 right = numbers(q);
#pragma GCC unroll 4
          for (int r = 0; r < R; ++r)
            sums[odd][r] = _mm512_fmadd_ps(_mm512_set1_ps(x[r * kSpan + q]), right, sums[odd][r]);
        };
        if (p + kStep <= depth) {
#pragma GCC unroll 32
          for (std::int64_t q = 0; q < kStep; ++q) add(q % 2, p + q);
        } else {
          for (std::int64_t q = p; q < depth; ++q) add(q % 2, q);
          for (int r = 0; r < R; ++r)  // what a tile lacks is zero
            for (int odd = depth % kStep == kStep - 1; odd < 2; ++odd)
              sums[odd][r] = _mm512_add_ps(sums[odd][r], _mm512_setzero_ps());
        }
#pragma GCC unroll 4
        for (int r = 0; r < R; ++r) {
          float* const at = kept + r * kColumns + j - first;
          const __m512 before = p > 0   ? _mm512_load_ps(at)
                                : s.add ? _mm512_maskz_loadu_ps(mask, to + r * s.c_step)
                                        : _mm512_setzero_ps();
          const __m512 sum = _mm512_add_ps(before, _mm512_add_ps(sums[0][r], sums[1][r]));
          if (p + kStep < depth)
            _mm512_store_ps(at, sum);
          else
            _mm512_mask_storeu_ps(to + r * s.c_step, mask, sum);
        }
      }
}

// Else a part is packed at a time.
void stream_packed(const Stream& s) {
  constexpr std::int64_t kColumns = 512, kDepth = 32, kStep = kBlockSide * kDepth + kPad<Unit>;
  alignas(64) Unit panels[kColumns / kBlockSide * kStep];
  const auto* const b = static_cast<const bfloat16_t*>(s.b.data);
  for (std::int64_t j = 0; j < s.b.width; j += kColumns)
    for (std::int64_t p = 0; p < s.b.depth; p += 2 * kDepth) {
      Strip part = s.b;
      part.data = b + j * s.b.width_step + p * s.b.depth_step;
      part.width = least(kColumns, s.b.width - j), part.depth = least(2 * kDepth, s.b.depth - p);
      part.readable -= j;
      pack_panels<Source<Pairs>>(part, kBlockSide, kStep, panels);
      multiply_block({.a = static_cast<const Unit*>(s.a) + p / 2,
                      .a_step = s.a_step,
                      .b = panels,
                      .b_step = kStep,
                      .c = static_cast<float*>(s.c) + j,
                      .c_step = s.c_step,
                      .rows = s.rows,
                      .columns = part.width,
                      .depth = (part.depth + 1) / 2,
                      .add = s.add || p > 0});
    }
}

void stream_pairs(const Stream& s) {
  const Source<Pairs> source(s.b);
  const bool whole = s.b.depth % 2 == 0 && s.b.width_step % 2 == 0;
  if (source.along() && whole) return stream_along(s, source);
  if (s.b.width_step != 1 || s.rows > 4) return stream_packed(s);
  constexpr void (*kStreams[])(const Stream&) = {stream_across<1>, stream_across<2>,
                                                 stream_across<3>, stream_across<4>};
  const Flushing flushing;
  kStreams[s.rows - 1](s);
}

}  // namespace

void fill_tiles(ProductKernels& table) {
  table.bf16_pairs = {kBlockSide, kBlockSide, 2, multiply_block, 1, true};
  table.stream[static_cast<int>(Packing::bf16_pairs)] = stream_pairs;
}

}  // namespace cermet::cpu::CERMET_ISA
