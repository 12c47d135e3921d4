// Sets of a domain's axes, as bits. A domain is a shape without the axes of extent 1.
#pragma once

#include <algorithm>
#include <cstdint>

#include "graph/primitives/arithmetic.h"

namespace cermet {

using Mask = std::uint64_t;
inline constexpr std::size_t kMaxMaskedAxes = 60;  // of a node that fuses

inline Shape without_units(const Shape& shape) {
  Shape out;
  for (const std::int64_t d : shape)
    if (d != 1) out.push_back(d);
  return out;
}

inline Mask all_axes(std::size_t n) { return n >= 64 ? ~Mask{0} : (Mask{1} << n) - 1; }

// The axes of its input's domain that a reduction reduces.
inline Mask reduced_mask(const Node& reduction) {
  const Axes& axes = static_cast<const Reduce&>(*reduction.primitive).axes;
  const Shape& shape = reduction.inputs[0].shape();
  Mask mask = 0;
  int axis = 0;
  for (int d = 0; d < static_cast<int>(shape.size()); ++d) {
    if (shape[d] == 1) continue;
    if (std::find(axes.begin(), axes.end(), d) != axes.end()) mask |= Mask{1} << axis;
    ++axis;
  }
  return mask;
}

// The axes of an input that broadcasts to `shape`, whose axes lie at `mask`.
inline Mask broadcast_mask(const Shape& shape, Mask mask, const Shape& input) {
  if (input == shape) return mask;
  Mask out = 0;
  const std::size_t skip = shape.size() - input.size();
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] == 1) continue;
    const Mask axis = mask & -mask;
    mask ^= axis;
    if (i >= skip && input[i - skip] != 1) out |= axis;
  }
  return out;
}

// In how many chunks a device reduces, by the extents around the reduced axes.
inline std::int64_t chunks_of(const Node& reduction,
                              std::int64_t (*chunks)(std::int64_t, std::int64_t, std::int64_t)) {
  const Shape domain = without_units(reduction.inputs[0].shape());
  if (domain.size() > kMaxMaskedAxes) return 1;
  const Mask reduced = reduced_mask(reduction);
  std::int64_t outer = 1, length = 1, inner = 1;
  for (int a = 0; a < static_cast<int>(domain.size()); ++a)
    (reduced >> a & 1 ? length : reduced >> a ? outer : inner) *= domain[a];
  return chunks(outer, length, inner);
}

}  // namespace cermet
