// Packing: from what a source reads to panels.
#pragma once

#include "cpu/products/source.h"

namespace cermet::cpu::CERMET_ISA {

template <class Source>
void pack(const Strip& strip, std::int64_t W, std::int64_t step, void* panels) {
  using Unit = typename Source::Unit;
  constexpr std::int64_t L = kVectorLanes<Unit>;
  const Source source(strip);
  // A vector may reach into the next depth's units, which come later.
  const auto put = [&](Unit* row, std::int64_t w, Vector<Unit> v) {
    if (w + L <= W || w == 0) return store(row + w, v);
    for (std::int64_t l = 0; w + l < W; ++l) row[w + l] = v[l];
  };
  auto* to = static_cast<Unit*>(panels);
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
      for (std::int64_t first = 0; first < strip.width; first += W, row += step)
        for (std::int64_t w = 0; w < W; w += L) put(row, w, source.row(p, first + w));
    }
  }
}

}  // namespace cermet::cpu::CERMET_ISA
