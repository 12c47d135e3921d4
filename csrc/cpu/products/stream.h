// Products of few rows: the other operand is used as it is read, without panels.
#pragma once

#include "cpu/products/source.h"
#include "cpu/products/tile.h"

namespace cermet::cpu::CERMET_ISA {

// Adds depth p of one vector of columns to the sums of R rows.
template <class K, int R>
inline void add_depth(const typename K::Unit* const (&a)[R], std::int64_t p,
                      Vector<typename K::Unit> b, Vector<typename K::Sum> (&sums)[R]) {
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) sums[r] = K::add(splat_at(a[r] + p), b, sums[r]);
}

// The sums have the order of `tile`.
template <class K, class Source, int R>
void stream_rows(const Stream& s) {
  using Unit = typename K::Unit;
  using Sum = typename K::Sum;
  constexpr std::int64_t L = kVectorLanes<Unit>;
  const Source source(s.b);
  const Unit* a[R];  // a missing row is the last one
  for (int r = 0; r < R; ++r)
    a[r] = static_cast<const Unit*>(s.a) + (r < s.rows ? r : s.rows - 1) * s.a_step;
  auto* const c = static_cast<Sum*>(s.c);
  const std::int64_t columns = s.b.width, depth = source.depth;
  const auto finish = [&](std::int64_t j, const Vector<Sum>(&sums)[R], bool add)
                          __attribute__((always_inline)) {
#pragma GCC unroll 8
                            for (int r = 0; r < R; ++r) {
                              if (r >= s.rows) break;
                              Sum* const to = c + r * s.c_step + j;
                              if (j + L <= columns) {
                                store(to, add ? load(to) + sums[r] : sums[r]);
                                continue;
                              }
                              for (std::int64_t l = 0; j + l < columns; ++l)
                                to[l] = add ? to[l] + sums[r][l] : sums[r][l];
                            }
                          };
  const auto block_end = [&](std::int64_t p) {
    return p + kBlockDepth < depth ? p + kBlockDepth : depth;
  };
  if constexpr (Source::kReads != Reads::rows)
    if (source.along()) {
      constexpr int G = Source::kReads == Reads::along ? (R == 1 ? 4 : 2) : 1;
      std::int64_t j = 0;
      // Of few rows a sum waits for the one before: two vectors of columns are under way, if near.
      if constexpr (Source::kReads == Reads::either && R <= 2)
        for (; j + L < columns && source.is_near(); j += 2 * L) {
          const typename Source::template Columns<1> b[2] = {{source, j}, {source, j + L}};
          for (std::int64_t p = 0; p < depth; p += kBlockDepth) {
            Vector<Sum> sums[2][R] = {};
            for (std::int64_t q = p, end = block_end(p); q < end; q += L)
#pragma GCC unroll 2
              for (int g = 0; g < 2; ++g)
                b[g].visit(
                    q, q + L < end ? q + L : end,
                    [&](std::int64_t d, const Vector<Unit>(&v)[1])
                        __attribute__((always_inline)) { add_depth<K, R>(a, d, v[0], sums[g]); });
            for (int g = 0; g < 2; ++g) finish(j + g * L, sums[g], s.add || p > 0);
          }
        }
      for (; j < columns; j += G * L) {
        typename Source::template Columns<G> b(source, j);
        for (std::int64_t p = 0; p < depth; p += kBlockDepth) {
          Vector<Sum> sums[G][R] = {};
          const auto sink = [&](std::int64_t q, const Vector<Unit>(&v)[G])
                                __attribute__((always_inline)) {
#pragma GCC unroll 4
                                  for (int g = 0; g < G; ++g) add_depth<K, R>(a, q, v[g], sums[g]);
                                };
          if constexpr (Source::kReads == Reads::either) {
            constexpr std::int64_t kAhead = 8 * L;  // of more rows than a machine follows
            for (std::int64_t q = p, end = block_end(p); q < end; q += L) {
              for (std::int64_t l = 0; l < L; ++l) source.prefetch(q + kAhead, j + l);
              b.visit(q, q + L < end ? q + L : end, sink);
            }
          } else {
            b.visit(p, block_end(p), sink);
          }
          for (int g = 0; g < G && j + g * L < columns; ++g)
            finish(j + g * L, sums[g], s.add || p > 0);
        }
      }
      return;
    }
  if constexpr (Source::kReads != Reads::along) {
    constexpr std::int64_t kColumns = 1024, kDepths = 16 / Source::kDepth;
    Sum kept[R * kColumns];
    for (std::int64_t first = 0; first < columns; first += kColumns) {
      const std::int64_t last = first + kColumns < columns ? first + kColumns : columns;
      for (std::int64_t block = 0; block < depth; block += kBlockDepth) {
        const std::int64_t end = block_end(block);
        for (std::int64_t p = block; p < end; p += kDepths) {
          const std::int64_t count = end - p < kDepths ? end - p : kDepths;
          for (std::int64_t j = first; j < last; j += L) {
            Vector<Sum> sums[R];
            Sum* const at = kept + (j - first) * R;
#pragma GCC unroll 8
            for (int r = 0; r < R; ++r) sums[r] = p > block ? load(at + r * L) : Vector<Sum>{};
            if (count == kDepths && source.has_rows(p, j, kDepths)) {
#pragma GCC unroll 16
              for (std::int64_t l = 0; l < kDepths; ++l) {
                source.prefetch(p + kDepths + l, j);  // short streams, and many
                add_depth<K, R>(a, p + l, source.row_at(p + l, j), sums);
              }
            } else {
              for (std::int64_t l = 0; l < count; ++l)
                add_depth<K, R>(a, p + l, source.row(p + l, j), sums);
            }
            if (p + count == end) {
              finish(j, sums, s.add || block > 0);
              continue;
            }
#pragma GCC unroll 8
            for (int r = 0; r < R; ++r) store(at + r * L, sums[r]);
          }
        }
      }
    }
  }
}

template <class K, class Source>
void stream(const Stream& s) {
  switch (s.rows <= 2 ? s.rows : s.rows <= 4 ? 4 : 8) {
    case 1: return stream_rows<K, Source, 1>(s);
    case 2: return stream_rows<K, Source, 2>(s);
    case 4: return stream_rows<K, Source, 4>(s);
    default: return stream_rows<K, Source, 8>(s);
  }
}

}  // namespace cermet::cpu::CERMET_ISA
