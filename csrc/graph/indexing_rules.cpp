// Rules of gather, and of the two primitives that update elements of an array: scatter and
// slice_update. Both updates reach their elements by a pair of functions, and share the derivative.
#include "graph/check.h"
#include "graph/primitives/movement.h"
#include "graph/rules.h"

namespace cermet {
namespace {

// How an update reaches the elements it falls on.
template <class Read, class Write>
struct Place {
  Read read;     // (a) -> the elements, in the updates' shape
  Write write;   // (a, updates, mode) -> a copy of `a` with the updates
  bool repeats;  // several updates may fall on one element
};

// d result / d update where updates multiply: the product of all else that fell on the element.
template <class P>
array other_factors(const array& a, const array& update, const array& result, const P& place) {
  return select(update == 0.0, place.read(a), place.read(result) / update);
}

// The derivative of a minimum or maximum by the update: 1 where it was taken, which equal updates
// share. An element that its update equals stays the element's.
template <class P>
array taken(const array& a, const array& update, const array& result, const P& place) {
  const array read = place.read(result);
  const array taken = astype(logical_and(read == update, read != place.read(a)), a.dtype());
  if (!place.repeats) return taken;
  return taken /
         maximum(place.read(place.write(zeros_like(a), taken, Update::add)), scalar_like(1, a));
}

array where_true(const array& condition, const array& t) {
  return select(condition, t, scalar_like(0, t));
}

// A copy, as a view would keep all of the cotangent from being overwritten.
array copy(const array& a) {
  return array(Elementwise::instance(Op::cast), a.shape(), a.dtype(), {a}, a.stream());
}

template <class P>
array update_vjp(const Edge& e, Update mode, const array& cotangent, const P& place) {
  const array &a = e.inputs[0], &update = e.inputs[1], &result = e.output;
  switch (mode) {
    case Update::set:
      if (e.i == 0) return place.write(cotangent, zeros_like(update), Update::set);
      return copy(place.read(cotangent));
    case Update::add: return e.i == 0 ? cotangent : place.read(cotangent);
    case Update::multiply:
      if (e.i == 0) return place.write(cotangent, conjugate(update), Update::multiply);
      return place.read(cotangent) * conjugate(other_factors(a, update, result, place));
    default:
      if (e.i == 0) return where_true(result == a, cotangent);
      return place.read(cotangent) * taken(a, update, result, place);
  }
}

// The tangent of an update is added to `sum`, which is zero where the update replaces elements.
template <class P>
array update_jvp(const Edge& e, Update mode, const array& tangent, const array& sum,
                 const P& place) {
  const array &a = e.inputs[0], &update = e.inputs[1], &result = e.output;
  const auto added = [&](const array& t) { return place.write(sum, t, Update::add); };
  switch (mode) {
    case Update::set:
      if (e.i == 0) return place.write(tangent, zeros_like(update), Update::set);
      return place.write(sum, tangent, Update::set);
    case Update::add: return e.i == 0 ? tangent : added(tangent);
    case Update::multiply:
      if (e.i == 0) return place.write(tangent, update, Update::multiply);
      return added(tangent * other_factors(a, update, result, place));
    default:
      if (e.i == 0) return where_true(result == a, tangent);
      return added(tangent * taken(a, update, result, place));
  }
}

Arrays indices_of(std::span<const array> inputs, std::size_t first) {
  return Arrays(inputs.begin() + static_cast<std::ptrdiff_t>(first), inputs.end());
}

// The indices with the batch first, and the batch entry's own index in front of them.
Arrays batched_indices(const Batched& indices) {
  Arrays all = indices.all();
  Shape column(static_cast<std::size_t>(all.at(0).ndim()), 1);
  column[0] = indices.size;
  const array entry =
      reshape(arange(0, static_cast<double>(indices.size), 1, all[0].dtype()), column);
  all.insert(all.begin(), broadcast_to(entry, all[0].shape()));
  return all;
}

Axes with_batch(const Axes& axes) {
  Axes all = batch_axes(axes);
  all.insert(all.begin(), 0);
  return all;
}

}  // namespace

// ---- gather ----

Shape Gather::output_shape(const Node&, std::span<const array> inputs) const {
  Shape shape = inputs.size() > 1 ? inputs[1].shape() : Shape{};
  for (const array& index : inputs.subspan(1))
    if (index.shape() != shape) refuse_shapes(*this, inputs);
  for (const std::int64_t n : without(inputs[0].shape(), axes)) shape.push_back(n);
  return shape;
}
array Gather::vjp(const Edge& e, const array& cotangent) const {
  return scatter(zeros_like(e.inputs[0]), indices_of(e.inputs, 1), cotangent, axes, Update::add);
}
array Gather::add_vjp(const Edge& e, const array& cotangent, const array& sum) const {
  return scatter(sum, indices_of(e.inputs, 1), cotangent, axes, Update::add);
}
array Gather::jvp(const Edge& e, const array& tangent) const {
  return gather(tangent, indices_of(e.inputs, 1), axes);
}
array Gather::vmap(const Batched& in, const array&) const {
  const auto indices = in.inputs.subspan(1);
  if (!in.flags[0]) return gather(in.inputs[0], in.part(1).all(), axes);
  const bool shared = std::find(in.flags.begin() + 1, in.flags.end(), true) == in.flags.end();
  if (shared)  // the batch axis is one more that is taken whole
    return moveaxis(gather(in.inputs[0], indices_of(in.inputs, 1), batch_axes(axes)),
                    indices.empty() ? 0 : indices[0].ndim(), 0);
  return gather(in.inputs[0], batched_indices(in.part(1)), with_batch(axes));
}
std::string Gather::parameters() const { return "axes=" + tuple(axes); }

// ---- scatter ----

namespace {
auto scatter_place(std::span<const array> inputs, const Axes& axes) {
  return Place{[=](const array& a) { return gather(a, indices_of(inputs, 2), axes); },
               [=](const array& a, const array& updates, Update mode) {
                 return scatter(a, indices_of(inputs, 2), updates, axes, mode);
               },
               true};
}
}  // namespace

Shape Scatter::output_shape(const Node&, std::span<const array> inputs) const {
  return inputs[0].shape();
}
array Scatter::vjp(const Edge& e, const array& cotangent) const {
  return update_vjp(e, mode, cotangent, scatter_place(e.inputs, axes));
}
array Scatter::jvp(const Edge& e, const array& tangent) const {
  return update_jvp(e, mode, tangent, zeros(e.output.shape(), tangent.dtype()),
                    scatter_place(e.inputs, axes));
}
array Scatter::add_jvp(const Edge& e, const array& tangent, const array& sum) const {
  if (e.i == 0) return Primitive::add_jvp(e, tangent, sum);
  return update_jvp(e, mode, tangent, sum, scatter_place(e.inputs, axes));
}
array Scatter::vmap(const Batched& in, const array&) const {
  const Arrays values = in.part(0, 2).all();
  return scatter(values[0], batched_indices(in.part(2)), values[1], with_batch(axes), mode);
}
std::string Scatter::parameters() const {
  return "axes=" + tuple(axes) + ", mode=" + std::string(name_of(mode));
}

// ---- slice_update ----

namespace {
auto slice_place(const SliceUpdate& p, const array& update) {
  const Shape stop = slice_stop(p.start, p.step, update.shape());
  return Place{[=, &p](const array& a) { return slice(a, p.start, stop, p.step); },
               [=, &p](const array& a, const array& u, Update mode) {
                 return slice_update(a, u, p.start, stop, p.step, mode);
               },
               false};
}
}  // namespace

Shape SliceUpdate::output_shape(const Node& node, std::span<const array> inputs) const {
  return Primitive::output_shape(node, inputs);
}
Arrays SliceUpdate::expand(const Node&, std::span<const array> inputs) const {
  static constexpr Op ops[] = {Op::add, Op::multiply, Op::minimum, Op::maximum};
  const auto place = slice_place(*this, inputs[1]);
  const array combined =
      elementwise(ops[static_cast<int>(mode) - 1], place.read(inputs[0]), inputs[1]);
  return {place.write(inputs[0], combined, Update::set)};
}
array SliceUpdate::vjp(const Edge& e, const array& cotangent) const {
  return update_vjp(e, mode, cotangent, slice_place(*this, e.inputs[1]));
}
array SliceUpdate::jvp(const Edge& e, const array& tangent) const {
  return update_jvp(e, mode, tangent, zeros(e.output.shape(), tangent.dtype()),
                    slice_place(*this, e.inputs[1]));
}
array SliceUpdate::add_jvp(const Edge& e, const array& tangent, const array& sum) const {
  if (e.i == 0) return Primitive::add_jvp(e, tangent, sum);
  return update_jvp(e, mode, tangent, sum, slice_place(*this, e.inputs[1]));
}
array SliceUpdate::vmap(const Batched& in, const array&) const {
  const Arrays all = in.all();
  const Shape first = batch_shape(0, start), steps = batch_shape(1, step);
  return slice_update(all[0], all[1], first, slice_stop(first, steps, all[1].shape()), steps, mode);
}
std::string SliceUpdate::parameters() const {
  std::string text = "start=" + tuple(start) + ", step=" + tuple(step);
  for (const Slice& s : others) text += "; " + tuple(s.start) + ", " + tuple(s.step);
  return text + ", mode=" + std::string(name_of(mode));
}

}  // namespace cermet
