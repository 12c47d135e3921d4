// The instructions that add the products of pairs of bfloat16.
#pragma once

#include "cermet/dtype.h"
#include "cpu/products/tile.h"

namespace cermet::cpu::CERMET_ISA {

struct Dot {
  using Unit = std::uint32_t;
  using Sum = float;
  static constexpr int kNumbers = 2;
  static Vector<float> add(Vector<Unit> a, Vector<Unit> b, Vector<float> c) {
#if defined(__AVX512BF16__)
    return (Vector<float>)_mm512_dpbf16_ps((__m512)c, (__m512bh)a, (__m512bh)b);
#else
    return (Vector<float>)vbfdotq_f32((float32x4_t)c, (bfloat16x8_t)a, (bfloat16x8_t)b);
#endif
  }
  // As others round: the instruction for this flushes numbers that sums of pairs never are.
  static void round(Vector<float> sums, bfloat16_t* to) {
#if defined(__AVX512BF16__)
    const __m256bh rounded = _mm512_cvtneps_pbh((__m512)sums);
#else
    const bfloat16x4_t rounded = vcvt_bf16_f32((float32x4_t)sums);
#endif
    std::memcpy(to, &rounded, sizeof rounded);
  }
};

#if defined(__aarch64__)

// The instruction for 2 rows x 4 numbers times 4 numbers x 2 columns: it adds two pairs to each
// sum, one after the other and rounded as the other instruction rounds.
struct MatrixDot : Dot {};

template <int R, int V>
[[gnu::noinline]] void matrix_tile(const std::uint32_t* a, std::int64_t a_row, std::int64_t a_depth,
                                   const std::uint32_t* b, std::int64_t b_row, std::int64_t depth,
                                   float* c, std::int64_t c_step, bool add) {
  if (a_depth != 1) return tile<Dot, R, V>(a, a_row, a_depth, b, b_row, depth, c, c_step, add);
  constexpr int L = 4, P = (R + 1) / 2;
  float32x4_t sums[P][2 * V] = {};   // of two rows and two columns
  const std::uint32_t* rows[2 * P];  // a missing row is the last one
  for (int r = 0; r < 2 * P; ++r) rows[r] = a + (r < R ? r : R - 1) * a_row;
  const auto step = [&](std::int64_t p, auto read, bool whole) __attribute__((always_inline)) {
    bfloat16x8_t right[2 * V];
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) {
      const uint32x4_t low = vld1q_u32(b + v * L),
                       high = whole ? vld1q_u32(b + b_row + v * L) : vdupq_n_u32(0);
      right[2 * v] = vreinterpretq_bf16_u32(vzip1q_u32(low, high));
      right[2 * v + 1] = vreinterpretq_bf16_u32(vzip2q_u32(low, high));
    }
#pragma GCC unroll 6
    for (int r = 0; r < P; ++r) {
      const bfloat16x8_t left =
          vreinterpretq_bf16_u32(vcombine_u32(read(rows[2 * r] + p), read(rows[2 * r + 1] + p)));
#pragma GCC unroll 4
      for (int v = 0; v < 2 * V; ++v) sums[r][v] = vbfmmlaq_f32(sums[r][v], left, right[v]);
    }
  };
  std::int64_t p = 0;
  for (; p + 2 <= depth; p += 2, b += 2 * b_row)
    step(p, [](const std::uint32_t* x) { return vld1_u32(x); }, true);
  const auto last = [](const std::uint32_t* x) {
    std::uint32_t one;
    std::memcpy(&one, x, sizeof one);
    return vcreate_u32(one);
  };
  if (p < depth) step(p, last, false);
#pragma GCC unroll 12
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) {
      const float32x4_t x = sums[r / 2][2 * v], y = sums[r / 2][2 * v + 1];
      const auto sum =
          (Vector<float>)(r % 2 == 0 ? vcombine_f32(vget_low_f32(x), vget_low_f32(y))
                                     : vcombine_f32(vget_high_f32(x), vget_high_f32(y)));
      float* const to = c + r * c_step + v * L;
      store(to, add ? load(to) + sum : sum);
    }
}

template <int R, int V>
struct TileOf<MatrixDot, R, V> {
  static constexpr Tile<MatrixDot> run = &matrix_tile<R, V>;
};

#else
using MatrixDot = Dot;
#endif

}  // namespace cermet::cpu::CERMET_ISA
