// Products with quantized weights whose groups are scaled after they are summed. The order of a
// sum: units of a group ascending, groups ascending, each rounded once when its scaled sum is added
// and once when its bias is; spans as ever.
#pragma once

#include "cpu/products/stream.h"
#include "cpu/products/weights.h"

namespace cermet::cpu::CERMET_ISA {

template <class Source, bool kBiased>
void pack_scaled(const Strip& strip, std::int64_t W, std::int64_t step, void* panels) {
  using Unit = typename Source::Unit;
  constexpr std::int64_t L = kVectorLanes<Unit>;
  const Source source(strip);
  const std::int64_t groups = source.groups();
  auto* to = static_cast<Unit*>(panels);
  for (std::int64_t first = 0; first < strip.width; first += W, to += step)
    for (std::int64_t w = 0; w < W; w += L) {
      typename Source::template Columns<1> columns(source, first + w);
      columns.visit(0, source.depth,
                    [&](std::int64_t p, const Vector<Unit>(&v)[1])
                        __attribute__((always_inline)) { store(to + p * W + w, v[0]); });
      auto* const scales = reinterpret_cast<float*>(to + source.depth * W) + w;
      for (std::int64_t g = 0; g < groups; ++g) {
        store(scales + g * W, columns.scales[0][g]);
        if constexpr (kBiased) store(scales + (groups + g) * W, columns.biases[0][g]);
      }
    }
}

// `tile` over one group, scaled.
template <class K, int R, int V>
[[gnu::noinline]] void scaled_tile(const typename K::Unit* a, std::int64_t a_step,
                                   const typename K::Unit* b, std::int64_t depth, float* c,
                                   std::int64_t c_step, bool add, const float* scales,
                                   const float* biases, const float* row_sums,
                                   std::int64_t row_step) {
  constexpr int L = kVectorLanes<float>, panel = kTileVectors * L;
  Vector<float> sums[R][V] = {};
  const typename K::Unit* rows[R];
  for (int r = 0; r < R; ++r) rows[r] = a + r * a_step;
  for (std::int64_t p = 0; p < depth; ++p, b += panel) {
    Vector<typename K::Unit> right[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) right[v] = load(b + v * L);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const Vector<typename K::Unit> left = splat(rows[r][p]);
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) sums[r][v] = K::add(left, right[v], sums[r][v]);
    }
  }
#pragma GCC unroll 4
  for (int v = 0; v < V; ++v) {
    const Vector<float> scale = load(scales + v * L);
    const Vector<float> bias = biases ? load(biases + v * L) : Vector<float>{};
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      float* const to = c + r * c_step + v * L;
      Vector<float> sum = multiply_add(scale, sums[r][v], add ? load(to) : Vector<float>{});
      if (biases) sum = multiply_add(bias, splat(row_sums[r * row_step]), sum);
      store(to, sum);
    }
  }
}

template <class K, int... i>
constexpr auto scaled_tiles(std::integer_sequence<int, i...>) {
  struct {
    decltype(&scaled_tile<K, 1, 1>) at[sizeof...(i)];
  } table{{&scaled_tile<K, i / kTileVectors + 1, i % kTileVectors + 1>...}};
  return table;
}

template <class K>
void multiply_scaled(const Block& block) {
  using Unit = typename K::Unit;
  static constexpr auto table =
      scaled_tiles<K>(std::make_integer_sequence<int, kTileRows * kTileVectors>());
  constexpr std::int64_t L = kVectorLanes<float>, panel = kTileVectors * L;
  const auto *a = static_cast<const Unit*>(block.a), *b = static_cast<const Unit*>(block.b);
  auto* const c = static_cast<float*>(block.c);
  const RowSums& row = block.sums;
  const std::int64_t most = even_part(block.rows, kTileRows);
  const std::int64_t groups = (block.depth - 1) / row.group + 1;
  for (std::int64_t j = 0; j < block.columns; j += panel, b += block.b_step) {
    const std::int64_t columns = block.columns - j < panel ? block.columns - j : panel;
    const std::int64_t vectors = (columns - 1) / L + 1;
    const auto* const scales = reinterpret_cast<const float*>(b + block.depth * panel);
    const float* const biases = row.data ? scales + groups * panel : nullptr;
    for (std::int64_t i = 0; i < block.rows; i += most) {
      const std::int64_t rows = block.rows - i < most ? block.rows - i : most;
      const auto run = table.at[(rows - 1) * kTileVectors + vectors - 1];
      float* to = c + i * block.c_step + j;
      std::int64_t step = block.c_step;
      const bool partial = columns != vectors * L;
      float edge[kTileRows * panel];
      if (partial) {
        for (std::int64_t r = 0; block.add && r < rows; ++r)
          for (std::int64_t l = 0; l < columns; ++l) edge[r * panel + l] = to[r * step + l];
        step = panel;
      }
      for (std::int64_t g = 0, p = 0; g < groups; ++g, p += row.group)
        run(a + i * block.a_step + p, block.a_step, b + p * panel,
            block.depth - p < row.group ? block.depth - p : row.group, partial ? edge : to, step,
            block.add || g > 0, scales + g * panel, biases ? biases + g * panel : nullptr,
            biases ? row.data + i * row.step + g : nullptr, row.step);
      for (std::int64_t r = 0; partial && r < rows; ++r)
        for (std::int64_t l = 0; l < columns; ++l) to[r * block.c_step + l] = edge[r * panel + l];
    }
  }
}

template <class K, class Source, bool kBiased, int R>
void stream_scaled_rows(const Stream& s) {
  using Unit = typename K::Unit;
  constexpr std::int64_t L = kVectorLanes<Unit>;
  constexpr int G = R == 1 ? 4 : R < 8 ? 2 : 1;
  const Source source(s.b);
  const Unit* a[R];  // a missing row is the last one
  const float* row_sums[R];
  for (int r = 0; r < R; ++r) {
    const std::int64_t row = r < s.rows ? r : s.rows - 1;
    a[r] = static_cast<const Unit*>(s.a) + row * s.a_step;
    row_sums[r] = kBiased ? s.sums.data + row * s.sums.step : nullptr;
  }
  const std::int64_t columns = s.b.width, group = s.sums.group;
  for (std::int64_t j = 0; j < columns; j += G * L) {
    typename Source::template Columns<G> b(source, j);
    Vector<float> totals[G][R] = {};
    for (std::int64_t g = 0, p = 0; p < source.depth; ++g, p += group) {
      Vector<float> sums[G][R] = {};
      const std::int64_t end = source.depth - p < group ? source.depth : p + group;
      b.visit(p, end,
              [&](std::int64_t q, const Vector<Unit>(&v)[G]) __attribute__((always_inline)) {
#pragma GCC unroll 4
                for (int i = 0; i < G; ++i) add_depth<K, R>(a, q, v[i], sums[i]);
              });
#pragma GCC unroll 4
      for (int i = 0; i < G; ++i)
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) {
          totals[i][r] = multiply_add(b.scales[i][g], sums[i][r], totals[i][r]);
          if constexpr (kBiased)
            totals[i][r] = multiply_add(b.biases[i][g], splat(row_sums[r][g]), totals[i][r]);
        }
    }
    for (int i = 0; i < G; ++i)
      for (int r = 0; r < R && r < s.rows; ++r)
        for (std::int64_t l = 0; l < L && j + i * L + l < columns; ++l)
          static_cast<float*>(s.c)[r * s.c_step + j + i * L + l] = totals[i][r][l];
  }
}

template <class K, class Source, bool kBiased>
void stream_scaled(const Stream& s) {
  switch (s.rows <= 2 ? s.rows : s.rows <= 4 ? 4 : 8) {
    case 1: return stream_scaled_rows<K, Source, kBiased, 1>(s);
    case 2: return stream_scaled_rows<K, Source, kBiased, 2>(s);
    case 4: return stream_scaled_rows<K, Source, kBiased, 4>(s);
    default: return stream_scaled_rows<K, Source, kBiased, 8>(s);
  }
}

}  // namespace cermet::cpu::CERMET_ISA
