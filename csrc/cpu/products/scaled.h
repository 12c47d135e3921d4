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
  const auto pack = [&](auto columns, std::int64_t w) {
    columns.visit(0, source.depth,
                  [&](std::int64_t p, const Vector<Unit>(&v)[1])
                      __attribute__((always_inline)) { store(to + p * W + w, v[0]); });
    auto* const scales = reinterpret_cast<float*>(to + source.depth * W) + w;
    for (std::int64_t g = 0; g < groups; ++g) {
      store(scales + g * W, columns.scale(0, g));
      if constexpr (kBiased) store(scales + (groups + g) * W, columns.bias(0, g));
    }
  };
  for (std::int64_t first = 0; first < strip.width; first += W, to += step)
    for (std::int64_t w = 0; w < W; w += L)
      if (source.beside())
        pack(typename Source::template Beside<1>(source, first + w), w);
      else
        pack(typename Source::template Columns<1>(source, first + w), w);
}

// A tile over the groups of a block. The registers hold the sums of a group, memory the totals.
template <class K, int R, int V>
[[gnu::noinline]] void scaled_tile(const typename K::Unit* a, const typename K::Unit* b,
                                   const Block& block, const float* row_sums, float* c,
                                   std::int64_t c_step) {
  using Unit = typename K::Unit;
  constexpr int L = kVectorLanes<float>, panel = kTileVectors * L;
  const std::int64_t group = block.sums.group, groups = (block.depth - 1) / group + 1;
  const auto* scales = reinterpret_cast<const float*>(b + block.depth * panel);
  constexpr int kGroups = (R + 2) / 3;  // three rows to a pointer, as in `tile`
  const Unit* rows[kGroups];
  for (int i = 0; i < kGroups; ++i) rows[i] = a + 3 * i * block.a_step;
  for (std::int64_t g = 0; g < groups; ++g, scales += panel) {
    Vector<float> sums[R][V] = {};
    const std::int64_t depth = g + 1 < groups ? group : block.depth - g * group;
    for (std::int64_t p = 0; p < depth; ++p, b += panel) {
      Vector<Unit> right[V];
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) right[v] = load(b + v * L);
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
        const Vector<Unit> left = splat_at(rows[r / 3] + r % 3 * block.a_step);
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) sums[r][v] = K::add(left, right[v], sums[r][v]);
      }
#pragma GCC unroll 4
      for (int i = 0; i < kGroups; ++i) ++rows[i];
    }
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) {
      const Vector<float> scale = load(scales + v * L);
      const Vector<float> bias = row_sums ? load(scales + groups * panel + v * L) : Vector<float>{};
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
        float* const to = c + r * c_step + v * L;
        Vector<float> total =
            multiply_add(scale, sums[r][v], block.add || g > 0 ? load(to) : Vector<float>{});
        if (row_sums) total = multiply_add(bias, splat(row_sums[r * block.sums.step + g]), total);
        store(to, total);
      }
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
  const auto* const a = static_cast<const Unit*>(block.a);
  for_tiles<Unit, float, kTileRows>(
      block, even_part(block.rows, kTileRows), block.b_step,
      [&](std::int64_t i, std::int64_t rows, std::int64_t vectors, const Unit* b, float* to,
          std::int64_t step) {
        table.at[(rows - 1) * kTileVectors + vectors - 1](
            a + i * block.a_step, b, block,
            block.sums.data ? block.sums.data + i * block.sums.step : nullptr, to, step);
      });
}

template <class K>
BlockKernel scaled_kernel() {
  return {kTileRows, kTileVectors * kVectorLanes<float>, K::kNumbers, &multiply_scaled<K>};
}

// A vector of columns from j on, as far as there are any.
inline void store_columns(float* row, std::int64_t j, std::int64_t columns, Vector<float> v) {
  constexpr std::int64_t L = kVectorLanes<float>;
  if (j + L <= columns) return store(row + j, v);
  for (std::int64_t l = 0; j + l < columns; ++l) row[j + l] = v[l];
}

inline Vector<float> load_columns(const float* row, std::int64_t j, std::int64_t columns) {
  constexpr std::int64_t L = kVectorLanes<float>;
  if (j + L <= columns) return load(row + j);
  Vector<float> v{};
  for (std::int64_t l = 0; j + l < columns; ++l) v[l] = row[j + l];
  return v;
}

// Calls add(columns, group, totals) for all columns, G vectors of them at a time, and all groups:
// those of some columns, or, where rows of weights lie side by side, the columns of a group.
template <class Source, int R, int G, class Add>
[[gnu::always_inline]] inline void stream_groups(const Stream& s, const Source& source, Add&& add) {
  constexpr std::int64_t L = kVectorLanes<float>;
  const std::int64_t columns = s.b.width, groups = (source.depth - 1) / s.sums.group + 1;
  const auto row = [&](int r) { return static_cast<float*>(s.c) + r * s.c_step; };
  Vector<float> totals[R][G];
  const auto put = [&](std::int64_t j) __attribute__((always_inline)) {
    for (int r = 0; r < R && r < s.rows; ++r)
      for (int i = 0; i < G; ++i) store_columns(row(r), j + i * L, columns, totals[r][i]);
  };
  if (source.beside()) {
    constexpr std::int64_t kTogether = Source::kTogether;
    const std::int64_t group = source.group(), together = group < kTogether ? kTogether / group : 1;
    for (std::int64_t first = 0, last; first < groups; first = last) {
      last = first + together < groups ? first + together : groups;
      for (std::int64_t j = 0; j < columns; j += G * L) {
        typename Source::template Beside<G> b(source, j);
        for (int r = 0; r < R; ++r)
          for (int i = 0; i < G; ++i)
            totals[r][i] = first > 0 && r < s.rows ? load_columns(row(r), j + i * L, columns)
                                                   : Vector<float>{};
        for (std::int64_t g = first; g < last; ++g) add(b, g, totals);
        put(j);
      }
    }
    return;
  }
  for (std::int64_t j = 0; j < columns; j += G * L) {
    typename Source::template Columns<G> b(source, j);
    for (int r = 0; r < R; ++r)
      for (int i = 0; i < G; ++i) totals[r][i] = Vector<float>{};
    for (std::int64_t g = 0; g < groups; ++g) add(b, g, totals);
    put(j);
  }
}

template <class K, class Source, bool kBiased, int R>
void stream_scaled_rows(const Stream& s) {
  using Unit = typename K::Unit;
  constexpr int G = R == 1 ? 4 : R < 8 ? 2 : 1;
  const Source source(s.b);
  const Unit* a[R];  // a missing row is the last one
  const float* row_sums[R];
  for (int r = 0; r < R; ++r) {
    const std::int64_t row = r < s.rows ? r : s.rows - 1;
    a[r] = static_cast<const Unit*>(s.a) + row * s.a_step;
    row_sums[r] = kBiased ? s.sums.data + row * s.sums.step : nullptr;
  }
  const std::int64_t group = s.sums.group;
  stream_groups<Source, R, G>(
      s, source,
      [&](auto& b, std::int64_t g, Vector<float>(&totals)[R][G]) __attribute__((always_inline)) {
        const std::int64_t p = g * group;
        Vector<float> sums[G][R] = {};
        b.visit(p, source.depth - p < group ? source.depth : p + group,
                [&](std::int64_t q, const Vector<Unit>(&v)[G]) __attribute__((always_inline)) {
#pragma GCC unroll 4
                  for (int i = 0; i < G; ++i) add_depth<K, R>(a, q, v[i], sums[i]);
                });
#pragma GCC unroll 4
        for (int i = 0; i < G; ++i) {
          const Vector<float> scale = b.scale(i, g);
          const Vector<float> bias = kBiased ? b.bias(i, g) : Vector<float>{};
#pragma GCC unroll 8
          for (int r = 0; r < R; ++r) {
            totals[r][i] = multiply_add(scale, sums[i][r], totals[r][i]);
            if constexpr (kBiased)
              totals[r][i] = multiply_add(bias, splat(row_sums[r][g]), totals[r][i]);
          }
        }
      });
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
