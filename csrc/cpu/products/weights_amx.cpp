// Quantized weights as bytes, by tiles of these: the integers of many rows' groups, which are
// exact, so that few rows take vectors and have the same bits.
#include "cpu/products/amx.h"
#include "cpu/products/quads.h"

namespace cermet::cpu::CERMET_ISA {
namespace {

using Unit = std::uint32_t;

template <int kSum, int kA, int kB>
[[gnu::always_inline]] inline void add_tiles_of_quads() {
  asm volatile("tdpbsud %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(kSum), "i"(kA), "i"(kB));
}

// How many units of a group a tile takes.
std::int64_t depth_of(std::int64_t group) { return least(group, kTileSide); }

// The sums of each slice of a group, for up to 16 rows and a panel: tiles 0 to 2 are the slices' of
// the first half of its columns.
void sum_group(const Unit* a, std::int64_t a_step, const Unit* b, std::int64_t group,
               std::int32_t (&sums)[2][kSlices][kTileSide * kTileSide]) {
  constexpr int kA = 6, kB = 7;
  constexpr std::int64_t panel = kBlockSide, kRow = 4 * kTileSide;
  zero_tile<0>(), zero_tile<1>(), zero_tile<2>(), zero_tile<3>(), zero_tile<4>(), zero_tile<5>();
  for (std::int64_t p = 0; p < group; p += kTileSide) {
    load_tile<kB>(b + p * panel, 4 * panel);
    load_tile<kA>(a + p, 4 * a_step);
    add_tiles_of_quads<0, kA, kB>();
    load_tile<kA>(a + group + p, 4 * a_step);
    add_tiles_of_quads<1, kA, kB>();
    load_tile<kA>(a + 2 * group + p, 4 * a_step);
    add_tiles_of_quads<2, kA, kB>();
    load_tile<kB>(b + p * panel + kTileSide, 4 * panel);
    add_tiles_of_quads<5, kA, kB>();
    load_tile<kA>(a + group + p, 4 * a_step);
    add_tiles_of_quads<4, kA, kB>();
    load_tile<kA>(a + p, 4 * a_step);
    add_tiles_of_quads<3, kA, kB>();
  }
  store_tile<0>(sums[0][0], kRow), store_tile<1>(sums[0][1], kRow);
  store_tile<2>(sums[0][2], kRow), store_tile<3>(sums[1][0], kRow);
  store_tile<4>(sums[1][1], kRow), store_tile<5>(sums[1][2], kRow);
}

void multiply_tile(const Block& block, const Unit* a, const Unit* b, std::int64_t rows,
                   std::int64_t columns, const float* row_sums, float* c) {
  constexpr std::int64_t L = kTileSide, panel = kBlockSide;
  const std::int64_t group = block.sums.group, groups = block.depth / group;
  const auto* scales = reinterpret_cast<const float*>(b + block.depth * panel);
  alignas(64) std::int32_t sums[2][kSlices][kTileSide * kTileSide];
  for (std::int64_t g = 0; g < groups; ++g, row_sums += block.sums.parts) {
    sum_group(a + kSlices * g * group, block.a_step, b + g * group * panel, group, sums);
    for (std::int64_t j = 0; j < columns; j += L) {
      const auto mask = static_cast<__mmask16>(0xffff >> (L - least(L, columns - j)));
      const Vector<float> scale = load(scales + g * panel + j),
                          bias = load(scales + (groups + g) * panel + j);
      for (std::int64_t r = 0; r < rows; ++r) {
        Vector<std::int32_t> slices[kSlices];
        for (int s = 0; s < kSlices; ++s) slices[s] = load(sums[j / L][s] + r * L);
        float* const to = c + r * block.c_step + j;
        const auto before =
            block.add || g > 0 ? (Vector<float>)_mm512_maskz_loadu_ps(mask, to) : Vector<float>{};
        _mm512_mask_storeu_ps(
            to, mask,
            (__m512)add_group(slices, scale, bias, row_sums + r * block.sums.step, before));
      }
    }
  }
}

void multiply_quads_by_tiles(const Block& block) {
  if (block.rows <= kQuadRows) return multiply_quads(block);
  TileShapes shapes;
  const auto *const a = static_cast<const Unit*>(block.a), *b = static_cast<const Unit*>(block.b);
  for (std::int64_t j = 0; j < block.columns; j += kBlockSide, b += block.b_step)
    for (std::int64_t i = 0; i < block.rows; i += kTileSide) {
      const std::int64_t rows = least(block.rows - i, kTileSide);
      if (block.kept) prefetch(b + block.b_step, block.b_step, i, i + rows, block.rows);
      shapes.set_sums(rows, depth_of(block.sums.group));
      multiply_tile(block, a + i * block.a_step, b, rows, least(block.columns - j, kBlockSide),
                    block.sums.data + i * block.sums.step,
                    static_cast<float*>(block.c) + i * block.c_step + j);
    }
}

}  // namespace

void fill_scaled(ProductKernels& table) {
  table.quads.rows = kTileSide, table.quads.by_rows = true;
  table.quads.multiply = multiply_quads_by_tiles;
}

}  // namespace cermet::cpu::CERMET_ISA
