// Merging of axes.
#include "graph/layout.h"

#include <algorithm>

namespace cermet {

bool is_row_major(const Shape& shape, const Strides& strides) {
  std::int64_t expected = 1;
  for (std::size_t i = shape.size(); i-- > 0; expected *= shape[i])
    if (shape[i] != 1 && strides[i] != expected) return false;
  return true;
}

void merge_axes(Shape& shape, std::span<Strides> strides) {
  std::size_t kept = 0;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] == 1) continue;
    const bool merges = kept > 0 && std::all_of(strides.begin(), strides.end(), [&](auto& s) {
                          return s[kept - 1] == s[i] * shape[i];
                        });
    if (!merges) ++kept;
    shape[kept - 1] = merges ? shape[kept - 1] * shape[i] : shape[i];
    for (Strides& s : strides) s[kept - 1] = s[i];
  }
  shape.resize(kept);
  for (Strides& s : strides) s.resize(kept);
}

}  // namespace cermet
