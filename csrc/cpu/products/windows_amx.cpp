// Products of rows of bfloat16 that are read in place, by tiles of pairs.
#include "cpu/products/amx.h"
#include "cpu/products/dot.h"
#include "cpu/products/windows.h"

namespace cermet::cpu::CERMET_ISA {
namespace {

using Unit = std::uint32_t;

// How far apart rows lie, in units, if all as far; else 0.
std::int64_t step_of(const void* const* rows, std::int64_t count) {
  const auto at = [&](std::int64_t i) { return static_cast<const char*>(rows[i]); };
  if (count == 1) return 1;
  const std::int64_t step = at(1) - at(0);
  for (std::int64_t i = 2; i < count; ++i)
    if (at(i) - at(i - 1) != step) return 0;
  return step % 4 == 0 ? step / 4 : 0;
}

// `to` has tiles' rows of 16 units; what these lack is zero.
void copy_units(const void* const* rows, std::int64_t count, std::int64_t p, std::int64_t units,
                Unit* to) {
  const auto mask = static_cast<__mmask16>(0xffff >> (kTileSide - units));
  for (std::int64_t i = 0; i < count; ++i)
    _mm512_store_si512(to + i * kTileSide,
                       _mm512_maskz_loadu_epi32(mask, static_cast<const Unit*>(rows[i]) + p));
}

// The sums of up to 32 rows, each segment by tiles of its own.
template <int R, int C>
void multiply_segments(const RowBlock& s, const void* const* rows, std::int64_t count,
                       float* sums) {
  alignas(64) Unit left[kBlockSide * kTileSide] = {}, right[kTileSide * kBlockSide];
  const auto* b = static_cast<const Unit*>(s.b);
  start_sums<R, C>(sums, kBlockSide, s.add);
  for (std::int64_t i = 0; i < s.segments;
       b += s.lengths[i++] * kBlockSide, rows += s.segment_step) {
    const std::int64_t length = s.lengths[i], step = step_of(rows, count);
    for (std::int64_t p = 0; p < length; p += kTileSide) {
      const std::int64_t units = least(kTileSide, length - p);
      const Unit *a = static_cast<const Unit*>(rows[0]) + p, *below = b + p * kBlockSide;
      if (step == 0 || units < kTileSide) copy_units(rows, count, p, units, left), a = left;
      if (units < kTileSide) {
        std::memcpy(right, below, static_cast<std::size_t>(units * kBlockSide) * sizeof(Unit));
        std::memset(right + units * kBlockSide, 0,
                    static_cast<std::size_t>((kTileSide - units) * kBlockSide) * sizeof(Unit));
        below = right;
      }
      add_pairs<R, C>(a, a == left ? kTileSide : step, below, kBlockSide);
    }
  }
  store_sums<R, C>(sums, kBlockSide);
}

template <bool kRounds>
void multiply_rows(const RowBlock& s) {
  TileShapes shapes;
  alignas(64) float sums[kBlockSide * kBlockSide];
  for (std::int64_t i = 0; i < s.row_count; i += kBlockSide) {
    const std::int64_t count = least(s.row_count - i, kBlockSide);
    const auto each = [&](auto f) {
      for (std::int64_t r = 0; r < count; ++r)
        for (std::int64_t j = 0; j < s.columns; j += kTileSide) {
          const std::int64_t width = least(kTileSide, s.columns - j);
          f(static_cast<__mmask16>(0xffff >> (kTileSide - width)), sums + r * kBlockSide + j,
            static_cast<char*>(s.c[i + r]), s.column + j);
        }
    };
    if (s.add)
      each([](__mmask16 mask, float* sum, const char* row, std::int64_t j) {
        _mm512_store_ps(sum, _mm512_maskz_loadu_ps(mask, reinterpret_cast<const float*>(row) + j));
      });
    shapes.set(count, s.columns);
    by_tiles(count, s.columns,
             [&](auto R, auto C) { multiply_segments<R, C>(s, s.rows + i, count, sums); });
    each([](__mmask16 mask, const float* sum, char* row, std::int64_t j) {
      const __m512 v = _mm512_load_ps(sum);
      if constexpr (kRounds)
        _mm256_mask_storeu_epi16(reinterpret_cast<bfloat16_t*>(row) + j, mask,
                                 (__m256i)_mm512_cvtneps_pbh(v));
      else
        _mm512_mask_storeu_ps(reinterpret_cast<float*>(row) + j, mask, v);
    });
  }
}

}  // namespace

void fill_windows(WindowKernels& table) {
  table.multiply_pairs = multiply_rows<false>;
  table.round_pairs = multiply_rows<true>;
}

}  // namespace cermet::cpu::CERMET_ISA
