// Products of few rows: the other operand is used as it is read, without panels.
#pragma once

#include "cpu/products/source.h"
#include "cpu/products/tile.h"

namespace cermet::cpu::CERMET_ISA {

// Adds a depth of one vector of columns to the sums of R rows.
template <class K, int R>
inline void add_depth(const typename K::Unit* a, Vector<typename K::Unit> b,
                      Vector<typename K::Sum> (&sums)[R]) {
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) sums[r] = K::add(splat(a[r]), b, sums[r]);
}

// The sums have the order of `tile`.
template <class K, class Source, int R>
void stream_rows(const Stream& s) {
  using Unit = typename K::Unit;
  using Sum = typename K::Sum;
  constexpr std::int64_t L = kVectorLanes<Unit>;
  const Source source(s.b);
  const auto* const a = static_cast<const Unit*>(s.a);
  auto* const c = static_cast<Sum*>(s.c);
  const std::int64_t columns = s.b.width, depth = source.depth;
  const auto finish = [&](std::int64_t j, const Vector<Sum>(&sums)[R]) {
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      if (r >= s.rows) break;
      Sum* const to = c + r * s.c_step + j;
      if (j + L <= columns) {
        store(to, s.add ? load(to) + sums[r] : sums[r]);
        continue;
      }
      for (std::int64_t l = 0; j + l < columns; ++l)
        to[l] = s.add ? to[l] + sums[r][l] : sums[r][l];
    }
  };
  // As many streams of memory as a vector has lanes: more would be too many for the machine.
  const auto along = [&](const auto& source) {
    for (std::int64_t j = 0; j < columns; j += L) {
      Vector<Sum> sums[R] = {};
      source.visit(j, [&](std::int64_t p, Vector<Unit> b)
                          __attribute__((always_inline)) { add_depth<K, R>(a + p * R, b, sums); });
      finish(j, sums);
    }
  };
  if constexpr (Source::kReads == Reads::along) {
    along(source);
  } else {
    if constexpr (Source::kReads == Reads::either)
      if (source.along()) return along(source);
    constexpr std::int64_t kColumns = 1024, kDepths = 16 / Source::kDepth;
    Sum kept[R * kColumns];
    for (std::int64_t first = 0; first < columns; first += kColumns) {
      const std::int64_t last = first + kColumns < columns ? first + kColumns : columns;
      for (std::int64_t p = 0; p < depth; p += kDepths) {
        const std::int64_t count = depth - p < kDepths ? depth - p : kDepths;
        for (std::int64_t j = first; j < last; j += L) {
          Vector<Sum> sums[R];
          Sum* const at = kept + (j - first) * R;
#pragma GCC unroll 8
          for (int r = 0; r < R; ++r) sums[r] = p ? load(at + r * L) : Vector<Sum>{};
          if (source.has_rows(p, j, kDepths)) {
#pragma GCC unroll 16
            for (std::int64_t l = 0; l < kDepths; ++l)
              add_depth<K, R>(a + (p + l) * R, source.row_at(p + l, j), sums);
          } else {
            for (std::int64_t l = 0; l < count; ++l)
              add_depth<K, R>(a + (p + l) * R, source.row(p + l, j), sums);
          }
          if (p + kDepths >= depth) {
            finish(j, sums);
            continue;
          }
#pragma GCC unroll 8
          for (int r = 0; r < R; ++r) store(at + r * L, sums[r]);
        }
      }
    }
  }
}

template <class K, class Source>
void stream(const Stream& s) {
  switch (stream_width(s.rows)) {
    case 1: return stream_rows<K, Source, 1>(s);
    case 2: return stream_rows<K, Source, 2>(s);
    case 4: return stream_rows<K, Source, 4>(s);
    default: return stream_rows<K, Source, 8>(s);
  }
}

}  // namespace cermet::cpu::CERMET_ISA
