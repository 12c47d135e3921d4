// Reductions and scans. A reduction is one Reduce node; means, variances and softmax are
// compositions that the evaluator fuses. float16, bfloat16 and integers are averaged in float32.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "graph/check.h"
#include "graph/composites.h"
#include "graph/follow.h"
#include "graph/primitives/arithmetic.h"

namespace cermet {
namespace {

// What `count` elements of a type of less than 32 bits sum and multiply as: 32 bits hold the count
// of so many bools.
Dtype accumulator(Dtype t, std::int64_t count) {
  if (count > std::numeric_limits<std::int32_t>::max()) return is_unsigned(t) ? uint64 : int64;
  return is_unsigned(t) ? uint32 : int32;
}

// The elements reduced into one.
std::int64_t count_along(const array& a, const Axes& axes) {
  std::int64_t n = 1;
  for (const int axis : axes) n *= a.shape()[axis];
  return n;
}

// The number of elements reduced into one, less some, as a scalar.
array scalar_count(const array& a, const Axes& axes, int less) {
  const std::int64_t n = std::max<std::int64_t>(count_along(a, axes) - less, 0);
  return scalar_like(static_cast<double>(n), a);
}
array divisor(const array& a, const Axes& axes, int less) {
  if (!is_followed({&a, 1})) return scalar_count(a, axes, less);
  return array(make_ref<const Count>(CountOptions{axes, less}), {}, scalar_like(0, a).dtype(), {a},
               a.stream());
}

array reduce_axes(ReduceOp op, const array& a, const Axes& axes, bool keepdims, StreamOrDevice s) {
  if (axes.empty()) return a;
  const array out(make_ref<const Reduce>(op, axes), without(rule_shape(a), axes), a.dtype(), {a},
                  s.resolve());
  return keepdims ? expand_dims(out, axes, s) : out;
}

array widen(const array& a, StreamOrDevice s) { return astype(a, accurate(a.dtype()), s); }

array mean_of(const array& wide, const Axes& axes, bool keepdims, StreamOrDevice s) {
  const array total = reduce_axes(ReduceOp::sum, wide, axes, keepdims, s);
  return divide(total, divisor(wide, axes, 0), s);
}

// The maximum, as a constant of differentiation: what it is subtracted from does not depend on it.
array shift_of(const array& wide, const Axes& axes, StreamOrDevice s) {
  return stop_gradient(reduce_axes(ReduceOp::max, wide, axes, true, s), s);
}

array arg_reduce(bool max, const array& a, std::optional<int> axis, bool keepdims,
                 StreamOrDevice s) {
  const std::string_view op = max ? "argmax" : "argmin";
  const int at = axis ? normalize_axis(op, *axis, a.ndim()) : 0;
  const array in = axis ? a : flatten(a, 0, -1, s);
  Shape shape = rule_shape(in);
  if (shape[at] == 0) fail(op, "axis ", at, " of ", in.shape(), " is empty");
  require_places(op, shape, at);
  shape[at] = 1;
  const array out(make_ref<const ArgReduce>(max, at), shape, uint32, {in}, s.resolve());
  if (!keepdims) return squeeze(out, {at}, s);
  Axes others;
  for (int i = in.ndim(); i < a.ndim(); ++i) others.push_back(i);
  return a.ndim() == 0 ? squeeze(out, {0}, s) : expand_dims(out, others, s);
}

}  // namespace

Arrays Count::expand(const Node&, std::span<const array> inputs) const {
  return {scalar_count(inputs[0], options.axes, options.less)};
}

array reduce(ReduceOp op, const array& a, const OptionalAxes& axes, bool keepdims,
             StreamOrDevice s) {
  const Axes over = normalize_axes(name_of(op), axes, a.ndim());
  switch (op) {
    case ReduceOp::sum:
    case ReduceOp::prod:
      if (is_inexact(a.dtype()) || a.itemsize() >= 4) return reduce_axes(op, a, over, keepdims, s);
      return follow(name_of(op), std::array{a}, [=](std::span<const array> in) {
        const Dtype t = accumulator(in[0].dtype(), count_along(in[0], over));
        return reduce_axes(op, astype(in[0], t, s), over, keepdims, s);
      });
    case ReduceOp::min:
    case ReduceOp::max:
      for (const int axis : over)
        if (rule_shape(a)[axis] == 0)
          fail(name_of(op), "axis ", axis, " of ", a.shape(), " is empty");
      return reduce_axes(op, a, over, keepdims, s);
    case ReduceOp::all:
    case ReduceOp::any: break;
  }
  return reduce_axes(op, astype(a, Dtype::bool_, s), over, keepdims, s);
}

array sum(const array& a, const OptionalAxes& axes, bool keepdims, StreamOrDevice s) {
  return reduce(ReduceOp::sum, a, axes, keepdims, s);
}
array prod(const array& a, const OptionalAxes& axes, bool keepdims, StreamOrDevice s) {
  return reduce(ReduceOp::prod, a, axes, keepdims, s);
}
array min(const array& a, const OptionalAxes& axes, bool keepdims, StreamOrDevice s) {
  return reduce(ReduceOp::min, a, axes, keepdims, s);
}
array max(const array& a, const OptionalAxes& axes, bool keepdims, StreamOrDevice s) {
  return reduce(ReduceOp::max, a, axes, keepdims, s);
}
array all(const array& a, const OptionalAxes& axes, bool keepdims, StreamOrDevice s) {
  return reduce(ReduceOp::all, a, axes, keepdims, s);
}
array any(const array& a, const OptionalAxes& axes, bool keepdims, StreamOrDevice s) {
  return reduce(ReduceOp::any, a, axes, keepdims, s);
}

array mean(const array& a, const OptionalAxes& axes, bool keepdims, StreamOrDevice s) {
  const Axes over = normalize_axes("mean", axes, a.ndim());
  return astype(mean_of(widen(a, s), over, keepdims, s), to_inexact(a.dtype()), s);
}

array median(const array& a, const OptionalAxes& axes, bool keepdims, StreamOrDevice s) {
  const Axes over = normalize_axes("median", axes, a.ndim());
  const std::int64_t n = count_along(a, over);
  if (n == 0) fail("median", "axes ", over, " of ", a.shape(), " hold no element");
  // The reduced axes go last and become one.
  Shape shape = without(a.shape(), over);
  shape.push_back(n);
  const array moved = transpose(a, moved_last(a.ndim(), over), s);
  const array sorted = sort(reshape(moved, shape, s), -1, s);
  const auto part = [&](std::int64_t begin, std::int64_t end) {
    return section(sorted, sorted.ndim() - 1, begin, end, 1, s);
  };
  array out = mean(part((n - 1) / 2, n / 2 + 1), Axes{-1}, false, s);
  if (is_inexact(a.dtype())) {  // nan sorts last
    const array last = squeeze(part(n - 1, n), {-1}, s);
    out = select(isnan(last, s), last, out, s);
  }
  return keepdims ? expand_dims(out, over, s) : out;
}

array var(const array& a, const OptionalAxes& axes, bool keepdims, int ddof, StreamOrDevice s) {
  const Axes over = normalize_axes("var", axes, a.ndim());
  const array wide = widen(a, s);
  array deviation = subtract(wide, mean_of(wide, over, true, s), s);
  if (is_complex(deviation.dtype())) deviation = abs(deviation, s);
  // Squares of 64-bit integers have a sum that float32 may not hold: a power of 2 changes no digit.
  const bool large = !is_inexact(a.dtype()) && a.itemsize() == 8;
  if (large) deviation = multiply(deviation, scalar_like(0x1p-16, deviation), s);
  const array total = reduce_axes(ReduceOp::sum, square(deviation, s), over, keepdims, s);
  const Dtype t = is_complex(a.dtype()) ? float32 : to_inexact(a.dtype());
  const array mean_square = divide(total, divisor(deviation, over, ddof), s);
  return astype(large ? multiply(mean_square, scalar_like(0x1p32, total), s) : mean_square, t, s);
}

array std(const array& a, const OptionalAxes& axes, bool keepdims, int ddof, StreamOrDevice s) {
  return length_of_square(var(a, axes, keepdims, ddof, s), s);
}

std::pair<array, array> log_total(const array& a, const Axes& axes, StreamOrDevice s) {
  array high = shift_of(a, axes, s);
  if (is_complex(a.dtype()))
    high = astype(real(high, s), a.dtype(), s);  // log's angle is the sum's
  // An infinite maximum would make inf - inf of it.
  const array shift = select(isfinite(high, s), high, scalar_like(0, high), s);
  const array total = reduce_axes(ReduceOp::sum, exp(subtract(a, shift, s), s), axes, true, s);
  return {shift, log(total, s)};
}

array logsumexp(const array& a, const OptionalAxes& axes, bool keepdims, StreamOrDevice s) {
  const Axes over = normalize_axes("logsumexp", axes, a.ndim());
  const array wide = widen(a, s);
  const Dtype t = to_inexact(a.dtype());
  if (off_rule(rule_size(a) == 0, a) && count_along(a, over) == 0)  // log 0
    return astype(log(reduce_axes(ReduceOp::sum, wide, over, keepdims, s), s), t, s);
  const auto [shift, total] = log_total(wide, over, s);
  const array out = astype(add(total, shift, s), t, s);
  return keepdims ? out : squeeze(out, over, s);
}

array softmax(const array& a, const OptionalAxes& axes, bool precise, StreamOrDevice s) {
  static_cast<void>(precise);  // halves are computed in float32 always
  const Axes over = normalize_axes("softmax", axes, a.ndim());
  if (off_rule(rule_size(a) == 0, a)) return astype(a, to_inexact(a.dtype()), s);
  const array wide = widen(a, s);
  const array e = exp(subtract(wide, shift_of(wide, over, s), s), s);
  // One division a row: one an element would take as long as the exponentials.
  const array scale = reciprocal(reduce_axes(ReduceOp::sum, e, over, true, s), s);
  return astype(multiply(e, scale, s), to_inexact(a.dtype()), s);
}

array count_nonzero(const array& a, const OptionalAxes& axes, bool keepdims, StreamOrDevice s) {
  const Axes over = normalize_axes("count_nonzero", axes, a.ndim());
  return sum(not_equal(a, scalar_like(0, a), s), over, keepdims, s);
}

array argmin(const array& a, std::optional<int> axis, bool keepdims, StreamOrDevice s) {
  return arg_reduce(false, a, axis, keepdims, s);
}
array argmax(const array& a, std::optional<int> axis, bool keepdims, StreamOrDevice s) {
  return arg_reduce(true, a, axis, keepdims, s);
}

array scan(ScanOp op, const array& a, int axis, bool reverse, bool inclusive, StreamOrDevice s) {
  axis = normalize_axis(name_of(op), axis, a.ndim());
  Dtype t = a.dtype();
  if (op == ScanOp::sum && t == Dtype::bool_)
    return follow(name_of(op), std::array{a}, [=](std::span<const array> in) {
      const Dtype wide = accumulator(t, in[0].shape()[axis]);
      return scan(op, astype(in[0], wide, s), axis, reverse, inclusive, s);
    });
  if (op == ScanOp::logaddexp) t = to_inexact(t);
  return array(make_ref<const Scan>(op, axis, reverse, inclusive), rule_shape(a), t,
               {astype(a, t, s)}, s.resolve());
}
array cumsum(const array& a, int axis, bool reverse, bool inclusive, std::optional<Dtype> dtype,
             StreamOrDevice s) {
  return scan(ScanOp::sum, astype(a, dtype.value_or(a.dtype()), s), axis, reverse, inclusive, s);
}
array cumprod(const array& a, int axis, bool reverse, bool inclusive, std::optional<Dtype> dtype,
              StreamOrDevice s) {
  return scan(ScanOp::prod, astype(a, dtype.value_or(a.dtype()), s), axis, reverse, inclusive, s);
}
array cummin(const array& a, int axis, bool reverse, bool inclusive, StreamOrDevice s) {
  return scan(ScanOp::min, a, axis, reverse, inclusive, s);
}
array cummax(const array& a, int axis, bool reverse, bool inclusive, StreamOrDevice s) {
  return scan(ScanOp::max, a, axis, reverse, inclusive, s);
}
array logcumsumexp(const array& a, int axis, bool reverse, bool inclusive, StreamOrDevice s) {
  return scan(ScanOp::logaddexp, a, axis, reverse, inclusive, s);
}

array diff(const array& a, int n, int axis, StreamOrDevice s) {
  axis = normalize_axis("diff", axis, a.ndim());
  if (n < 0) fail("diff", "the order is ", n, ", expected at least 0");
  const Op difference = a.dtype() == Dtype::bool_ ? Op::not_equal : Op::subtract;
  array out = a;
  for (int i = 0; i < n && out.shape()[axis] > 0; ++i) {
    const std::int64_t extent = out.shape(axis);
    out = elementwise(difference, section(out, axis, 1, extent, 1, s),
                      section(out, axis, 0, extent - 1, 1, s), s);
  }
  return out;
}

}  // namespace cermet
