// Where elements are not zero: the one operation whose result has a shape that values decide, so it
// evaluates its argument.
#include <algorithm>
#include <limits>
#include <numeric>

#include "graph/check.h"
#include "graph/context.h"

namespace cermet {
namespace {

// The elements as bytes of 0 and 1, row-major.
array truth(const array& a, std::string_view op) {
  const array t = contiguous(a.dtype() == bool_ ? a : astype(a, bool_));
  try {
    context::evaluate({t});
  } catch (const std::invalid_argument& e) {  // of a trace
    fail(op,
         "how many elements are chosen must be known, so the mask is evaluated, which a trace "
         "cannot; where(mask, x, y) needs no evaluation. ",
         e.what());
  }
  return t;
}

// The places of the `count` true elements, an array for each axis.
template <class T>
Arrays places(const array& t, std::int64_t count) {
  const Shape& shape = t.shape();
  const auto* next = static_cast<const std::uint8_t*>(t.raw_data());
  std::vector<Ref<Buffer>> buffers;
  std::vector<T*> out;
  for (std::size_t i = 0; i < shape.size(); ++i) {  // with room for what a row writes and drops
    buffers.push_back(context::allocate(static_cast<std::size_t>(count + 1) * sizeof(T)));
    out.push_back(static_cast<T*>(buffers.back()->data()));
  }
  const std::int64_t length = shape.back();
  Shape row(shape.size() - 1, 0);
  for (std::int64_t found = 0; found < count; next += length) {
    context::check_interrupt();
    const std::int64_t before = found;
    T* const last = out.back();
    for (std::int64_t i = 0; i < length; ++i) {
      last[found] = static_cast<T>(i);
      found += next[i];
    }
    for (std::size_t axis = 0; axis < row.size(); ++axis)
      std::fill(out[axis] + before, out[axis] + found, static_cast<T>(row[axis]));
    for (std::size_t axis = row.size(); axis-- > 0;) {
      if (++row[axis] < shape[axis]) break;
      row[axis] = 0;
    }
  }
  Arrays indices;
  for (Ref<Buffer>& buffer : buffers)
    indices.emplace_back(std::move(buffer), Shape{count}, dtype_of<T>);
  return indices;
}

}  // namespace

Arrays nonzero(const array& a, std::string_view op) {
  if (a.ndim() == 0) fail(op, "expected at least one axis, got an array without");
  const array t = truth(a, op);
  const auto* bytes = static_cast<const std::uint8_t*>(t.raw_data());
  const std::int64_t count = std::accumulate(bytes, bytes + t.size(), std::int64_t{0});
  for (const std::int64_t n : t.shape())
    if (n > std::numeric_limits<std::int32_t>::max()) return places<std::int64_t>(t, count);
  return places<std::int32_t>(t, count);
}

}  // namespace cermet
