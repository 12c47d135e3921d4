// Small helpers that the primitives' rules share.
#pragma once

#include <string>

#include "graph/primitives.h"

namespace cermet {

// Undoes a broadcast: sums `a` over the axes along which an array of this shape was repeated.
array sum_to_shape(const array& a, const Shape& shape);
// Unit axes behind the batch axis, so that entries with `ndim` axes broadcast as they did
// unbatched.
array expand_entries(const array& a, int ndim);
// The shape of a batch of such entries.
Shape batch_shape(std::int64_t batch, const Shape& entry);
// The batch axis and the first of the entries as one.
array fold_batch(const array& a);
// The axes of an entry as axes of the batch.
Axes batch_axes(const Axes& axes);
// The stop that gives `count` elements from start with this step, as slice() takes it.
Shape slice_stop(const Shape& start, const Shape& step, const Shape& count);
// Text for `parameters`: "(0, 1)".
template <class Values>
std::string tuple(const Values& values) {
  std::string text = "(";
  for (const auto& v : values) text += (text.size() > 1 ? ", " : "") + std::to_string(v);
  return text + ")";
}
// Thrown by output_shape when the parameters do not say what becomes of another input shape.
[[noreturn]] void refuse_shapes(const Primitive& primitive, std::span<const array> inputs);

}  // namespace cermet
