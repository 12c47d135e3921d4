// Rules of gather, and of the two primitives that update elements of an array: scatter and
// slice_update. Both updates reach their elements by a pair of functions, and share the derivative.
#include "graph/primitive.h"
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
array update_vjp(int i, Update mode, const array& a, const array& update, const array& result,
                 const array& cotangent, const P& place) {
  switch (mode) {
    case Update::set:
      if (i == 0) return place.write(cotangent, zeros_like(update), Update::set);
      return copy(place.read(cotangent));
    case Update::add: return i == 0 ? cotangent : place.read(cotangent);
    case Update::multiply:
      if (i == 0) return place.write(cotangent, conjugate(update), Update::multiply);
      return place.read(cotangent) * conjugate(other_factors(a, update, result, place));
    default:
      if (i == 0) return where_true(result == a, cotangent);
      return place.read(cotangent) * taken(a, update, result, place);
  }
}

// The tangent of an update is added to `sum`, which is zero where the update replaces elements.
template <class P>
array update_jvp(int i, Update mode, const array& a, const array& update, const array& result,
                 const array& tangent, const array& sum, const P& place) {
  const auto added = [&](const array& t) { return place.write(sum, t, Update::add); };
  switch (mode) {
    case Update::set:
      if (i == 0) return place.write(tangent, zeros_like(update), Update::set);
      return place.write(sum, tangent, Update::set);
    case Update::add: return i == 0 ? tangent : added(tangent);
    case Update::multiply:
      if (i == 0) return place.write(tangent, update, Update::multiply);
      return added(tangent * other_factors(a, update, result, place));
    default:
      if (i == 0) return where_true(result == a, tangent);
      return added(tangent * taken(a, update, result, place));
  }
}

Arrays indices_of(std::span<const array> inputs, std::size_t first) {
  return Arrays(inputs.begin() + static_cast<std::ptrdiff_t>(first), inputs.end());
}

// The indices with the batch first, and the batch entry's own index in front of them.
Arrays batched_indices(std::span<const array> indices, std::span<const bool> batched,
                       std::int64_t batch) {
  Arrays all = all_batched(indices, batched, batch);
  Shape column(static_cast<std::size_t>(all.at(0).ndim()), 1);
  column[0] = batch;
  const array entry = reshape(arange(0, static_cast<double>(batch), 1, all[0].dtype()), column);
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
  for (int i = 0; i < inputs[0].ndim(); ++i)
    if (std::find(axes.begin(), axes.end(), i) == axes.end()) shape.push_back(inputs[0].shape(i));
  return shape;
}
array Gather::vjp(int, std::span<const array> inputs, const array&, const array& cotangent) const {
  return scatter(zeros_like(inputs[0]), indices_of(inputs, 1), cotangent, axes, Update::add);
}
array Gather::add_vjp(int, std::span<const array> inputs, const array&, const array& cotangent,
                      const array& sum) const {
  return scatter(sum, indices_of(inputs, 1), cotangent, axes, Update::add);
}
array Gather::jvp(int, std::span<const array> inputs, const array&, const array& tangent) const {
  return gather(tangent, indices_of(inputs, 1), axes);
}
array Gather::vmap(std::span<const array> inputs, std::span<const bool> batched, std::int64_t batch,
                   const array&) const {
  const auto indices = inputs.subspan(1);
  if (!batched[0]) return gather(inputs[0], all_batched(indices, batched.subspan(1), batch), axes);
  const bool shared = std::find(batched.begin() + 1, batched.end(), true) == batched.end();
  if (shared)  // the batch axis is one more that is taken whole
    return moveaxis(gather(inputs[0], indices_of(inputs, 1), batch_axes(axes)),
                    indices.empty() ? 0 : indices[0].ndim(), 0);
  return gather(inputs[0], batched_indices(indices, batched.subspan(1), batch), with_batch(axes));
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
array Scatter::vjp(int i, std::span<const array> inputs, const array& output,
                   const array& cotangent) const {
  return update_vjp(i, mode, inputs[0], inputs[1], output, cotangent, scatter_place(inputs, axes));
}
array Scatter::jvp(int i, std::span<const array> inputs, const array& output,
                   const array& tangent) const {
  return update_jvp(i, mode, inputs[0], inputs[1], output, tangent,
                    zeros(output.shape(), tangent.dtype()), scatter_place(inputs, axes));
}
array Scatter::add_jvp(int i, std::span<const array> inputs, const array& output,
                       const array& tangent, const array& sum) const {
  if (i == 0) return Primitive::add_jvp(i, inputs, output, tangent, sum);
  return update_jvp(i, mode, inputs[0], inputs[1], output, tangent, sum,
                    scatter_place(inputs, axes));
}
array Scatter::vmap(std::span<const array> inputs, std::span<const bool> batched,
                    std::int64_t batch, const array&) const {
  const Arrays values = all_batched(inputs.first(2), batched.first(2), batch);
  return scatter(values[0], batched_indices(inputs.subspan(2), batched.subspan(2), batch),
                 values[1], with_batch(axes), mode);
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
array SliceUpdate::vjp(int i, std::span<const array> inputs, const array& output,
                       const array& cotangent) const {
  return update_vjp(i, mode, inputs[0], inputs[1], output, cotangent,
                    slice_place(*this, inputs[1]));
}
array SliceUpdate::jvp(int i, std::span<const array> inputs, const array& output,
                       const array& tangent) const {
  return update_jvp(i, mode, inputs[0], inputs[1], output, tangent,
                    zeros(output.shape(), tangent.dtype()), slice_place(*this, inputs[1]));
}
array SliceUpdate::add_jvp(int i, std::span<const array> inputs, const array& output,
                           const array& tangent, const array& sum) const {
  if (i == 0) return Primitive::add_jvp(i, inputs, output, tangent, sum);
  return update_jvp(i, mode, inputs[0], inputs[1], output, tangent, sum,
                    slice_place(*this, inputs[1]));
}
array SliceUpdate::vmap(std::span<const array> inputs, std::span<const bool> batched,
                        std::int64_t batch, const array&) const {
  const Arrays all = all_batched(inputs, batched, batch);
  const Shape first = batch_shape(0, start), steps = batch_shape(1, step);
  return slice_update(all[0], all[1], first, slice_stop(first, steps, all[1].shape()), steps, mode);
}
std::string SliceUpdate::parameters() const {
  return "start=" + tuple(start) + ", step=" + tuple(step) + ", mode=" + std::string(name_of(mode));
}

}  // namespace cermet
