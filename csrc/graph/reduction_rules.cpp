// Rules of the primitives along axes: reductions, scans and sorts.
#include <limits>

#include "graph/check.h"
#include "graph/primitives/arithmetic.h"
#include "graph/rules.h"

namespace cermet {
namespace {

// A reduced array repeated to the shape it had.
array spread(const array& reduced, const Axes& axes, const Shape& shape) {
  return broadcast_to(expand_dims(reduced, axes), shape);
}

// The product of all elements but the one itself, over the axes: right with zeros, too.
array product_of_others(const array& a, const Axes& axes) {
  const Axes order = moved_last(a.ndim(), axes);
  const int kept = a.ndim() - static_cast<int>(axes.size());
  const array moved = transpose(a, order);
  const array rows = kept < a.ndim() ? flatten(moved, kept) : expand_dims(moved, {kept});
  const array others =
      scan(ScanOp::prod, rows, kept, false, false) * scan(ScanOp::prod, rows, kept, true, false);
  return transpose(reshape(others, moved.shape()), inverse_of(order));
}

// The derivative of a reduction by each element, in the input's shape.
array weights(const Reduce& r, const array& in, const array& output) {
  if (r.op == ReduceOp::prod) return product_of_others(in, r.axes);
  // min, max: equal elements share.
  const array chosen = astype(in == spread(output, r.axes, in.shape()), in.dtype());
  return chosen / sum(chosen, r.axes, true);
}

}  // namespace

Shape Reduce::output_shape(const Node&, std::span<const array> inputs) const {
  const Shape& now = inputs[0].shape();
  for (const int axis : axes)
    if (now[axis] == 0 && (op == ReduceOp::min || op == ReduceOp::max))
      refuse_shapes(*this, inputs);  // an error of the operation
  return without(now, axes);
}
array Reduce::vjp(const Edge& e, const array& cotangent) const {
  const array& in = e.inputs[0];
  const array t = spread(cotangent, axes, in.shape());
  return op == ReduceOp::sum ? t : t * conjugate(weights(*this, in, e.output));
}
array Reduce::jvp(const Edge& e, const array& tangent) const {
  return sum(op == ReduceOp::sum ? tangent : tangent * weights(*this, e.inputs[0], e.output), axes);
}
array Reduce::vmap(const Batched& in, const array&) const {
  return reduce(op, in.inputs[0], batch_axes(axes));
}
std::string Reduce::parameters() const { return "axes=" + tuple(axes); }

// ---- argmin, argmax ----

Shape ArgReduce::output_shape(const Node&, std::span<const array> inputs) const {
  Shape shape = inputs[0].shape();
  auto& n = shape[static_cast<std::size_t>(axis)];
  if (n == 0) refuse_shapes(*this, inputs);
  require_places(name(), shape, axis);
  n = 1;
  return shape;
}
array ArgReduce::vmap(const Batched& in, const array&) const {
  return max ? argmax(in.inputs[0], axis + 1, true) : argmin(in.inputs[0], axis + 1, true);
}
std::string ArgReduce::parameters() const { return "axis=" + std::to_string(axis); }

// ---- Scans ----
//
// Every inclusive scan's tangent obeys a linear recurrence, dy[k] = decay[k] dy[k-1] + gain[k]
// dx[k], and its cotangent the transposed one, run the other way. An exclusive scan is an inclusive
// one shifted by one element.

namespace {

// Moves elements by d along the axis, towards the end (the start when `back`), with `fill` behind.
array shift(const array& a, std::int64_t d, int axis, bool back, double fill = 0) {
  const auto at = static_cast<std::size_t>(axis);
  const std::int64_t n = a.shape(axis), kept = std::max<std::int64_t>(n - d, 0);
  Shape start(a.shape().size(), 0), stop = a.shape();
  std::vector<std::pair<std::int64_t, std::int64_t>> widths(a.shape().size());
  if (back) {
    start[at] = n - kept;
    widths[at] = {0, n - kept};
  } else {
    stop[at] = kept;
    widths[at] = {n - kept, 0};
  }
  return pad(slice(a, start, stop), widths, array(fill, a.dtype()));
}

// s[k] = decay[k] s[k-1] + b[k] along the axis (s[k+1] when `back`), by doubling (Hillis and
// Steele, "Data parallel algorithms", 1986).
array recurrence(array decay, array b, int axis, bool back) {
  const std::int64_t n = b.shape(axis);
  for (std::int64_t d = 1; d < n; d *= 2) {
    b = b + decay * shift(b, d, axis, back);
    decay = decay * shift(decay, d, axis, back);
  }
  return b;
}

struct Recurrence {
  array decay, gain;
};

Recurrence recurrence_of(const Scan& s, const array& x) {
  const array zero = scalar_like(0, x);
  if (s.op == ScanOp::prod) return {x, scan(s.op, x, s.axis, s.reverse, false)};
  const array y = scan(s.op, x, s.axis, s.reverse, true);
  if (s.op == ScanOp::logaddexp) {
    constexpr double lowest = -std::numeric_limits<double>::infinity();
    const array before = shift(y, 1, s.axis, s.reverse, lowest);
    const array empty = y == lowest;  // the sum of nothing but zeros
    // Not exp(before - y), as y may be too large to differ from both.
    return {select(empty, zero, sigmoid(before - x)), select(empty, zero, sigmoid(x - before))};
  }
  const array chosen = astype(x == y, x.dtype());  // min, max: the latest of equal elements
  return {1.0 - chosen, chosen};
}

}  // namespace

Shape Scan::output_shape(const Node&, std::span<const array> inputs) const {
  return inputs[0].shape();
}
array Scan::vjp(const Edge& e, const array& cotangent) const {
  if (op == ScanOp::sum) return scan(op, cotangent, axis, !reverse, inclusive);
  const array t = inclusive ? cotangent : shift(cotangent, 1, axis, !reverse);
  const auto [decay, gain] = recurrence_of(*this, e.inputs[0]);
  return conjugate(gain) *
         recurrence(shift(conjugate(decay), 1, axis, !reverse), t, axis, !reverse);
}
array Scan::jvp(const Edge& e, const array& tangent) const {
  if (op == ScanOp::sum) return scan(op, tangent, axis, reverse, inclusive);
  const auto [decay, gain] = recurrence_of(*this, e.inputs[0]);
  const array t = recurrence(decay, gain * tangent, axis, reverse);
  return inclusive ? t : shift(t, 1, axis, reverse);
}
array Scan::vmap(const Batched& in, const array&) const {
  return scan(op, in.inputs[0], axis + 1, reverse, inclusive);
}
std::string Scan::parameters() const {
  return "axis=" + std::to_string(axis) + (reverse ? ", reverse" : "") +
         (inclusive ? "" : ", exclusive");
}

// ---- Sorts ----

namespace {

array order_of(const Sort& s, const array& a) {
  return s.kth < 0 ? argsort(a, s.axis) : argpartition(a, s.kth, s.axis);
}

}  // namespace

Shape Sort::output_shape(const Node&, std::span<const array> inputs) const {
  if (kth >= inputs[0].shape(axis)) refuse_shapes(*this, inputs);
  if (indices) require_places(name(), inputs[0].shape(), axis);
  return inputs[0].shape();
}
array Sort::vjp(const Edge& e, const array& cotangent) const {
  return put_along_axis(zeros_like(e.inputs[0]), order_of(*this, e.inputs[0]), cotangent, axis);
}
array Sort::jvp(const Edge& e, const array& tangent) const {
  return take_along_axis(tangent, order_of(*this, e.inputs[0]), axis);
}
array Sort::vmap(const Batched& in, const array&) const {
  const array& a = in.inputs[0];
  if (kth >= 0) return indices ? argpartition(a, kth, axis + 1) : partition(a, kth, axis + 1);
  return indices ? argsort(a, axis + 1) : sort(a, axis + 1);
}
std::string Sort::parameters() const {
  return "axis=" + std::to_string(axis) + (kth < 0 ? "" : ", kth=" + std::to_string(kth));
}

}  // namespace cermet
