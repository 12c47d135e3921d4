// Packing: from what a source reads to panels.
#pragma once

#include "cpu/products/source.h"

namespace cermet::cpu::CERMET_ISA {

template <class Source>
void pack_panels(const Strip& strip, std::int64_t W, std::int64_t step, void* panels) {
  using Unit = typename Source::Unit;
  constexpr std::int64_t L = kVectorLanes<Unit>;
  const Source source(strip);
  auto* to = static_cast<Unit*>(panels);
  // Of a narrow panel a vector reaches into the next depth's units, which come later.
  const auto put = [&](Unit* row, std::int64_t w, Vector<Unit> v) __attribute__((always_inline)) {
    if (w + L <= W || w == 0) return store(row + w, v);
    for (std::int64_t l = 0; w + l < W; ++l) row[w + l] = v[l];
  };
  if constexpr (Source::kReads != Reads::rows)
    if (source.along()) {
      for (std::int64_t first = 0; first < strip.width; first += W, to += step)
        for (std::int64_t w = 0; w < W; w += L)
          typename Source::template Columns<1>(source, first + w)
              .visit(0, source.depth,
                     [&](std::int64_t p, const Vector<Unit>(&v)[1])
                         __attribute__((always_inline)) { put(to + p * W, w, v[0]); });
      return;
    }
  if constexpr (Source::kReads != Reads::along) {
    // All panels by rows of equal depth: memory far apart is touched once.
    for (std::int64_t p = 0; p < source.depth; ++p) {
      Unit* row = to + p * W;
      std::int64_t first = 0;
      if constexpr (requires { source.row_at(p, first); })
        for (; W % L == 0 && first < strip.width && source.has_rows(p, first + W - L, 1);
             first += W, row += step) {
          source.prefetch(p + 8, first);
          for (std::int64_t w = 0; w < W; w += L) store(row + w, source.row_at(p, first + w));
        }
      for (; first < strip.width; first += W, row += step)
        for (std::int64_t w = 0; w < W; w += L) {
          source.prefetch(p + 8, first + w);
          put(row, w, source.row(p, first + w));
        }
    }
  }
}

// Rows by depth, of an operand whose rows or columns are contiguous, or neither.
template <class R>
void pack_rows(const Strip& strip, std::int64_t step, void* rows) {
  using Unit = typename R::Unit;
  constexpr std::int64_t L = kVectorLanes<Unit>;
  const Source<R> source(strip);
  auto* const to = static_cast<Unit*>(rows);
  for (std::int64_t w = 0; w < strip.width; w += source.along() ? 1 : L) {
    std::int64_t p = 0;
    if (source.along()) {
      for (; source.has_depths(p); p += L) store(to + w * step + p, source.depths_at(p, w));
      for (; p < source.depth; ++p) to[w * step + p] = source.one(p, w);
      continue;
    }
    const std::int64_t count = strip.width - w < L ? strip.width - w : L;
    for (; count == L && source.has_rows(p, w, L); p += L) {
      Vector<Unit> v[L];
      for (std::int64_t l = 0; l < L; ++l) v[l] = source.row_at(p + l, w);
      transpose<Unit>(v);
      for (std::int64_t l = 0; l < L; ++l) store(to + (w + l) * step + p, v[l]);
    }
    for (; p < source.depth; ++p)
      for (std::int64_t l = 0; l < count; ++l) to[(w + l) * step + p] = source.one(p, w + l);
  }
}

}  // namespace cermet::cpu::CERMET_ISA
