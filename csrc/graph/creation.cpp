// Creation: constants, ranges and the triangular and identity patterns, which are comparisons of
// two ranges; conversions that keep the bytes.
#include <algorithm>
#include <cmath>

#include "graph/check.h"
#include "graph/composites.h"
#include "graph/follow.h"
#include "graph/primitives/creation.h"
#include "graph/primitives/views.h"

namespace cermet {
namespace {

void check_extents(std::string_view op, const Shape& shape) {
  for (const std::int64_t n : shape)
    if (n < 0) fail(op, "shape ", shape, " has a negative extent");
}

// compare(row + k, column) over an (n, m) grid.
array pattern(Op compare, std::int64_t n, std::int64_t m, std::int64_t k, StreamOrDevice s) {
  const array rows = expand_dims(arange(n, s), {1}, s);
  const array shift = scalar_like(static_cast<double>(std::clamp(k, -n, m)), rows);
  return elementwise(compare, add(rows, shift, s), arange(m, s), s);
}

array triangle(std::string_view op, const array& a, int k, bool lower, StreamOrDevice s) {
  if (a.ndim() < 2) fail(op, "expected at least 2 dimensions, got shape ", a.shape());
  const array mask =
      pattern(lower ? Op::greater_equal : Op::less_equal, a.shape(-2), a.shape(-1), k, s);
  return select(mask, a, array(0.0, a.dtype()), s);
}

// A constant in every place of an array.
array like(const array& a, const array& value, StreamOrDevice s) {
  if (!is_followed({&a, 1})) return broadcast_to(value, a.shape(), s);
  return array(make_ref<const Filled>(std::monostate{}), rule_shape(a), value.dtype(), {a, value},
               s.resolve());
}

}  // namespace

Arrays Filled::expand(const Node& node, std::span<const array> inputs) const {
  return {broadcast_to(inputs[1], inputs[0].shape(), node.stream)};
}

array full(const Shape& shape, const array& value, std::optional<Dtype> dtype, StreamOrDevice s) {
  check_extents("full", shape);
  return broadcast_to(astype(value, dtype.value_or(value.dtype()), s), shape, s);
}
array zeros(const Shape& shape, Dtype dtype, StreamOrDevice s) {
  check_extents("zeros", shape);
  return broadcast_to(array(0.0, dtype), shape, s);
}
array ones(const Shape& shape, Dtype dtype, StreamOrDevice s) {
  check_extents("ones", shape);
  return broadcast_to(array(1.0, dtype), shape, s);
}
array zeros_like(const array& a, std::optional<Dtype> dtype, StreamOrDevice s) {
  return like(a, array(0.0, dtype.value_or(a.dtype())), s);
}
array ones_like(const array& a, std::optional<Dtype> dtype, StreamOrDevice s) {
  return like(a, array(1.0, dtype.value_or(a.dtype())), s);
}
array full_like(const array& a, const array& value, std::optional<Dtype> dtype, StreamOrDevice s) {
  const array values = astype(value, dtype.value_or(a.dtype()), s);
  if (value.node()->constant) return like(a, values, s);
  return follow("full_like", std::array{a, values},
                [s](std::span<const array> in) { return broadcast_to(in[1], in[0].shape(), s); });
}

array arange(double start, double stop, double step, Dtype dtype, StreamOrDevice s) {
  if (dtype == Dtype::bool_) fail("arange", "bool is not supported, expected a number type");
  if (step == 0) fail("arange", "the step is zero");
  const double steps = (stop - start) / step;
  double count = std::ceil(steps);
  if (count == 0 && stop != start && !std::signbit(steps)) count = 1;  // the step is far longer
  if (!(count < 0x1p62))
    fail("arange", "cannot count from ", std::to_string(start), " to ", std::to_string(stop),
         " by ", std::to_string(step));
  if (!is_inexact(dtype)) {
    start = std::trunc(start);
    step = std::trunc(step);
  }
  if (count == 1) step = 0;  // the first is not nan by an endless one
  return array(make_ref<const Arange>(start, step),
               {static_cast<std::int64_t>(std::max(count, 0.0))}, dtype, {}, s.resolve());
}
array count_from(std::int64_t start, std::int64_t stop, std::int64_t step, Dtype dtype,
                 StreamOrDevice s) {
  if (dtype == Dtype::bool_) fail("arange", "bool is not supported, expected a number type");
  if (step == 0) fail("arange", "the step is zero");
  // Unsigned, as what lies between two numbers may be.
  const auto from = static_cast<std::uint64_t>(start), to = static_cast<std::uint64_t>(stop),
             by = static_cast<std::uint64_t>(step);
  std::uint64_t count = 0;
  if (step > 0 && stop > start) count = (to - from - 1) / by + 1;
  if (step < 0 && stop < start) count = (from - to - 1) / (0 - by) + 1;
  if (count >> 62 != 0) fail("arange", "cannot count from ", start, " to ", stop, " by ", step);
  return array(
      make_ref<const Arange>(static_cast<double>(start), static_cast<double>(step), start, step),
      {static_cast<std::int64_t>(count)}, dtype, {}, s.resolve());
}
array arange(std::int64_t stop, StreamOrDevice s) {
  const bool fits = stop <= std::numeric_limits<std::int32_t>::max();
  return arange(std::int64_t{0}, stop, std::int64_t{1}, fits ? int32 : int64, s);
}

array linspace(double start, double stop, std::int64_t num, bool endpoint, Dtype dtype,
               StreamOrDevice s) {
  if (num < 0) fail("linspace", "the number of samples is ", num, ", expected at least 0");
  const Dtype t = dtype == float64 ? float64 : float32;
  if (num == 1) return full({1}, array(start, t), dtype, s);  // whatever the end
  const double steps = static_cast<double>(std::max<std::int64_t>(endpoint ? num - 1 : num, 1));
  const array i = arange(0, static_cast<double>(num), 1, t, s);
  const array at = divide(i, array(steps, t), s);
  // The weighted form meets both ends exactly.
  const array from = multiply(subtract(array(1.0, t), at, s), array(start, t), s);
  return astype(add(from, multiply(at, array(stop, t), s), s), dtype, s);
}

array eye(std::int64_t n, std::int64_t m, int k, Dtype dtype, StreamOrDevice s) {
  check_extents("eye", {n, m});
  return astype(pattern(Op::equal, n, m, k, s), dtype, s);
}
array identity(std::int64_t n, Dtype dtype, StreamOrDevice s) { return eye(n, n, 0, dtype, s); }
array tri(std::int64_t n, std::int64_t m, int k, Dtype dtype, StreamOrDevice s) {
  check_extents("tri", {n, m});
  return astype(pattern(Op::greater_equal, n, m, k, s), dtype, s);
}
array tril(const array& a, int k, StreamOrDevice s) { return triangle("tril", a, k, true, s); }
array triu(const array& a, int k, StreamOrDevice s) { return triangle("triu", a, k, false, s); }

Arrays meshgrid(const Arrays& arrays, bool sparse, const std::string& indexing, StreamOrDevice s) {
  if (indexing != "xy" && indexing != "ij")
    fail("meshgrid", "indexing is \"", indexing, "\", expected \"xy\" or \"ij\"");
  const std::size_t n = arrays.size();
  Arrays out;
  Shape grid(n, 1);
  for (std::size_t i = 0; i < n; ++i) {
    const std::size_t axis = indexing == "xy" && n > 1 && i < 2 ? 1 - i : i;
    Shape shape(n, 1);
    shape[axis] = grid[axis] = arrays[i].size();
    out.push_back(reshape(arrays[i], shape, s));
  }
  if (!sparse)
    for (array& a : out) a = broadcast_to(a, grid, s);
  return out;
}

array view(const array& a, Dtype dtype, StreamOrDevice s) {
  if (a.dtype() == dtype) return a;
  if (dtype == Dtype::bool_) return astype(view(a, uint8, s), dtype, s);  // any byte but 0 is true
  Shape shape = rule_shape(a);
  const auto from = static_cast<std::int64_t>(a.itemsize());
  const auto to = static_cast<std::int64_t>(size_of(dtype));
  if (from != to) {
    if (shape.empty())
      fail("view", "a scalar ", a.dtype(), " cannot be read as ", dtype, " of another size");
    const std::int64_t bytes = shape.back() * from;
    if (bytes % to != 0)
      fail("view", "the last axis of ", shape, " ", a.dtype(), " holds ", bytes,
           " bytes, not a multiple of ", dtype, "'s ", to);
    shape.back() = bytes / to;
  }
  return array(the<Bitcast>(), std::move(shape), dtype, {a}, s.resolve());
}

array stop_gradient(const array& a, StreamOrDevice s) {
  return array(Identity::instance(Identity::Why::stop_gradient), rule_shape(a), a.dtype(), {a},
               s.resolve());
}

Arrays depends(const Arrays& inputs, const Arrays& dependencies) {
  Arrays out;
  for (const array& a : inputs) {
    SmallVector<array, 2> all{a};
    for (const array& d : dependencies) all.push_back(d);
    out.emplace_back(Identity::instance(Identity::Why::depends), rule_shape(a), a.dtype(),
                     std::move(all), a.stream());
  }
  return out;
}

}  // namespace cermet
