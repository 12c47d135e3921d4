// Columns along an axis before the last, spread over threads; for arg_reduce and scan.
#pragma once

#include "cpu/layout.h"

namespace cermet::cpu {

// Calls f(place before the axis, first column, columns) for bands of at most `most` columns, which
// are enough for all threads.
template <class F>
void for_each_band(std::int64_t outer, std::int64_t n, std::int64_t inner, std::int64_t most, F f) {
  const std::int64_t parts = 4 * get_num_threads() / outer;
  const std::int64_t band =
      parts > 1 ? std::clamp<std::int64_t>(inner / parts, std::min<std::int64_t>(64, most), most)
                : most;
  const std::int64_t bands = (inner - 1) / band + 1;
  parallel_for(outer * bands, grain_for(n * std::min(inner, band)),
               [&](std::int64_t begin, std::int64_t end) {
                 for (; begin < end; ++begin) {
                   const std::int64_t first = begin % bands * band;
                   f(begin / bands, first, std::min(band, inner - first));
                 }
               });
}

}  // namespace cermet::cpu
