// Shape and layout. Most of these are views: no element moves until a kernel needs it.
#include <algorithm>
#include <cstdlib>
#include <numeric>

#include "graph/check.h"
#include "graph/follow.h"
#include "graph/primitives/movement.h"
#include "graph/primitives/views.h"

namespace cermet {
namespace {

// Replaces the one -1 by what is left of an array's elements, or of those along an axis.
Shape resolve(std::string_view op, Shape shape, const array& a, int axis = -1) {
  const std::int64_t size = axis < 0 ? rule_size(a) : rule_shape(a)[axis];
  const auto context = [&] { return axis < 0 ? a.shape() : Shape{a.shape(axis)}; };
  std::int64_t known = 1;
  int unknown = -1;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] == -1 && unknown < 0)
      unknown = static_cast<int>(i);
    else if (shape[i] < 0)
      fail(op, "shape ", shape, " may hold one -1 and no other negative extent");
    else
      known = (Size(op, known) * shape[i]).value();
  }
  if (unknown >= 0) {
    if (known == 0 || size % known != 0)
      fail(op, "cannot make ", context(), " into ", shape, ": ", size,
           " elements are no positive multiple of ", known);
    shape[unknown] = size / known;
  } else if (known != size) {
    fail(op, "cannot make ", context(), " into ", shape, ": ", size, " elements against ", known);
  }
  return shape;
}

array make_reshape(const array& a, Shape spec, Shape shape, StreamOrDevice s) {
  if (off_rule(shape == rule_shape(a), a)) return a;
  return array(make_ref<const Reshape>(std::move(spec)), std::move(shape), a.dtype(), {a},
               s.resolve());
}
array make_reshape(const array& a, const Shape& shape, StreamOrDevice s) {
  return make_reshape(a, shape, shape, s);
}

// In the spec of a reshape: these axes of the input as they are.
Shape same_extents(int begin, int end) {
  Shape spec;
  for (int axis = begin; axis < end; ++axis) spec.push_back(Reshape::extent_of(axis));
  return spec;
}

Axes iota(int n) {
  Axes axes(n);
  std::iota(axes.begin(), axes.end(), 0);
  return axes;
}

std::int64_t modulo(std::int64_t i, std::int64_t n) { return i % n < 0 ? i % n + n : i % n; }

// Which elements of an axis of extent n stand at places i (possibly outside) when it is padded.
array mirrored(const array& i, std::int64_t period, std::int64_t sum, StreamOrDevice s) {
  const array place = remainder(i, array(period, i.dtype()), s);
  return minimum(place, subtract(array(sum, i.dtype()), place, s), s);
}
using Padding = array (*)(const array& i, std::int64_t n, StreamOrDevice s);
constexpr std::pair<std::string_view, Padding> kPaddings[] = {
    {"edge",
     [](const array& i, std::int64_t n, StreamOrDevice s) {
       return clip(i, array(std::int64_t{0}, i.dtype()), array(n - 1, i.dtype()), s);
     }},
    {"reflect",
     [](const array& i, std::int64_t n, StreamOrDevice s) {
       return mirrored(i, std::max<std::int64_t>(1, 2 * n - 2), 2 * n - 2, s);
     }},
    {"symmetric", [](const array& i, std::int64_t n,
                     StreamOrDevice s) { return mirrored(i, 2 * n, 2 * n - 1, s); }},
};

}  // namespace

array reshape(const array& a, Shape shape, StreamOrDevice s) {
  Shape resolved = resolve("reshape", shape, a);
  return make_reshape(a, std::move(shape), std::move(resolved), s);
}

array flatten(const array& a, int start_axis, int end_axis, StreamOrDevice s) {
  if (a.ndim() == 0) return make_reshape(a, {1}, s);
  // From the first axis or before it, to the last or beyond.
  const int start = normalize_axis("flatten", std::max(start_axis, -a.ndim()), a.ndim());
  const int end = normalize_axis("flatten", std::min(end_axis, a.ndim() - 1), a.ndim());
  if (start > end)
    fail("flatten", "the first axis, ", start_axis, ", is behind the last, ", end_axis);
  if (start == end) return a;
  const Shape& from = rule_shape(a);
  Shape shape(from.begin(), from.begin() + start + 1), spec = same_extents(0, start);
  for (int i = start + 1; i <= end; ++i) shape.back() *= from[i];
  spec.push_back(-1);
  for (int i = end + 1; i < a.ndim(); ++i) {
    shape.push_back(from[i]);
    spec.push_back(Reshape::extent_of(i));
  }
  return make_reshape(a, std::move(spec), std::move(shape), s);
}

array unflatten(const array& a, int axis, Shape shape, StreamOrDevice s) {
  axis = normalize_axis("unflatten", axis, a.ndim());
  const Shape& from = rule_shape(a);
  const Shape parts = resolve("unflatten", shape, a, axis);
  Shape spec = same_extents(0, axis), full(from.begin(), from.begin() + axis);
  for (const std::int64_t n : shape) spec.push_back(n);
  for (const std::int64_t n : parts) full.push_back(n);
  for (int i = axis + 1; i < a.ndim(); ++i) {
    spec.push_back(Reshape::extent_of(i));
    full.push_back(from[i]);
  }
  return make_reshape(a, std::move(spec), std::move(full), s);
}

array squeeze(const array& a, StreamOrDevice s) {
  Shape shape;
  for (const std::int64_t n : a.shape())
    if (n != 1) shape.push_back(n);
  return make_reshape(a, shape, s);
}

array squeeze(const array& a, const Axes& axes, StreamOrDevice s) {
  if (axes.empty()) return a;
  Shape shape = rule_shape(a), spec = same_extents(0, a.ndim());
  const Axes sorted = normalize_axes("squeeze", axes, a.ndim());
  for (auto axis = sorted.end(); axis != sorted.begin();) {
    --axis;
    if (shape[*axis] != 1)
      fail("squeeze", "axis ", *axis, " of ", a.shape(), " has extent ", shape[*axis],
           ", expected 1");
    shape.erase(shape.begin() + *axis);
    spec.erase(spec.begin() + *axis);
  }
  return make_reshape(a, std::move(spec), std::move(shape), s);
}

array expand_dims(const array& a, const Axes& axes, StreamOrDevice s) {
  if (axes.empty()) return a;
  Shape shape = rule_shape(a), spec = same_extents(0, a.ndim());
  const int ndim = a.ndim() + static_cast<int>(axes.size());
  for (const int axis : normalize_axes("expand_dims", axes, ndim)) {
    shape.insert(shape.begin() + axis, 1);
    spec.insert(spec.begin() + axis, 1);
  }
  return make_reshape(a, std::move(spec), std::move(shape), s);
}

array transpose(const array& a, StreamOrDevice s) {
  Axes axes = iota(a.ndim());
  std::reverse(axes.begin(), axes.end());
  return transpose(a, axes, s);
}

array transpose(const array& a, const Axes& axes, StreamOrDevice s) {
  if (static_cast<int>(axes.size()) != a.ndim())
    fail("transpose", "axes ", axes, " for shape ", a.shape(), ": expected each axis once");
  normalize_axes("transpose", axes, a.ndim());  // no repeats
  Axes order;
  Shape shape;
  for (const int axis : axes) {
    order.push_back(normalize_axis("transpose", axis, a.ndim()));
    shape.push_back(rule_shape(a)[order.back()]);
  }
  if (std::is_sorted(order.begin(), order.end())) return a;
  return array(make_ref<const Transpose>(std::move(order)), std::move(shape), a.dtype(), {a},
               s.resolve());
}

array matrix_transpose(const array& a, StreamOrDevice s) {
  if (a.ndim() < 2)
    fail("matrix_transpose", "expected at least 2 dimensions, got shape ", a.shape());
  return swapaxes(a, -2, -1, s);
}

array swapaxes(const array& a, int axis1, int axis2, StreamOrDevice s) {
  Axes axes = iota(a.ndim());
  std::swap(axes[normalize_axis("swapaxes", axis1, a.ndim())],
            axes[normalize_axis("swapaxes", axis2, a.ndim())]);
  return transpose(a, axes, s);
}

array moveaxis(const array& a, int source, int destination, StreamOrDevice s) {
  source = normalize_axis("moveaxis", source, a.ndim());
  destination = normalize_axis("moveaxis", destination, a.ndim());
  Axes axes = iota(a.ndim());
  axes.erase(axes.begin() + source);
  axes.insert(axes.begin() + destination, source);
  return transpose(a, axes, s);
}

array flip(const array& a, const Axes& axes, StreamOrDevice s) {
  Shape start(a.ndim(), 0), stop = a.shape(), step(a.ndim(), 1);
  for (const int axis : normalize_axes("flip", axes, a.ndim())) {
    start[axis] = stop[axis] - 1;
    stop[axis] = step[axis] = -1;
  }
  return slice(a, start, stop, step, s);
}
array flip(const array& a, StreamOrDevice s) { return flip(a, iota(a.ndim()), s); }

array concatenate(const Arrays& arrays, int axis, StreamOrDevice s) {
  if (arrays.empty()) fail("concatenate", "there are no arrays");
  const array& first = arrays.front();
  const int at = normalize_axis("concatenate", axis, first.ndim());
  Dtype dtype = first.dtype();
  Shape shape = rule_shape(first);
  shape[at] = 0;
  for (const array& a : arrays) {
    bool fits = a.ndim() == first.ndim();
    for (int i = 0; fits && i < a.ndim(); ++i) fits = i == at || rule_shape(a)[i] == shape[i];
    if (!fits)
      fail("concatenate", "shapes ", first.shape(), " and ", a.shape(), " differ outside axis ",
           axis);
    dtype = promote(dtype, a.dtype());
    shape[at] = (Size("concatenate", shape[at]) + rule_shape(a)[at]).value();
  }
  SmallVector<array, 2> inputs;
  for (const array& a : arrays)
    if (!off_rule(rule_shape(a)[at] == 0, a)) inputs.push_back(astype(a, dtype, s));
  if (inputs.empty()) return astype(first, dtype, s);
  if (inputs.size() == 1) return inputs[0];
  return array(make_ref<const Concatenate>(at), std::move(shape), dtype, std::move(inputs),
               s.resolve());
}

array concatenate_flat(const Arrays& arrays, StreamOrDevice s) {
  Arrays flat;
  for (const array& a : arrays) flat.push_back(flatten(a, 0, -1, s));
  return concatenate(flat, 0, s);
}

array stack(const Arrays& arrays, int axis, StreamOrDevice s) {
  if (arrays.empty()) fail("stack", "there are no arrays");
  axis = normalize_axis("stack", axis, arrays.front().ndim() + 1);
  Arrays expanded;
  for (const array& a : arrays) {
    if (rule_shape(a) != rule_shape(arrays.front()))
      fail("stack", "shapes ", arrays.front().shape(), " and ", a.shape(), " differ");
    expanded.push_back(expand_dims(a, {axis}, s));
  }
  return concatenate(expanded, axis, s);
}

Arrays unstack(const array& a, int axis, StreamOrDevice s) {
  axis = normalize_axis("unstack", axis, a.ndim());
  Arrays out;
  for (std::int64_t i = 0; i < a.shape()[axis]; ++i)
    out.push_back(squeeze(section(a, axis, i, i + 1, 1, s), {axis}, s));
  return out;
}

Arrays split(const array& a, int sections, int axis, StreamOrDevice s) {
  axis = normalize_axis("split", axis, a.ndim());
  const std::int64_t n = a.shape()[axis];
  if (sections <= 0 || n % sections != 0)
    fail("split", "an axis of extent ", n, " cannot be cut into ", sections, " equal sections");
  Shape indices;
  for (int i = 1; i < sections; ++i) indices.push_back(n / sections * i);
  return split(a, indices, axis, s);
}

Arrays split(const array& a, const Shape& indices, int axis, StreamOrDevice s) {
  axis = normalize_axis("split", axis, a.ndim());
  const std::int64_t n = a.shape()[axis];
  Arrays out;
  std::int64_t begin = 0;
  for (std::size_t i = 0; i <= indices.size(); ++i) {
    std::int64_t end = i < indices.size() ? indices[i] : n;
    end = std::clamp<std::int64_t>(end < 0 ? end + n : end, 0, n);
    out.push_back(section(a, axis, begin, std::max(begin, end), 1, s));
    begin = end;
  }
  return out;
}

array repeat(const array& a, std::int64_t repeats, std::optional<int> axis, StreamOrDevice s) {
  if (!axis) return repeat(flatten(a, 0, -1, s), repeats, 0, s);
  const int at = normalize_axis("repeat", *axis, a.ndim());
  if (repeats < 0) fail("repeat", "the count is ", repeats, ", expected at least 0");
  Shape shape = a.shape(), grid = shape;
  grid.insert(grid.begin() + at + 1, repeats);
  shape[at] = (Size("repeat", shape[at]) * repeats).value();
  return make_reshape(broadcast_to(expand_dims(a, {at + 1}, s), grid, s), shape, s);
}

array tile(const array& a, Shape reps, StreamOrDevice s) {
  Shape extents = a.shape();
  while (reps.size() < extents.size()) reps.insert(reps.begin(), 1);
  while (extents.size() < reps.size()) extents.insert(extents.begin(), 1);
  Shape spread, grid, shape;  // each axis as (copies, extent)
  for (std::size_t i = 0; i < reps.size(); ++i) {
    if (reps[i] < 0) fail("tile", "repetitions ", reps, " hold a negative count");
    if (reps[i] != 1) {
      spread.push_back(1);
      grid.push_back(reps[i]);
    }
    spread.push_back(extents[i]);
    grid.push_back(extents[i]);
    shape.push_back((Size("tile", reps[i]) * extents[i]).value());
  }
  return make_reshape(broadcast_to(make_reshape(a, spread, s), grid, s), shape, s);
}

array pad(const array& a, const std::vector<std::pair<std::int64_t, std::int64_t>>& widths,
          const array& value, const std::string& mode, StreamOrDevice s) {
  const auto count = static_cast<std::int64_t>(widths.size());
  if (count != 1 && count != a.ndim())
    fail("pad", count, " pairs of widths for shape ", a.shape(), ": expected one, or one an axis");
  const auto width = [&](int axis) { return widths[count == 1 ? 0 : axis]; };
  Shape shape = a.shape(), start(a.ndim(), 0), stop = shape;
  for (int i = 0; i < a.ndim(); ++i) {
    const auto [before, after] = width(i);
    if (before < 0 || after < 0)
      fail("pad", "the widths of axis ", i, " are ", before, " and ", after,
           ", expected at least 0");
    start[i] = before;
    stop[i] = (Size("pad", stop[i]) + before).value();
    shape[i] = (Size("pad", stop[i]) + after).value();
  }
  const bool constant = mode == "constant";
  const auto* padding = std::find_if(std::begin(kPaddings), std::end(kPaddings),
                                     [&](const auto& p) { return p.first == mode; });
  if (!constant && padding == std::end(kPaddings))
    fail("pad", "the mode is \"", mode, "\", expected constant, edge, reflect or symmetric");
  if (constant && value.size() != 1)
    fail("pad", "the value has shape ", value.shape(), ", expected a scalar");
  if (shape == a.shape()) return a;
  if (constant) {
    const array background = full(shape, reshape(value, {}, s), a.dtype(), s);
    return slice_update(background, a, start, stop, Shape(a.ndim(), 1), Update::set, s);
  }
  array out = a;
  for (int axis = 0; axis < a.ndim(); ++axis) {
    const std::int64_t n = a.shape()[axis];
    if (shape[axis] == n) continue;
    if (n == 0) fail("pad", "axis ", axis, " is empty: mode ", mode, " has no element to take");
    const array places = arange(-start[axis], shape[axis] - start[axis], 1, int64, s);
    out = take(out, padding->second(places, n, s), axis, s);
  }
  return out;
}

array broadcast_to(const array& a, const Shape& shape, StreamOrDevice s) {
  if (off_rule(rule_shape(a) == shape, a)) return a;
  if (!broadcasts_to(rule_shape(a), shape))
    fail("broadcast_to", "shape ", a.shape(), " does not broadcast to ", shape);
  return array(the<Broadcast>(), shape, a.dtype(), {a}, s.resolve());
}

Arrays broadcast_arrays(const Arrays& arrays, StreamOrDevice s) {
  Shape shape;
  for (const array& a : arrays) shape = broadcast_shapes(shape, a.shape());
  Arrays out;
  for (const array& a : arrays) out.push_back(broadcast_to(a, shape, s));
  return out;
}

array atleast_nd(const array& a, int n, StreamOrDevice s) {
  // A vector becomes a row; of three dimensions the last is new.
  Shape shape = a.shape();
  while (static_cast<int>(shape.size()) < n)
    shape.insert(shape.size() == 2 ? shape.end() : shape.begin(), 1);
  return make_reshape(a, shape, s);
}

array roll(const array& a, const Shape& shift, const Axes& axes, StreamOrDevice s) {
  if (shift.size() != axes.size() && shift.size() != 1 && axes.size() != 1)
    fail("roll", "shifts ", shift, " and axes ", axes, " differ in number");
  array out = a;
  const std::size_t count = shift.size() == 1 ? axes.size() : shift.size();  // broadcast
  for (std::size_t i = 0; i < count; ++i) {
    const int axis = normalize_axis("roll", axes[axes.size() == 1 ? 0 : i], a.ndim());
    const std::int64_t n = a.shape()[axis];
    if (n == 0) continue;
    const std::int64_t cut = modulo(-modulo(shift[shift.size() == 1 ? 0 : i], n), n);
    if (cut != 0)
      out = concatenate({section(out, axis, cut, n, 1, s), section(out, axis, 0, cut, 1, s)}, axis,
                        s);
  }
  return out;
}
array roll(const array& a, std::int64_t shift, StreamOrDevice s) {
  return make_reshape(roll(flatten(a, 0, -1, s), {shift}, {0}, s), a.shape(), s);
}

array as_strided(const array& a, const Shape& shape, const Strides& strides, std::int64_t offset,
                 StreamOrDevice s) {
  if (shape.size() != strides.size())
    fail("as_strided", "shape ", shape, " and strides ", strides, " differ in length");
  if (count_of("as_strided", shape) == 0) return zeros(shape, a.dtype(), s);
  std::int64_t lowest = offset, highest = offset;
  Strides steps(shape.size());  // of axes that have places to step to
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] == 1) continue;
    steps[i] = strides[i];
    std::int64_t& end = strides[i] < 0 ? lowest : highest;
    end = (Size("as_strided", shape[i] - 1) * strides[i] + end).value();
  }
  if (lowest < 0 || highest >= a.size())
    fail("as_strided", "shape ", shape, " with strides ", strides, " and offset ", offset,
         " reaches elements ", lowest, " to ", highest, " of ", a.size());
  return array(make_ref<const AsStrided>(steps, offset), shape, a.dtype(), {a}, s.resolve());
}

array contiguous(const array& a, bool allow_col_major, StreamOrDevice s) {
  return array(make_ref<const Contiguous>(allow_col_major), rule_shape(a), a.dtype(), {a},
               s.resolve());
}

array diag(const array& a, int k, StreamOrDevice s) {
  if (a.ndim() == 2) return diagonal(a, k, 0, 1, s);
  if (a.ndim() != 1) fail("diag", "expected 1 or 2 dimensions, got shape ", a.shape());
  // The diagonal of an (n, n) matrix is every (n + 1)-th of its elements.
  const std::int64_t shift = k, n = a.size() + std::abs(shift);
  const std::int64_t whole = (Size("diag", n) * n).value(), start = k >= 0 ? shift : -shift * n;
  const array flat = slice_update(zeros({whole}, a.dtype(), s), a, {start},
                                  {start + a.size() * (n + 1)}, {n + 1}, Update::set, s);
  return make_reshape(flat, {n, n}, s);
}

array diagonal(const array& a, int offset, int axis1, int axis2, StreamOrDevice s) {
  if (a.ndim() < 2) fail("diagonal", "expected at least 2 dimensions, got shape ", a.shape());
  axis1 = normalize_axis("diagonal", axis1, a.ndim());
  axis2 = normalize_axis("diagonal", axis2, a.ndim());
  if (axis1 == axis2) fail("diagonal", "both axes are ", axis1);
  const std::int64_t n = a.shape()[axis1], m = a.shape()[axis2], k = offset;
  const std::int64_t length =
      std::max<std::int64_t>(0, k >= 0 ? std::min(n, m - k) : std::min(n + k, m));
  // Rows joined, the diagonal is every (m + 1)-th element.
  const array matrices = transpose(a, moved_last(a.ndim(), {axis1, axis2}), s);
  Shape flat(matrices.shape().begin(), matrices.shape().end() - 1);
  flat.back() = n * m;
  Shape start(flat.size(), 0), stop = flat, step(flat.size(), 1);
  start.back() = length == 0 ? 0 : (k >= 0 ? k : -k * m);
  stop.back() = length == 0 ? 0 : start.back() + (length - 1) * (m + 1) + 1;
  step.back() = m + 1;
  return slice(make_reshape(matrices, flat, s), start, stop, step, s);
}

array trace(const array& a, int offset, int axis1, int axis2, std::optional<Dtype> dtype,
            StreamOrDevice s) {
  if (a.ndim() < 2) fail("trace", "expected at least 2 dimensions, got shape ", a.shape());
  const array d = diagonal(a, offset, axis1, axis2, s);
  return sum(dtype ? astype(d, *dtype, s) : d, Axes{-1}, false, s);
}

}  // namespace cermet
