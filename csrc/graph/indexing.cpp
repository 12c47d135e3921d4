// Indexing: slices at known places are views; everything else is a gather or a scatter.
#include <algorithm>
#include <numeric>

#include "graph/check.h"
#include "graph/composites.h"
#include "graph/follow.h"
#include "graph/primitives/views.h"

namespace cermet {
namespace {

// The extents of a[start:stop:step].
Shape slice_shape(std::string_view op, const array& a, const Shape& start, const Shape& stop,
                  const Shape& step) {
  const auto ndim = static_cast<std::size_t>(a.ndim());
  if (start.size() != ndim || stop.size() != ndim || step.size() != ndim)
    fail(op, "start ", start, ", stop ", stop, " and step ", step, " for shape ", a.shape(),
         ": expected one entry an axis");
  Shape shape(ndim);
  for (std::size_t i = 0; i < ndim; ++i) {
    if (step[i] == 0) fail(op, "the step of axis ", static_cast<int>(i), " is zero");
    const std::int64_t n = rule_shape(a)[i];
    if (step[i] > 0 ? stop[i] <= start[i] : stop[i] >= start[i]) continue;
    std::int64_t steps = (Size(op, stop[i]) - start[i]).value() - (step[i] > 0 ? 1 : -1);
    if (step[i] != 1) steps /= step[i];
    shape[i] = steps + 1;
    const std::int64_t last = (Size(op, steps) * step[i] + start[i]).value();
    if (std::min(start[i], last) < 0 || std::max(start[i], last) >= n)
      fail(op, "elements ", start[i], " to ", last, " of axis ", static_cast<int>(i), " of ",
           a.shape(), " do not exist");
  }
  return shape;
}

// An index array in a type that gather and scatter take.
array as_index(std::string_view op, const array& index, StreamOrDevice s) {
  const Dtype t = index.dtype();
  if (!is_integer(t)) fail(op, "indices are ", t, ", expected an integer type");
  if (t == uint64) return astype(index, int64, s);
  return size_of(t) < 4 ? astype(index, int32, s) : index;
}

// What gather and scatter share: the indices broadcast to one shape, by ascending axis, and the
// shape of the elements they name.
struct Places {
  Axes axes;
  Arrays indices;
  Shape shape;
};

Places places(std::string_view op, const array& a, const Arrays& indices, const Axes& axes,
              StreamOrDevice s) {
  if (indices.size() != axes.size())
    fail(op, static_cast<int>(indices.size()), " index arrays for ", static_cast<int>(axes.size()),
         " axes");
  Places p;
  p.axes = normalize_axes(op, axes, a.ndim());
  const bool one = indices.size() == 1;
  for (const array& index : indices) {
    try {
      p.shape = broadcast_shapes(p.shape, one ? rule_shape(index) : index.shape());
    } catch (const std::invalid_argument&) {
      fail(op, "indices of shapes ", p.shape, " and ", index.shape(), " do not broadcast");
    }
  }
  for (const int axis : p.axes) {
    const auto at = std::find_if(axes.begin(), axes.end(), [&](int given) {
      return given == axis || given + a.ndim() == axis;
    });
    const array& index = indices[static_cast<std::size_t>(at - axes.begin())];
    const array places = as_index(op, index, s);
    p.indices.push_back(one ? places : broadcast_to(places, p.shape, s));
  }
  for (const std::int64_t n : without(rule_shape(a), p.axes)) p.shape.push_back(n);
  return p;
}

SmallVector<array, 2> inputs_of(const array& a, const Arrays& rest) {
  SmallVector<array, 2> inputs{a};
  for (const array& r : rest) inputs.push_back(r);
  return inputs;
}

// arange(n) along one of `ndim` axes.
array range_along(int axis, int ndim, std::int64_t n, StreamOrDevice s) {
  Shape shape(ndim, 1);
  shape[axis] = n;
  return reshape(arange(n, s), shape, s);
}

// Indices for all axes that name a block of extents `size` from `start`, an index a given axis.
Arrays block(std::string_view op, const array& a, const array& start, const Axes& axes,
             const Shape& size, StreamOrDevice s) {
  normalize_axes(op, axes, a.ndim());  // in range, no repeats
  if (static_cast<int>(size.size()) != a.ndim())
    fail(op, "the block has shape ", size, ", expected ", a.ndim(), " dimensions");
  if (start.ndim() > 1 || start.size() != static_cast<std::int64_t>(axes.size()))
    fail(op, "start indices of shape ", start.shape(), " for ", static_cast<int>(axes.size()),
         " axes");
  const array starts = flatten(as_index(op, start, s), 0, -1, s);
  Arrays indices;
  for (int i = 0; i < a.ndim(); ++i) {
    if (size[i] < 0 || size[i] > a.shape()[i])
      fail(op, "a block of shape ", size, " does not fit in ", a.shape());
    indices.push_back(range_along(i, a.ndim(), size[i], s));
  }
  for (std::size_t j = 0; j < axes.size(); ++j) {
    array& index = indices[static_cast<std::size_t>(normalize_axis(op, axes[j], a.ndim()))];
    const auto at = static_cast<std::int64_t>(j);
    index = add(index, reshape(slice(starts, {at}, {at + 1}, s), {}, s), s);
  }
  return indices;
}

Axes all_axes(const array& a) { return normalize_axes("", {}, a.ndim()); }

// Indices for all axes that put indices[...] along one axis and count along the others.
Arrays along_axis(const array& indices, int axis, StreamOrDevice s) {
  Arrays out;
  for (int i = 0; i < indices.ndim(); ++i)
    out.push_back(i == axis ? indices : range_along(i, indices.ndim(), indices.shape()[i], s));
  return out;
}

// `a` (or the indices) with the other's extents where its own are 1, off the axis.
array match(std::string_view op, const array& a, const array& other, int axis, StreamOrDevice s) {
  if (a.ndim() != other.ndim())
    fail(op, "shapes ", a.shape(), " and ", other.shape(), " differ in dimensions");
  Shape shape = a.shape();
  for (int i = 0; i < a.ndim(); ++i) {
    if (i == axis) continue;
    if (shape[i] == 1) shape[i] = other.shape()[i];
    if (other.shape()[i] != 1 && other.shape()[i] != shape[i])
      fail(op, "shapes ", a.shape(), " and ", other.shape(), " differ off axis ", axis);
  }
  return broadcast_to(a, shape, s);
}

}  // namespace

array slice(const array& a, const Shape& start, const Shape& stop, const Shape& step,
            StreamOrDevice s) {
  Shape shape = slice_shape("slice", a, start, stop, step);
  const bool forward = std::all_of(step.begin(), step.end(), [](auto n) { return n == 1; });
  if (forward && off_rule(shape == rule_shape(a), a)) return a;
  return array(make_ref<const Slice>(start, step), std::move(shape), a.dtype(), {a}, s.resolve());
}
array slice(const array& a, const Shape& start, const Shape& stop, StreamOrDevice s) {
  return slice(a, start, stop, Shape(start.size(), 1), s);
}
array section(const array& a, int axis, std::int64_t start, std::int64_t stop, std::int64_t step,
              StreamOrDevice s) {
  Shape from(a.ndim(), 0), to = a.shape(), steps(a.ndim(), 1);
  from[axis] = start;
  to[axis] = stop;
  steps[axis] = step;
  return slice(a, from, to, steps, s);
}
array corner(const array& a, std::int64_t rows, std::int64_t columns, StreamOrDevice s) {
  return section(section(a, a.ndim() - 2, 0, rows, 1, s), a.ndim() - 1, 0, columns, 1, s);
}
array slice(const array& a, const array& start, const Axes& axes, const Shape& size,
            StreamOrDevice s) {
  return gather(a, block("slice", a, start, axes, size, s), all_axes(a), s);
}

array slice_update(const array& a, const array& update, const Shape& start, const Shape& stop,
                   const Shape& step, Update mode, StreamOrDevice s) {
  const Shape shape = slice_shape("slice_update", a, start, stop, step);
  const array value = broadcast_to(astype(update, a.dtype(), s), shape, s);
  if (value.size() == 0) return a;
  const bool forward = std::all_of(step.begin(), step.end(), [](auto n) { return n == 1; });
  if (mode == Update::set && forward && shape == a.shape()) return value;
  return array(make_ref<const SliceUpdate>(start, step, mode), a.shape(), a.dtype(), {a, value},
               s.resolve());
}
array slice_update(const array& a, const array& update, const array& start, const Axes& axes,
                   StreamOrDevice s) {
  // The block has the update's extents; on leading axes that the update lacks, all of a's or, where
  // a start is given, one.
  const Axes given = normalize_axes("slice_update", axes, a.ndim());
  Shape size = a.shape();
  for (const int axis : given) size[axis] = 1;
  for (int i = 1; i <= std::min(a.ndim(), update.ndim()); ++i)
    size[size.size() - i] = update.shape(-i);
  return scatter(a, block("slice_update", a, start, axes, size, s), update, all_axes(a),
                 Update::set, s);
}

array gather(const array& a, const Arrays& indices, const Axes& axes, StreamOrDevice s) {
  if (axes.empty() && indices.empty()) return a;
  Places p = places("gather", a, indices, axes, s);
  return array(make_ref<const Gather>(std::move(p.axes)), std::move(p.shape), a.dtype(),
               inputs_of(a, p.indices), s.resolve());
}

array scatter(const array& a, const Arrays& indices, const array& updates, const Axes& axes,
              Update mode, StreamOrDevice s) {
  Places p = places("scatter", a, indices, axes, s);
  const array values = broadcast_to(astype(updates, a.dtype(), s), p.shape, s);
  if (values.size() == 0) return a;
  for (const int axis : p.axes)  // which an evaluation of nothing would not see
    if (a.shape()[axis] == 0)
      throw IndexError("scatter: indices for axis " + std::to_string(axis) + " of size 0");
  SmallVector<array, 2> inputs{a, values};
  for (const array& index : p.indices) inputs.push_back(index);
  return array(make_ref<const Scatter>(std::move(p.axes), mode), a.shape(), a.dtype(),
               std::move(inputs), s.resolve());
}

array take(const array& a, const array& indices, int axis, StreamOrDevice s) {
  axis = normalize_axis("take", axis, a.ndim());
  const array out = gather(a, {indices}, {axis}, s);
  // The axes of the indices come first; they belong where the axis was.
  Axes order(out.ndim());
  std::iota(order.begin(), order.end(), 0);
  std::rotate(order.begin(), order.begin() + indices.ndim(), order.begin() + indices.ndim() + axis);
  return transpose(out, order, s);
}
array take(const array& a, const array& indices, StreamOrDevice s) {
  return take(flatten(a, 0, -1, s), indices, 0, s);
}

array take_along_axis(const array& a, const array& indices, int axis, StreamOrDevice s) {
  axis = normalize_axis("take_along_axis", axis, a.ndim());
  const array from = match("take_along_axis", a, indices, axis, s);
  const array at = as_index("take_along_axis", match("take_along_axis", indices, from, axis, s), s);
  return array(make_ref<const TakeAlongAxis>(axis), at.shape(), a.dtype(), {from, at}, s.resolve());
}
Arrays TakeAlongAxis::expand(const Node& node, std::span<const array> inputs) const {
  const StreamOrDevice s = node.stream;
  return {gather(inputs[0], along_axis(inputs[1], options, s), all_axes(inputs[0]), s)};
}
// Of one element a row, elementwise work tells its place: nothing is stored to be added to.
array TakeAlongAxis::vjp(const Edge& e, const array& cotangent) const {
  const array &a = e.inputs[0], &at = e.inputs[1];
  const std::int64_t n = a.shape()[options];
  if (at.shape()[options] != 1)
    return scatter(zeros_like(a), along_axis(at, options, {}), cotangent, all_axes(a), Update::add);
  const array range = range_along(options, a.ndim(), n, {});
  const array place = select(less(at, scalar_like(0, at)), at + static_cast<double>(n), at);
  return select(equal(range, astype(place, range.dtype())), cotangent, scalar_like(0, cotangent));
}
array TakeAlongAxis::vmap(const Batched& in, const array&) const {
  const Arrays all = in.all();
  return take_along_axis(all[0], all[1], options + 1);
}

array put_along_axis(const array& a, const array& indices, const array& values, int axis,
                     StreamOrDevice s) {
  axis = normalize_axis("put_along_axis", axis, a.ndim());
  const array at = match("put_along_axis", indices, a, axis, s);
  array fitting = values;  // leading unit axes fall away, as in assignments
  while (fitting.ndim() > at.ndim() && fitting.shape(0) == 1) fitting = squeeze(fitting, {0}, s);
  return scatter(a, along_axis(at, axis, s), fitting, all_axes(a), Update::set, s);
}

}  // namespace cermet
